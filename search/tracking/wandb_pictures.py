"""Test images beside their attacked copies and the perturbation, as pictures for W&B."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGNIFIED = 10  # the perturbation is shown so many times as strong
SIDE = 128  # pixels; smaller images are enlarged


@dataclass(frozen=True)
class Picture:
    """An image, its attacked copy and the magnified perturbation, side by side.

    Args:
      pixels: uint8 [height, width, 3], or [height, width] if grey.
      caption: the label and both predictions.
    """

    pixels: NDArray[np.uint8]
    caption: str


def read_pictures(path: Path) -> list[Picture]:
    """Return the pictures of a file of examples; none if it is missing or damaged.

    Args:
      path: of `examples.npz`, see `search.trials.examples`.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
            names = ("images", "attacked", "labels", "predicted", "predicted_attacked", "classes")
            found = {name: held[name] for name in names}
            eps, norm = float(held["eps"]), str(held["norm"])
        return [
            Picture(_strip(found["images"][n], found["attacked"][n]), _caption(found, n, norm, eps))
            for n in range(len(found["images"]))
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError, zipfile.BadZipFile):
        return []


def _strip(image: NDArray[np.uint8], attacked: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return three [c, h, w] images side by side: both, and their difference around grey."""
    difference = attacked.astype(np.int64) - image.astype(np.int64)
    shown = np.clip(128 + MAGNIFIED * difference, 0, 255).astype(np.uint8)
    strip = np.concatenate([image, attacked, shown], axis=2).astype(np.uint8)
    factor = max(1, SIDE // max(image.shape[1:]))
    strip = strip.repeat(factor, axis=1).repeat(factor, axis=2)
    return strip[0] if len(strip) == 1 else strip[:3].transpose(1, 2, 0)


def _caption(found: dict[str, NDArray[Any]], n: int, norm: str, eps: float) -> str:
    """Return the names of the label and of both predictions."""
    classes = [str(name) for name in found["classes"]]
    label, clean, attacked = (
        classes[int(found[name][n])] for name in ("labels", "predicted", "predicted_attacked")
    )
    return (
        f"{label}: predicted {clean}, under {norm}({eps:.3g}) {attacked}; difference x{MAGNIFIED}"
    )
