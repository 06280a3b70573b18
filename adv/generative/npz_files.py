"""Write and read sets of generated images as .npz files that hold their recipe and their hash.

`image` [n, h, w, c] bytes and `label` [n] int64 are what `Generated` reads; `recipe` is JSON, and
`hash` is the SHA-256 of the bytes of both arrays. A file appears whole or not at all, and an
existing one is never replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
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
from adv.data.npz_arrays import explain_damage, read_text
from adv.files import partial_file

Chunk = tuple[Tensor, Tensor]
"""Images [k, c, h, w], bytes, and labels [k], int64, on the CPU."""


@dataclass(frozen=True, eq=False)
class SampleSet:
    """The content of such a file; `recipe` and `digest` are empty if another program wrote it."""

    split: Split
    recipe: Mapping[str, Any]
    digest: str


def write_samples(
    path: Path, chunks: Iterable[Chunk], count: int, recipe: Mapping[str, Any]
) -> str:
    """Write `count` images batch by batch, so that a million need no memory; return their hash.

    Raises:
      DataError: the file exists, or cannot be written (a full disk); nothing is left behind.
      ValueError: the count is below 1, or `chunks` hold another number of images.
    """
    check_new_set(path, count)
    digest, labels = hashlib.sha256(), list[Tensor]()
    try:
        with partial_file(path, replace=False) as partial, zipfile.ZipFile(partial, "w") as archive:
            with archive.open("image.npy", "w", force_zip64=True) as file:
                for images, y in chunks:
                    if not labels:
                        channels, *size = images.shape[1:]
                        _header(file, "|u1", (count, *size, channels))
                    content = images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
                    file.write(content)
                    digest.update(content)
                    labels.append(y)
            label = np.concatenate([np.empty(0, np.int64), *(y.numpy() for y in labels)])
            if len(label) != count:
                raise ValueError(f"expected {count} images, got {len(label)}")
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
    """Raise, before any work, the error that `write_samples` would raise after it."""
    if count < 1:
        raise ValueError(f"a set needs 1 image or more, got {count}")
    if path.suffix != ".npz":
        raise ValueError(f"{path}: the name of a set of images must end in .npz")
    if path.exists():
        raise DataError(f"{path} exists: name another file")


def read_samples(path: Path, like: Split, classes: int) -> SampleSet:
    """Read a set of images, ours or another program's, for data like `like`.

    Raises:
      DataError: as in `adv.data.generated.open_pool`; or the hash in the file does not fit.
    """
    path = Path(os.path.expanduser(path))
    pool = Generated(path).pool(like, classes)
    try:
        images = np.array(pool.images, order="C")
        with zipfile.ZipFile(path) as archive:
            digest, recipe = read_text(archive, "hash"), _parse_recipe(read_text(archive, "recipe"))
    except MemoryError as error:
        raise DataError(f"{path}: {len(pool.images)} images do not fit into memory") from error
    except Exception as error:  # zipfile, zlib and numpy raise a dozen types
        raise DataError(explain_damage(path, error)) from error
    if digest:
        found = hashlib.sha256(images.tobytes())
        found.update(pool.labels.numpy().tobytes())
        if found.hexdigest() != digest:
            raise DataError(f"{path}: damaged: the hash in it is not that of its images")
    tensor = torch.from_numpy(images)
    if tensor.shape[1:] != like.images.shape[1:]:
        tensor = tensor.permute(0, 3, 1, 2).contiguous()
    return SampleSet(Split(tensor, pool.labels), recipe, digest)


def _parse_recipe(text: str) -> dict[str, Any]:
    """Parse a recipe of ours; {} if another program uses that name for something else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _header(file: Any, kind: str, shape: tuple[int, ...]) -> None:
    described = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, described)
