"""The standard error of the difference of two half-trained nets, over the images they met."""

from __future__ import annotations

import base64
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.record.trial import Rung

Pair = NDArray[np.float64]


def standard_error(one: Rung, other: Rung) -> Pair:
    """Return the standard error of the difference in both objectives, [2].

    If both rungs hold their per-image tables the difference is paired, because both nets met the
    same images with the same random starts; else the images count as different ones.
    """
    if one.table and other.table and one.table["names"] == other.table["names"]:
        a, b = (_per_image(str(r.table["ok"]), len(r.table["names"]), int(r.table["images"]))
                for r in (one, other) if r.table)  # fmt: skip
        if a.shape == b.shape and a.shape[1] > 1:
            return np.asarray((a - b).std(axis=1, ddof=1) / np.sqrt(a.shape[1]))
    return np.hypot(one.sd, other.sd)


@lru_cache(maxsize=4096)
def _per_image(bits: str, attacks: int, images: int) -> Pair:
    """Return the contribution of each image to both objectives, [2, images]."""
    packed = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
    ok = np.unpackbits(packed, count=(1 + attacks) * images).reshape(1 + attacks, images)
    return np.stack([ok[0], 100.0 * ok[1:].sum(axis=0)])
