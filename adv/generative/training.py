"""Training a conditional GAN as a generator: it yields, nobody calls back, and a state goes on.

Bit for bit on a CPU with the same number of threads, as in `adv.train`.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from adv.augment.cutout_cutmix import cut_out
from adv.augment.flip_crop import cropped, flipped
from adv.data.datasets import Split
from adv.generative.gan import GAN
from adv.generative.generator_ema import recalibrate_bn, update_ema
from adv.generative.networks import Discriminator, Generator
from adv.generative.pixel_range import PixelFormat, find_pixel_format
from adv.runtime.random_streams import derive_seed


@dataclass(frozen=True)
class TrainingSegment:
    """The nets after some updates of the generator. They are live: the next segment changes them.

    `metrics` are means over the segment: d_loss, g_loss, and what the discriminator says of real
    and of generated images.
    """

    number: int
    total: int
    seconds: float
    metrics: Mapping[str, float]
    _training: _Training = field(repr=False)

    def state(self) -> dict[str, Any]:
        """A copy of everything that training goes on from; `torch.save` takes it.

        Raises:
          ValueError: the next segment has begun, so these weights are gone.
        """
        if self._training.done != self.number:
            raise ValueError(f"step {self.number} is gone: take its state before the next segment")
        return self._training.state()

    @classmethod
    def of(
        cls, gan: GAN, data: Split, *, classes: int, seed: int, state: Mapping[str, Any]
    ) -> TrainingSegment:
        """The segment that a state was taken at, on the CPU, without its metrics."""
        training = _Training(gan, data, classes, seed, torch.device("cpu"))
        training.restore(state)
        return cls(training.done, gan.steps, 0.0, {}, training)

    def generator(self, *, ema: bool) -> Generator:
        """A copy of the generator in evaluation mode, its BatchNorm statistics estimated anew.

        Args:
          ema: the moving average of its weights, or the weights themselves.
        """
        return self._training.shown(ema)

    @property
    def discriminator(self) -> Discriminator:
        """The live discriminator."""
        return self._training.discriminator

    @property
    def pixel_format(self) -> PixelFormat:
        """What of an image is drawn."""
        return self._training.pixel_format


def train_gan(
    gan: GAN,
    data: Split,
    *,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
    state: Mapping[str, Any] | None = None,
    every: int = 100,
) -> Iterator[TrainingSegment]:
    """Train a conditional GAN.

    Args:
      gan: how.
      data: real images. Labels of generated ones are drawn as these have them.
      classes: how many there are.
      seed: of the weights, of z and the labels, of the choice of images and their augmentation.
      device: where to train.
      state: go on after the segment that `TrainingSegment.state()` was taken at.
      every: updates of the generator in a segment; the last may be shorter.

    Yields:
      A `TrainingSegment` after each `every` updates.

    Raises:
      ValueError: no images, images of another size, or `state` is of another recipe or seed.
    """
    if not len(data):
        raise ValueError("there is no image to train on")
    if every < 1:
        raise ValueError(f"a segment has 1 step or more, got {every}")
    training = _Training(gan, data.to(device), classes, seed, torch.device(device))
    if state is not None:
        training.restore(state)
    while training.done < gan.steps:
        began = time.perf_counter()
        steps = min(every - training.done % every, gan.steps - training.done)
        totals = sum(training.step() for _ in range(steps))
        names = ("d_loss", "g_loss", "real", "made")
        metrics = dict(zip(names, (torch.as_tensor(totals) / steps).tolist(), strict=True))
        yield TrainingSegment(
            training.done, gan.steps, time.perf_counter() - began, metrics, training
        )


class _Training:
    """What changes while a GAN trains."""

    def __init__(
        self, gan: GAN, data: Split, classes: int, seed: int, device: torch.device
    ) -> None:
        self.gan, self.data, self.seed, self.device = gan, data, seed, device
        self.pixel_format = find_pixel_format(data.images)
        nets = gan.nets(self.pixel_format, classes, seed)
        for net in nets:
            net.to(device).to(memory_format=torch.channels_last)
        self.net, self.discriminator = nets
        self.mean = copy.deepcopy(self.net)
        self.optimizers = [
            torch.optim.Adam(net.parameters(), lr=lr, betas=(0.0, 0.999))
            for net, lr in ((self.net, gan.lr), (self.discriminator, gan.d_lr))
        ]
        self.latents, self.rows, self.draws = self.generators = [
            torch.Generator().manual_seed(derive_seed(seed, n)) for n in (1, 2, 3)
        ]
        self.done = 0

    def step(self) -> Tensor:
        """One update of the generator after those of the discriminator; the four metrics."""
        self.net.train()
        self.discriminator.train().requires_grad_(True)
        told = torch.stack([self._discriminate() for _ in range(self.gan.d_steps)]).mean(0)
        self.discriminator.requires_grad_(False)  # half of the backward pass is not needed
        loss = g_loss(self.discriminator(*self._varied(*self._made())))
        self._descend(0, loss)
        update_ema(self.mean, self.net, self.gan.ema if self.done >= self.gan.ema_start else 0.0)
        self.done += 1
        return torch.stack([told[0], loss.detach(), told[1], told[2]]).cpu()

    def _discriminate(self) -> Tensor:
        with torch.no_grad():
            made, y = self._made()
        ids = torch.randint(len(self.data), (self.gan.batch,), generator=self.rows).to(self.device)
        real = self.pixel_format.to_floats(self.data.images[ids])
        images, labels = torch.cat([real, made]), torch.cat([self.data.labels[ids], y])
        # One pass for both kinds: the spectral norms are then the same for both.
        answers = self.discriminator(*self._varied(images, labels))
        yes, no = answers.chunk(2)
        loss = d_loss(yes, no)
        self._descend(1, loss)
        return torch.stack([loss, yes.mean(), no.mean()]).detach()

    def _made(self) -> tuple[Tensor, Tensor]:
        z, y = self.drawn(self.latents)
        return self.net(z, y), y

    def drawn(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.randn(self.gan.batch, self.gan.latent, generator=generator)
        ids = torch.randint(len(self.data), (self.gan.batch,), generator=generator)
        return z.to(self.device), self.data.labels[ids.to(self.device)]

    def _varied(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """DiffAugment (Zhao et al. 2020): a draw for each image, real or not; black comes in."""
        gan, x = self.gan, x + 1
        if gan.flip:
            x = flipped(x, gan.flip, self.draws)
        if gan.translate:
            x = cropped(x, gan.translate, self.draws)
        if gan.cutout:
            x = cut_out(x, gan.cutout, self.draws)
        return (x - 1).contiguous(memory_format=torch.channels_last), y

    def _descend(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[which].step()

    def shown(self, ema: bool) -> Generator:
        draws = torch.Generator().manual_seed(derive_seed(self.seed, 4))
        return recalibrate_bn(
            copy.deepcopy(self.mean if ema else self.net), lambda: self.drawn(draws)
        )

    def state(self) -> dict[str, Any]:
        nets = {"net": self.net, "mean": self.mean, "discriminator": self.discriminator}
        weights = {name: net.state_dict() for name, net in nets.items()}
        return {
            "gan": repr(self.gan),
            "seed": self.seed,
            "step": self.done,
            "generators": [generator.get_state() for generator in self.generators],
            **copy.deepcopy(
                {**weights, "optimizers": [one.state_dict() for one in self.optimizers]}
            ),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        if (state["gan"], state["seed"]) != (repr(self.gan), self.seed):
            raise ValueError("this state belongs to another GAN or seed")
        for name in ("net", "mean", "discriminator"):
            getattr(self, name).load_state_dict(state[name])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copy.deepcopy(saved))
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)
        self.done = int(state["step"])


def d_loss(real: Tensor, generated: Tensor) -> Tensor:
    """Return the discriminator's hinge loss, E relu(1 - D(x)) + E relu(1 + D(G(z))).

    Lim and Ye 2017, Miyato et al. 2018.

    Args:
      real: the discriminator's outputs [n] for real images.
      generated: its outputs [n] for generated ones.
    """
    return F.relu(1 - real).mean() + F.relu(1 + generated).mean()


def g_loss(generated: Tensor) -> Tensor:
    """Return the generator's loss, -E D(G(z)), of the discriminator's outputs [n]."""
    return -generated.mean()
