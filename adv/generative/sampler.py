"""Samples of a trained GAN, plain or by DDLS, batch by batch."""

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
    """Draws images of wanted labels; remembers how its chains went.

    Args:
      trained: the GAN.
      ema: the average of its generator, or the generator as it was last.
      ddls: walk from the prior first, or None.
    """

    trained: TrainedGAN
    ema: bool = True
    ddls: DDLS | None = None
    traces: list[Trace] = field(default_factory=list)

    def draw(self, y: Tensor, generator: torch.Generator) -> Tensor:
        """Labels [n] to images [n, 3, 32, 32], bytes, on the CPU."""
        net = self.trained.generators["ema" if self.ema else "plain"]
        device = device_of(net)
        y = y.to(device)
        z = torch.randn(len(y), net.latent, generator=generator).to(device)
        judge = self.trained.discriminator
        with frozen(net), frozen(judge):
            if self.ddls is not None:
                odds = self.trained.odds["ema" if self.ema else "plain"]
                energy = latent_energy(net, judge, y, odds)
                z, trace = langevin(energy, z, self.ddls, generator)
                self.traces.append(trace)
            with torch.no_grad():
                return self.trained.pixel_format.to_bytes(net(z, y)).cpu()

    @property
    def trace(self) -> Trace | None:
        """The mean over all batches so far; None without DDLS."""
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
    """`count` labels [n] in random order, each class in its share to the image.

    Shares that do not come out even are rounded (largest remainders), so that no class with images
    is off by one or more.
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
    """Images and labels, batch by batch. Each has a generator of its own: a batch can be had again.

    Args:
      draw: labels [n] and a generator to images.
      labels: of all images.
      seed: of the first batch's generator; the others have parts of it.
      batch: images at a time; another one gives other images.
      first: batches that are there already.
    """
    for number, y in list(enumerate(labels.split(batch)))[first:]:
        yield draw(y, torch.Generator().manual_seed(derive_seed(seed, number + 1))), y
