"""Generated images as part of a recipe, which says how they are made, not in which file they are.

The recipe holds no path, so it means the same on every machine. The images are made from the real
images of a training when it first asks for them, and are kept in a cache (`adv.generative.cache`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from adv.data.cache_dir import generated_folder
from adv.data.datasets import Split, fingerprint
from adv.data.generated import Generated, ImagePool
from adv.data.names import DataError
from adv.files import write_atomic
from adv.generative.baselines import Draw, Gaussian, Mixup
from adv.generative.cache import cache_key, make_once
from adv.generative.classifier import laptop_recipe, predict, train_classifier
from adv.generative.ddls import DDLS
from adv.generative.gan import GAN
from adv.generative.gan_checkpoint import restore_gan
from adv.generative.gan_file import GANData, make_gan
from adv.generative.npz_files import write_samples
from adv.generative.sampler import GANSampler, sample_batches, stratified_labels
from adv.runtime.devices import default_device
from adv.runtime.random_streams import derive_seed

if TYPE_CHECKING:
    from adv.training.recipe import Recipe

_MOST_SMALL, _STEPS_SMALL = 2000, 30
_BATCH = 1000


@dataclass(frozen=True)
class FromGAN:
    """Images of a GAN, which is trained first.

    Args:
      gan: its recipe.
      ema: sample the averaged weights of its generator, not the last ones.
      ddls: settings of latent sampling, None to sample z from the prior.
    """

    gan: GAN = field(default_factory=GAN)
    ema: bool = True
    ddls: DDLS | None = None


@dataclass(frozen=True)
class Npz:
    """An .npz file of another generator, in the folder of generated images (`adv.data.cache_dir`).

    Args:
      name: the file's name in that folder, or a full path.
    """

    name: str = "generated.npz"


Source = Gaussian | Mixup | FromGAN | Npz


@dataclass(frozen=True)
class Synthetic:
    """A source of generated images, and their share of each batch, for a `Recipe`.

    Args:
      source: `Gaussian()`, `Mixup()`, `FromGAN(...)` or `Npz()`.
      fraction: share of generated images in each batch, in [0, 1], as in `Generated`.
      count: how many images are generated.
      relabel: the recipe of a classifier that is trained on the real images and labels the
        generated ones; None keeps the labels that they were generated for.
      seed: the seed of the images; the training's own seed does not change them.

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
                f"source must be Gaussian(), Mixup(), FromGAN(...) or Npz(), got {self.source!r}"
            )
        Generated("", self.fraction)  # checks the fraction
        if isinstance(self.count, bool) or not isinstance(self.count, int) or self.count < 1:
            raise ValueError(f"count must be 1 or more, got {self.count}")

    def small(self) -> Synthetic:
        """Return the same for two CPU cores: a small GAN, short chains, at most 2,000 images."""
        source = self.source
        if isinstance(source, FromGAN):
            ddls = source.ddls
            if ddls is not None:
                ddls = replace(ddls, steps=min(ddls.steps, _STEPS_SMALL))
            source = replace(source, gan=source.gan.small(), ddls=ddls)
        relabel = None if self.relabel is None else laptop_recipe(self.relabel)
        return replace(self, source=source, count=min(self.count, _MOST_SMALL), relabel=relabel)

    def pool(self, real: Split, classes: int) -> ImagePool:
        """Return the images; make them if they are not in the cache.

        Args:
          real: the images of the training, on its device.
          classes: the number of classes.

        Raises:
          DataError: the cache cannot be written, or a file does not fit.
        """
        data = _RealData(real.to("cpu"), classes)
        source = Generated(self._path(data), self.fraction)
        pool = source.pool(data.real, classes)
        return pool if self.relabel is None else self._relabel(pool, self.relabel, data)

    def _path(self, data: _RealData) -> Path:
        source = self.source
        if isinstance(source, Npz):
            return generated_folder() / Path(source.name).expanduser()

        def make(path: Path) -> None:
            draws = torch.Generator().manual_seed(derive_seed(self.seed, 0))
            labels = stratified_labels(data.class_counts, self.count, draws)
            recipe = {"source": repr(source), "seed": self.seed, "real": data.fingerprint}
            chunks = sample_batches(_sampler(source, self.seed, data), labels, self.seed)
            write_samples(path, chunks, self.count, recipe)

        key = cache_key(source, self.count, self.seed, data.fingerprint, data.classes)
        return make_once(generated_folder() / f"{type(source).__name__.lower()}-{key}.npz", make)

    def _relabel(self, pool: ImagePool, recipe: Recipe, data: _RealData) -> ImagePool:
        def make(path: Path) -> None:
            net = train_classifier(recipe, data.real, data.classes, self.seed, default_device())
            batches = torch.arange(len(pool.labels)).split(_BATCH)
            shape = data.real.images.shape[1:]
            labels = torch.cat([predict(net, pool.images_at(rows, shape)) for rows in batches])
            buffer = io.BytesIO()
            np.save(buffer, labels.numpy())
            write_atomic(path, buffer.getvalue())

        key = cache_key(recipe, data.fingerprint, data.classes, pool.fingerprint)
        # Cached, since labelling a million images takes a while.
        path = make_once(generated_folder() / f"labels-{key}.npy", make)
        labels = _load_labels(path, len(pool.labels), data.classes)
        digest = cache_key(labels.numpy().tobytes())
        return replace(pool, labels=labels, fingerprint=f"{pool.fingerprint}-{digest}")


def _load_labels(path: Path, count: int, classes: int) -> torch.Tensor:
    """Return the labels that are cached for `count` images.

    Raises:
      DataError: the file is damaged.
    """
    try:
        labels = np.load(path, mmap_mode="r", allow_pickle=False)
        sound = labels.shape == (count,) and labels.dtype == np.int64
        sound = sound and labels.min() >= 0 and labels.max() < classes
    except Exception:  # numpy raises a dozen types
        sound = False
    if not sound:
        raise DataError(f"{path} is damaged: delete it to label the images again")
    return torch.from_numpy(np.array(labels))


@dataclass(frozen=True, eq=False)
class _RealData:
    """The real images, on the CPU, that a set is made from, and the number of classes."""

    real: Split
    classes: int

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.real)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """The number of images of each class."""
        return self.real.class_counts(self.classes)


def _sampler(source: Gaussian | Mixup | FromGAN, seed: int, data: _RealData) -> Draw:
    if not isinstance(source, FromGAN):
        return source.fit(data.real)
    gan, classes = source.gan, [str(label) for label in range(data.classes)]
    gan_data = GANData(data.real, classes, data.fingerprint, seed)
    key = cache_key(gan, seed, data.fingerprint, data.classes)
    path = generated_folder() / f"gan-{key}.safetensors"
    make_once(path, lambda path: make_gan(gan, gan_data, path, lambda _: None))
    return GANSampler(restore_gan(path, default_device()), source.ema, source.ddls).draw
