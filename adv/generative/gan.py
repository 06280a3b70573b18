"""The recipe of a conditional GAN, and the nets that it defines."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch

from adv.generative.networks import Discriminator, Generator, initialize
from adv.generative.pixel_range import PixelFormat
from adv.suggestions import suggest

Init = Literal["normal", "orthogonal"]


@dataclass(frozen=True)
class GAN:
    """The settings of a conditional BigGAN and of its training.

    Equal recipe, data and seed give an equal generator.

    The defaults are those of BigGAN-PyTorch for CIFAR-10 (`scripts/launch_cifar_ema.sh`), hours on
    a GPU; `GAN.small()` trains in minutes on two CPU cores.

    Args:
      width: every block has 4 * width channels.
      latent: the dimension of z.
      steps: updates of the generator.
      batch: images per update.
      d_steps: updates of the discriminator before each update of the generator.
      lr: learning rate of the generator, Adam with betas (0, .999).
      d_lr: learning rate of the discriminator.
      ema: decay of the moving average of the generator's weights, in [0, 1).
      ema_start: the update from which weights are averaged; until then the average is a copy.
      flip: probability of a mirrored image in front of the discriminator (Zhao et al. 2020: real
        and generated images are both augmented, and gradients pass through). 0 if flips change the
        class.
      translate: the largest shift in pixels, 0 for none.
      cutout: side of a black square in pixels, 0 for none.
      init: initial weights, "normal" (0, .02) or "orthogonal".

    Raises:
      ValueError: a setting outside its range.
    """

    width: int = 64
    latent: int = 128
    steps: int = 100_000
    batch: int = 50
    d_steps: int = 4
    lr: float = 2e-4
    d_lr: float = 2e-4
    ema: float = 0.9999
    ema_start: int = 1000
    flip: float = 0.5
    translate: int = 4
    cutout: int = 16
    init: Init = "normal"

    def __post_init__(self) -> None:
        for name in ("width", "latent", "steps", "batch", "d_steps"):
            _check_int(name, getattr(self, name), 1)
        for name in ("ema_start", "translate", "cutout"):
            _check_int(name, getattr(self, name), 0)
        for name in ("lr", "d_lr"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {self.ema}")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip must be a probability in [0, 1], got {self.flip}")
        if self.init not in get_args(Init):
            near = suggest(str(self.init), get_args(Init))
            raise ValueError(
                f"init must be one of {', '.join(get_args(Init))}, got {self.init!r}{near}"
            )

    def small(self) -> GAN:
        """Return the recipe at a size for two CPU cores: about a minute on digits."""
        return replace(
            self,
            width=8,
            latent=32,
            steps=1000,
            batch=32,
            d_steps=2,
            lr=1e-3,
            d_lr=1e-3,
            ema=0.99,
            ema_start=100,
            flip=0.0,
            translate=0,
            cutout=0,
        )

    def nets(
        self, pixel_format: PixelFormat, classes: int, seed: int
    ) -> tuple[Generator, Discriminator]:
        """Build both nets, untrained, on the CPU; torch's global generator is left unchanged."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            generator = Generator(pixel_format, classes, self.width, self.latent)
            discriminator = Discriminator(pixel_format, classes, self.width)
            for net in (generator, discriminator):
                initialize(net, self.init)
        return generator, discriminator


def _check_int(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value}")
