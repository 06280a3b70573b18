"""How far two half-trained nets must lie apart to be told apart by so few images."""

from __future__ import annotations

import base64
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.record.trial import Rung

Pair = NDArray[np.float64]


def standard_error(one: Rung, other: Rung) -> Pair:
    """Of the difference of both objectives, [2].

    In pairs where both rungs hold their tables, because both met the same images with the same
    random starts; else as if they had met different images.
    """
    if one.table and other.table and one.table["names"] == other.table["names"]:
        a, b = (_per_image(str(r.table["ok"]), len(r.table["names"]), int(r.table["images"]))
                for r in (one, other) if r.table)  # fmt: skip
        if a.shape == b.shape and a.shape[1] > 1:
            return np.asarray((a - b).std(axis=1, ddof=1) / np.sqrt(a.shape[1]))
    return np.hypot(one.sd, other.sd)


@lru_cache(maxsize=4096)
def _per_image(bits: str, attacks: int, images: int) -> Pair:
    """What each image adds to both objectives, [2, images]."""
    packed = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
    ok = np.unpackbits(packed, count=(1 + attacks) * images).reshape(1 + attacks, images)
    return np.stack([ok[0], 100.0 * ok[1:].sum(axis=0)])
