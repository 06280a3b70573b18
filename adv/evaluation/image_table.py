"""The per-image table of an evaluation, packed into text for JSON. Needs no torch."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def pack(ok: NDArray[np.bool_]) -> str:
    """Return a table of booleans as text, a bit for each."""
    return base64.b64encode(np.packbits(ok).tobytes()).decode()


def unpack(table: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return [1 + attacks, images] booleans of a table that `adv.Score.to_dict` made.

    Row 0 says which images are correct without an attack, the others after each attack.
    """
    return _unpack(str(table["ok"]), 1 + len(table["names"]), int(table["images"]))


USUAL = ("natural_accuracy", "attacked_score")


def per_image_objectives(
    table: Mapping[str, Any], names: Sequence[str] = USUAL
) -> NDArray[np.float64]:
    """Return what each image contributes to some figures, [len(names), images].

    The mean over the images is the figure: for `natural_accuracy` it is 1 for an image that is
    correct without an attack, for `attacked_score` 100 for each attack that it withstands, for
    `worst_case` 1 if it withstands all, for `robust_area` the share of the radii up to which it
    stands. A figure that is none of the images' (the parameters of the net) gets zeros.
    """
    key = str(table["ok"]), 1 + len(table["names"]), int(table["images"])
    if tuple(names) == USUAL:
        return _per_image_objectives(*key)
    eps = tuple(float(radius) for radius in table["eps"])
    rows = [_PER_IMAGE[name](*key, eps) if name in _PER_IMAGE else None for name in names]
    return np.stack([np.zeros(key[2]) if row is None else row for row in rows])


def read_figures(table: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures that follow from a table, by name: no net is attacked for them."""
    means = per_image_objectives(table, tuple(_PER_IMAGE)).mean(axis=1)
    return dict(zip(_PER_IMAGE, means.tolist(), strict=True))


def _worst_per_image(bits: str, rows: int, images: int, _: tuple[float, ...]) -> Floats:
    """Return 1 for an image that is right without and under each attack, else 0."""
    return _unpack(bits, rows, images).all(axis=0).astype(float)


def _area_per_image(bits: str, rows: int, images: int, eps: tuple[float, ...]) -> Floats:
    """Return the share of the radii up to which each image stands, as `Score.area` adds them up."""
    ok = _unpack(bits, rows, images)
    order = sorted(range(len(eps)), key=eps.__getitem__)
    radii = np.array([0.0, *(eps[i] for i in order)])
    standing = np.minimum.accumulate(ok[[0, *(1 + i for i in order)]], axis=0).astype(float)
    if radii[-1] == 0:
        return standing[0]
    last = np.append(np.diff(radii) > 0, True)  # of several attacks at one radius
    area: Floats = np.trapezoid(standing[last], radii[last], axis=0) / radii[-1]
    return area


def _unpack(bits: str, rows: int, images: int) -> NDArray[np.bool_]:
    packed = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
    return np.unpackbits(packed, count=rows * images).reshape(rows, images).astype(bool)


@lru_cache(maxsize=4096)
def _per_image_objectives(bits: str, rows: int, images: int) -> NDArray[np.float64]:
    ok = _unpack(bits, rows, images)
    return np.stack([ok[0].astype(float), 100.0 * ok[1:].sum(axis=0)])


_PER_IMAGE: Mapping[str, Callable[[str, int, int, tuple[float, ...]], Floats]] = {
    "natural_accuracy": lambda bits, rows, images, _: _per_image_objectives(bits, rows, images)[0],
    "attacked_score": lambda bits, rows, images, _: _per_image_objectives(bits, rows, images)[1],
    "worst_case": _worst_per_image,
    "robust_area": _area_per_image,
}

PER_IMAGE = tuple(_PER_IMAGE)
"""The figures that are means over images, by name."""
