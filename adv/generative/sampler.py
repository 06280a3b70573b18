"""Sample a trained GAN, from the prior or by DDLS, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from adv.generative.ddls import DDLS, Trace, langevin, latent_energy
from adv.generative.gan_checkpoint import TrainedGAN
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import derive_seed


@dataclass
class GANSampler:
    """Samples images of given labels, and records how the chains of DDLS went.

    Args:
      trained: the GAN.
      ema: use the averaged weights of the generator, not its last ones.
      ddls: settings of the chains, None to sample z from the prior.
    """

    trained: TrainedGAN
    ema: bool = True
    ddls: DDLS | None = None
    traces: list[Trace] = field(default_factory=list)

    def draw(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Return images [n, c, h, w], bytes on the CPU, for labels [n]."""
        net = self.trained.generators["ema" if self.ema else "plain"]
        device = device_of(net)
        y = y.to(device)
        z = torch.randn(len(y), net.latent, generator=generator).to(device)
        discriminator = self.trained.discriminator
        with frozen(net), frozen(discriminator):
            if self.ddls is not None:
                odds = self.trained.odds["ema" if self.ema else "plain"]
                energy = latent_energy(net, discriminator, y, odds)
                z, trace = langevin(energy, z, self.ddls, generator)
                self.traces.append(trace)
            with torch.no_grad():
                return self.trained.pixel_format.to_bytes(net(z, y)).cpu()

    @property
    def trace(self) -> Trace | None:
        """The mean trace over all batches so far; None without DDLS."""
        if not self.traces:
            return None
        columns = [
            tuple(sum(values) / len(self.traces) for values in zip(*rows, strict=True))
            for rows in ([t.energy for t in self.traces], [t.accepted for t in self.traces])
        ]
        return Trace(columns[0], columns[1])


def stratified_labels(
    class_counts: tuple[int, ...], count: int, generator: torch.Generator
) -> Tensor:
    """Return `count` labels in random order, in proportion to the class counts.

    Fractions are rounded by largest remainders, so that each class is off by less than one image.
    """
    share = torch.tensor(class_counts, dtype=torch.float64)
    exact = count * share / share.sum()
    whole = exact.floor()
    rest = count - int(whole.sum())
    whole[(exact - whole).argsort(descending=True, stable=True)[:rest]] += 1
    labels = torch.repeat_interleave(torch.arange(len(class_counts)), whole.long())
    return labels[torch.randperm(count, generator=generator)]


def sample_batches(
    draw: Callable[[Tensor, torch.Generator], Tensor],
    labels: Tensor,
    seed: int,
    batch: int = 100,
    first: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels, batch by batch.

    Each batch has a random generator of its own, so that it can be sampled again alone.

    Args:
      draw: maps labels [n] and a generator to images.
      labels: the labels of all images.
      seed: from which the seeds of the batches are derived.
      batch: images per batch; another size gives other images.
      first: the number of the first batch to sample, from 0.
    """
    for number, y in list(enumerate(labels.split(batch)))[first:]:
        yield draw(y, torch.Generator().manual_seed(derive_seed(seed, number + 1))), y
