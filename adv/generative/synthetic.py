"""Generated images as a part of a recipe: it says how they are made, not where they lie.

The recipe holds no path, so it means the same on every machine. The images are made when a training
first asks for them, on the real images of that training, and kept in a cache (`adv.places`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from adv.checkpoint import default_device, write_whole
from adv.data import Split
from adv.generated import Generated, Pool, opened
from adv.generative.baselines import Draw, Gaussian, Mixup
from adv.generative.cache import fingerprint, key, once
from adv.generative.chains import Chains, batches, dealt
from adv.generative.classifier import classifier, named, small
from adv.generative.ddls import DDLS
from adv.generative.gan import GAN
from adv.generative.kept import restore_gan
from adv.generative.making import Work, make_gan
from adv.generative.samples import write_samples
from adv.places import generated_folder
from adv.randomness import part

if TYPE_CHECKING:
    from adv.recipe import Recipe

_MOST_SMALL, _STEPS_SMALL = 2000, 30
_BATCH = 1000


@dataclass(frozen=True)
class FromGAN:
    """Images of a GAN, which is trained first.

    Args:
      gan: how.
      ema: of the average of its generator's weights, or of the weights as they were last.
      ddls: how its latent space is walked, None for draws from the prior.
    """

    gan: GAN = field(default_factory=GAN)
    ema: bool = True
    ddls: DDLS | None = None


@dataclass(frozen=True)
class Npz:
    """An .npz of another generator, in the folder of generated images (`adv.places`).

    Args:
      name: the file's name in that folder, or a full path.
    """

    name: str = "generated.npz"


Source = Gaussian | Mixup | FromGAN | Npz


@dataclass(frozen=True)
class Synthetic:
    """A source of images, and how many of each batch come from it, in a `Recipe`.

    Args:
      source: `Gaussian()`, `Mixup()`, `FromGAN(...)` or `Npz()`.
      fraction: of each batch, in [0, 1], as in `Generated`.
      count: how many images are made.
      relabel: the recipe of a classifier that is trained on the real images and names what each
        generated one shows; None leaves the labels that they were drawn for.
      seed: of the images; the training's own seed does not change them.

    Raises:
      ValueError: a setting outside its range.
    """

    source: Source
    fraction: float = 0.5
    count: int = 50_000
    relabel: Recipe | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.source, Source):
            raise ValueError(
                f"a source is Gaussian(), Mixup(), FromGAN(...) or Npz(), got {self.source!r}"
            )
        Generated("", self.fraction)  # which says what a fraction is
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"1 image or more is made, got {self.count}")

    def small(self) -> Synthetic:
        """The same for two CPU cores: a small GAN, short chains, at most 2,000 images."""
        source = self.source
        if isinstance(source, FromGAN):
            ddls = source.ddls
            if ddls is not None:
                ddls = replace(ddls, steps=min(ddls.steps, _STEPS_SMALL))
            source = replace(source, gan=source.gan.small(), ddls=ddls)
        names = None if self.relabel is None else small(self.relabel)
        return replace(self, source=source, count=min(self.count, _MOST_SMALL), relabel=names)

    def pool(self, real: Split, classes: int) -> Pool:
        """The images, made or found.

        Args:
          real: the training's images; on its device.
          classes: how many there are.

        Raises:
          DataError: the cache cannot be written, or a file does not fit.
        """
        real = real.to("cpu")
        mark = fingerprint(real)
        setting = Generated(self._file(real, classes, mark), self.fraction)
        pool = opened(setting, real, classes)
        if self.relabel is None:
            return pool
        labels = self._labels(pool, real, classes, mark)
        crc = key(labels.numpy().tobytes())
        return replace(pool, labels=labels, fingerprint=f"{pool.fingerprint}-{crc}")

    def _file(self, real: Split, classes: int, mark: str) -> Path:
        if isinstance(self.source, Npz):
            return generated_folder() / Path(self.source.name).expanduser()
        name = type(self.source).__name__.lower()
        mine = key(self.source, self.count, self.seed, mark, classes)
        return once(
            generated_folder() / f"{name}-{mine}.npz",
            lambda path: self._make(path, real, classes, mark),
        )

    def _make(self, path: Path, real: Split, classes: int, mark: str) -> None:
        shares = tuple(real.labels.bincount(minlength=classes).tolist())
        labels = dealt(shares, self.count, torch.Generator().manual_seed(part(self.seed, 0)))
        recipe = {"source": repr(self.source), "seed": self.seed, "real": mark}
        chunks = batches(self._draw(real, classes, mark), labels, self.seed)
        write_samples(path, chunks, self.count, recipe)

    def _draw(self, real: Split, classes: int, mark: str) -> Draw:
        source = self.source
        if isinstance(source, Gaussian | Mixup):
            return source.fitted(real)
        if isinstance(source, Npz):
            raise ValueError("an .npz is there already")
        work = Work(real, [str(c) for c in range(classes)], mark, self.seed)
        path = generated_folder() / f"gan-{key(source.gan, self.seed, mark, classes)}.safetensors"
        once(path, lambda path: make_gan(source.gan, work, path, lambda _: None))
        return Chains(restore_gan(path, default_device()), source.ema, source.ddls).draw

    def _labels(self, pool: Pool, real: Split, classes: int, mark: str) -> Tensor:
        """What a classifier calls them [n], kept as a file: a million images take a while."""
        mine = key(self.relabel, mark, classes, pool.fingerprint)
        path = once(
            generated_folder() / f"labels-{mine}.npy",
            lambda path: self._name(path, pool, real, classes),
        )
        return torch.from_numpy(np.load(path, allow_pickle=False))

    def _name(self, path: Path, pool: Pool, real: Split, classes: int) -> None:
        if self.relabel is None:
            raise ValueError("nobody is there to name the images")
        net = classifier(self.relabel, real, classes, self.seed, default_device())
        buffer = io.BytesIO()
        np.save(buffer, relabelled(net, pool, real).numpy())
        write_whole(path, buffer.getvalue())


def relabelled(net: nn.Module, pool: Pool, real: Split) -> Tensor:
    """What a classifier calls the images of a pool, [n]."""
    rows = torch.arange(len(pool.labels)).split(_BATCH)
    return torch.cat([named(net, pool.at(part_, real.images.shape[1:])) for part_ in rows])
