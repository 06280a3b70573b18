"""Sets of generated images as .npz files, each with its recipe and its hash inside.

`image` [n, 32, 32, 3] bytes and `label` [n] int64 are what `Generated` takes; `recipe` is JSON, and
`hash` the SHA-256 of both arrays' bytes. A file appears whole or not at all, and none is replaced.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adv.data.datasets import Split
from adv.data.generated import Generated
from adv.data.names import DataError
from adv.files import partial_file
from adv.generative.pixel_range import SIDE

Chunk = tuple[Tensor, Tensor]
"""Images [k, 3, 32, 32], bytes, and labels [k], int64, on the CPU."""


@dataclass(frozen=True, eq=False)
class SampleSet:
    """What such a file holds; `recipe` and `digest` are empty where others wrote it."""

    split: Split
    recipe: Mapping[str, Any]
    digest: str


def write_samples(
    path: Path, chunks: Iterable[Chunk], count: int, recipe: Mapping[str, Any]
) -> str:
    """Write `count` images as they come, so that a million need no memory; returns their hash.

    Raises:
      DataError: the file exists, or cannot be written (a full disk); nothing is left behind.
      ValueError: the count is below 1, or `chunks` hold another number of images.
    """
    check_new_set(path, count)
    digest, labels = hashlib.sha256(), []
    try:
        with partial_file(path, replace=False) as partial, zipfile.ZipFile(partial, "w") as archive:
            with archive.open("image.npy", "w", force_zip64=True) as file:
                _header(file, "|u1", (count, SIDE, SIDE, 3))
                for images, y in chunks:
                    content = images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
                    file.write(content)
                    digest.update(content)
                    labels.append(y)
            label = torch.cat(labels).numpy().astype(np.int64)
            if len(label) != count:
                raise ValueError(f"{count} images were announced, {len(label)} came")
            digest.update(label.tobytes())
            text = json.dumps(dict(recipe))
            for name, array in (("label", label), ("recipe", text), ("hash", digest.hexdigest())):
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    except OSError as error:
        if path.exists():  # another process was faster
            raise DataError(f"{path} exists: name another file") from None
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    return digest.hexdigest()


def check_new_set(path: Path, count: int) -> None:
    """Raise before any work where `write_samples` would after it."""
    if count < 1:
        raise ValueError(f"a set has 1 image or more, got {count}")
    if path.suffix != ".npz":
        raise ValueError(f"{path}: a set of images is called NAME.npz")
    if path.exists():
        raise DataError(f"{path} exists: name another file")


def read_samples(path: Path, like: Split, classes: int) -> SampleSet:
    """The images of a file, ours or another's, for data like `like`.

    Raises:
      DataError: as in `adv.data.generated.open_pool`; or the hash inside is not that of the images.
    """
    pool = Generated(path).pool(like, classes)
    images = np.array(pool.images, order="C")
    with np.load(path, allow_pickle=False) as file:
        digest = str(file["hash"]) if "hash" in file else ""
        recipe = _plain(str(file["recipe"])) if "recipe" in file else {}
    if digest:
        found = hashlib.sha256(images.tobytes())
        found.update(pool.labels.numpy().tobytes())
        if found.hexdigest() != digest:
            raise DataError(f"{path}: damaged: its images are not those that its hash was made of")
    tensor = torch.from_numpy(images)
    if tensor.shape[1:] != like.images.shape[1:]:
        tensor = tensor.permute(0, 3, 1, 2).contiguous()
    return SampleSet(Split(tensor, pool.labels), recipe, digest)


def _plain(text: str) -> dict[str, Any]:
    """A recipe of ours; another's file may use the name for something else."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {}


def _header(file: Any, kind: str, shape: tuple[int, ...]) -> None:
    described = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
