"""Mix generated images into the training batches.

Given enough images, this improves robust accuracy more than anything else: Gowal et al. 2021
(arXiv:2110.09468); Wang et al. 2023 (arXiv:2302.04638, "DM" below), whose published sets from the
EDM diffusion model can be used as they are.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from adv.data.datasets import Split
from adv.data.names import DataError, abbreviate
from adv.data.npz_arrays import explain_damage, read_array, read_header, shorten
from adv.suggestions import suggest

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ImageSource(Protocol):
    """Generated images for a recipe, read from a file or generated on first use."""

    def small(self) -> ImageSource:
        """Return the same source at a cost that two CPU cores can bear."""
        ...

    def pool(self, real: Split, classes: int) -> ImagePool:
        """Return the images for a training on `real` with `classes` classes."""
        ...


@dataclass(frozen=True)
class Generated:
    """An .npz file of generated images, and their share of each batch.

    A batch of b images holds `round(fraction * b)` generated ones, drawn with replacement, which
    replace real images at random positions. So an epoch has as many batches of the same sizes as
    without them, and sees only the remaining share of the real images, another one each time, as
    in DM. Validation and test images stay real, and so do the images from which a net takes mean
    and standard deviation before the training.

    Args:
        path: the file. `image`: bytes [n, h, w, c] or [n, c, h, w], of the real images' shape;
            `label`: integers [n]. A file written by `np.savez` is memory-mapped, so 1,000,000
            images need no memory; one by `np.savez_compressed` is unpacked into memory (3 GB).
        fraction: in [0, 1]; 0.7 in DM.

    Raises:
        ValueError: the fraction is outside its range. The file is not opened before training.
    """

    path: str | Path
    fraction: float = 0.7

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", os.fspath(self.path))  # one repr for both kinds
        if not 0 <= self.fraction <= 1:  # false for NaN too
            raise ValueError(
                f"the fraction of generated images must be in [0, 1], not {self.fraction}"
            )

    def small(self) -> Generated:
        """Return the same source: the cost of a file does not depend on the scale."""
        return self

    def pool(self, real: Split, classes: int) -> ImagePool:
        """Open the file for a training on `real`; see `open_pool`."""
        return open_pool(self, real, classes)


@dataclass(frozen=True, eq=False)
class ImagePool:
    """The images of such a file, memory-mapped where possible, and their labels in memory.

    `fingerprint` is 16 hex digits of the arrays' CRC-32, which the file stores: it costs nothing
    and identifies the file, but does not protect against forgery.
    """

    images: NDArray[np.uint8]
    labels: Tensor
    source: Generated
    fingerprint: str

    def check(self, fingerprint: str | None) -> None:
        """Raise DataError if a training began with other images, by their fingerprint."""
        if fingerprint != self.fingerprint:
            raise DataError(
                f"{self.source.path}: these are not the images that this training began with "
                f"(fingerprint {self.fingerprint}, then {fingerprint})"
            )

    def draw_batch(self, real: Split, rows: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return the batch `rows` of the real images, a share of it replaced by generated ones.

        Returns:
            Bytes [n, c, h, w] and labels [n], on the device of `real`.
        """
        return self.mix_into(real.images[rows], real.labels[rows], generator)

    def mix_into(
        self, images: Tensor, labels: Tensor, generator: Generator
    ) -> tuple[Tensor, Tensor]:
        """Replace a share of the images of a batch by generated ones, in place; return both."""
        count = round(self.source.fraction * len(images))
        if count:
            sampled = torch.randint(len(self.labels), (count,), generator=generator)
            # Anywhere in the batch, since the attack may be applied to its first images only.
            positions = torch.randperm(len(images), generator=generator)[:count].to(images.device)
            images[positions] = self.images_at(sampled, images.shape[1:]).to(images.device)
            labels[positions] = self.labels[sampled].to(labels.device)
        return images, labels

    def images_at(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Return images `rows` of the file, bytes [n, c, h, w]; `shape` is that of a real image."""
        pixels = torch.from_numpy(np.array(self.images[rows.numpy()]))
        return pixels if pixels.shape[1:] == shape else pixels.permute(0, 3, 1, 2)


def open_pool(generated: Generated, real: Split, classes: int) -> ImagePool:
    """Open a file of generated images and check that it fits the real images and the classes.

    Raises:
        DataError: no such file, not an .npz or a damaged one, an array that is missing or of
            another size or type, unequal numbers of images and labels, or a label of no class.
    """
    path = Path(os.path.expanduser(generated.path)).absolute()
    if not os.path.isfile(path):  # unlike pathlib's, it takes any name
        raise DataError(f"{path}: no such file of generated images")
    try:
        with zipfile.ZipFile(path) as archive:
            image, label = (_member(archive, path, key) for key in ("image", "label"))
            count = _check_images(path, archive, image, tuple(real.images.shape[1:]))
            _check_labels(path, archive, label, count)
            images, labels = (read_array(path, archive, info) for info in (image, label))
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory: save it with np.savez") from error
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types
        raise DataError(explain_damage(path, error)) from error
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        raise DataError(
            f"{path}: label {labels[wrong[0]]} of image {wrong[0]} is not a class: the data has "
            f"{classes}, 0 to {classes - 1}"
        )
    int_labels = torch.from_numpy(labels.astype(np.int64))
    return ImagePool(images, int_labels, generated, f"{image.CRC:08x}{label.CRC:08x}")


def _member(archive: zipfile.ZipFile, path: Path, key: str) -> zipfile.ZipInfo:
    names = [shorten(name.removesuffix(".npy"), 30) for name in archive.namelist()]
    if key in names:
        return archive.getinfo(f"{key}.npy")
    near = suggest(key, names).removeprefix(":")
    raise DataError(
        f"{path}: no array {key!r} in it.{near} It holds {abbreviate(names, 10) or 'nothing'}; "
        "expected are image and label"
    )


def _check_images(
    path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, real: tuple[int, ...]
) -> int:
    """Return the number of images, after checking their type, and their shape by a real one's."""
    with archive.open(info) as file:
        shape, dtype, _ = read_header(file)
    if dtype != np.uint8:
        raise DataError(
            f"{path}: image is {shorten(str(dtype), 60)}, expected bytes (uint8) from 0 to 255. "
            "If yours are floats from 0 to 1, save (255 * image).round().astype('uint8')"
        )
    channels, *size = real
    if shape[1:] not in ((*size, channels), real):
        expected = " or ".join(f"(n, {a}, {b}, {c})" for a, b, c in ((*size, channels), real))
        raise DataError(f"{path}: image has shape {shorten(str(shape), 60)}, expected {expected}")
    if shape[0] == 0:
        raise DataError(f"{path}: contains no images")
    return shape[0]


def _check_labels(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, count: int) -> None:
    with archive.open(info) as file:
        shape, dtype, _ = read_header(file)
    if dtype.kind not in "iu":
        raise DataError(
            f"{path}: label is {shorten(str(dtype), 60)}, expected integers, such as int64"
        )
    if len(shape) != 1:
        raise DataError(
            f"{path}: label has shape {shorten(str(shape), 60)}, expected (n,): one for each image"
        )
    if shape[0] != count:
        raise DataError(f"{path}: {count} images but {shape[0]} labels")
