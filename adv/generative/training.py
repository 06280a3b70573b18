"""Train a conditional GAN as a generator function: it yields segments, and a state resumes it.

A resumed training gives the same weights bit for bit on a CPU with the same number of threads, as
in `adv.train`.
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

from adv.augment.cutout_cutmix import cutout
from adv.augment.flip_crop import random_crop, random_flip
from adv.data.datasets import Split
from adv.generative.gan import GAN
from adv.generative.generator_ema import recalibrate_bn, update_ema
from adv.generative.networks import Discriminator, Generator
from adv.generative.pixel_range import PixelFormat, find_pixel_format
from adv.runtime.random_streams import derive_seed
from adv.training import eager_optimizers


@dataclass(frozen=True)
class TrainingSegment:
    """The nets after some updates of the generator; the next segment changes them in place.

    `metrics` are means over the segment: d_loss, g_loss, and the discriminator's outputs for real
    and for generated images.
    """

    number: int
    total: int
    seconds: float
    metrics: Mapping[str, float]
    _training: _Training = field(repr=False)

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that training resumes from; `torch.save` accepts it.

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
        """Rebuild the segment of a state, on the CPU, without its metrics."""
        training = _Training(gan, data, classes, seed, torch.device("cpu"))
        training.restore(state)
        return cls(training.done, gan.steps, 0.0, {}, training)

    def generator(self, *, ema: bool) -> Generator:
        """Return a copy of the generator in evaluation mode, BatchNorm recalibrated.

        Args:
          ema: use the moving average of the weights, not the weights themselves.
        """
        return self._training.generator(ema)

    @property
    def discriminator(self) -> Discriminator:
        """The live discriminator."""
        return self._training.discriminator

    @property
    def pixel_format(self) -> PixelFormat:
        """The part of an image that is generated."""
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
      gan: the recipe.
      data: real images. Labels of generated images are drawn from theirs.
      classes: the number of classes.
      seed: of the weights, of z and the labels, of the choice of images and of their augmentation.
      device: where to train.
      state: resume after the segment whose `TrainingSegment.state()` this is.
      every: updates of the generator in a segment; the last one may be shorter.

    Yields:
      A `TrainingSegment` after each `every` updates.

    Raises:
      ValueError: no images, images of another size, or `state` is of another recipe or seed.
    """
    if not len(data):
        raise ValueError("there are no images to train on")
    if every < 1:
        raise ValueError(f"a segment needs 1 step or more, got {every}")
    training = _Training(gan, data.to(device), classes, seed, torch.device(device))
    if state is not None:
        training.restore(state)
    while training.done < gan.steps:
        began = time.perf_counter()
        steps = min(every - training.done % every, gan.steps - training.done)
        totals = sum(training.step() for _ in range(steps))
        names = ("d_loss", "g_loss", "real", "generated")
        metrics = dict(zip(names, (torch.as_tensor(totals) / steps).tolist(), strict=True))
        yield TrainingSegment(
            training.done, gan.steps, time.perf_counter() - began, metrics, training
        )


class _Training:
    """The nets, optimisers and random generators of a GAN in training."""

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
            eager_optimizers.Adam(net.parameters(), lr=lr, betas=(0.0, 0.999))
            for net, lr in ((self.net, gan.lr), (self.discriminator, gan.d_lr))
        ]
        self.latents, self.rows, self.draws = self.generators = [
            torch.Generator().manual_seed(derive_seed(seed, n)) for n in (1, 2, 3)
        ]
        self.done = 0

    def step(self) -> Tensor:
        """Update the discriminator, then the generator once; return the four metrics."""
        self.net.train()
        self.discriminator.train().requires_grad_(True)
        means = torch.stack([self._update_discriminator() for _ in range(self.gan.d_steps)]).mean(0)
        # Its own gradients are not needed here: half of the backward pass.
        self.discriminator.requires_grad_(False)
        loss = g_loss(self.discriminator(*self._augment(*self._generate())))
        self._update(0, loss)
        update_ema(self.mean, self.net, self.gan.ema if self.done >= self.gan.ema_start else 0.0)
        self.done += 1
        return torch.stack([means[0], loss.detach(), means[1], means[2]]).cpu()

    def _update_discriminator(self) -> Tensor:
        with torch.no_grad():
            generated, y = self._generate()
        ids = torch.randint(len(self.data), (self.gan.batch,), generator=self.rows).to(self.device)
        real = self.pixel_format.to_floats(self.data.images[ids])
        images, labels = torch.cat([real, generated]), torch.cat([self.data.labels[ids], y])
        # One pass for both, so that both see the same spectral norms.
        outputs = self.discriminator(*self._augment(images, labels))
        on_real, on_generated = outputs.chunk(2)
        loss = d_loss(on_real, on_generated)
        self._update(1, loss)
        return torch.stack([loss, on_real.mean(), on_generated.mean()]).detach()

    def _generate(self) -> tuple[Tensor, Tensor]:
        z, y = self.draw_latents(self.latents)
        return self.net(z, y), y

    def draw_latents(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.randn(self.gan.batch, self.gan.latent, generator=generator)
        ids = torch.randint(len(self.data), (self.gan.batch,), generator=generator)
        return z.to(self.device), self.data.labels[ids.to(self.device)]

    def _augment(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Augment each image by a draw of its own (DiffAugment, Zhao et al. 2020)."""
        gan, x = self.gan, x + 1  # so that pixels that come in are black
        if gan.flip:
            x = random_flip(x, gan.flip, self.draws)
        if gan.translate:
            x = random_crop(x, gan.translate, self.draws)
        if gan.cutout:
            x = cutout(x, gan.cutout, self.draws)
        return (x - 1).contiguous(memory_format=torch.channels_last), y

    def _update(self, which: int, loss: Tensor) -> None:
        self.optimizers[which].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[which].step()

    def generator(self, ema: bool) -> Generator:
        draws = torch.Generator().manual_seed(derive_seed(self.seed, 4))
        return recalibrate_bn(
            copy.deepcopy(self.mean if ema else self.net), lambda: self.draw_latents(draws)
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
