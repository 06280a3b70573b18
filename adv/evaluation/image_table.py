"""The per-image table of an evaluation, packed into text for JSON. Needs no torch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(ok: NDArray[np.bool_]) -> str:
    """Return a table of booleans as text, a bit for each."""
    return base64.b64encode(np.packbits(ok).tobytes()).decode()


def unpack(table: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return [1 + attacks, images] booleans of a table that `adv.Score.to_dict` made.

    Row 0 says which images are correct without an attack, the others after each attack.
    """
    return _unpack(str(table["ok"]), 1 + len(table["names"]), int(table["images"]))


def per_image_objectives(table: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return what each image contributes to both objectives, [2, images].

    Row 0 is 1 for an image that is correct without an attack, row 1 is 100 for each attack that it
    withstands; their means are the natural accuracy and the aggregated attacked score.
    """
    return _per_image_objectives(str(table["ok"]), 1 + len(table["names"]), int(table["images"]))


def _unpack(bits: str, rows: int, images: int) -> NDArray[np.bool_]:
    packed = np.frombuffer(base64.b64decode(bits), dtype=np.uint8)
    return np.unpackbits(packed, count=rows * images).reshape(rows, images).astype(bool)


@lru_cache(maxsize=4096)
def _per_image_objectives(bits: str, rows: int, images: int) -> NDArray[np.float64]:
    ok = _unpack(bits, rows, images)
    return np.stack([ok[0].astype(float), 100.0 * ok[1:].sum(axis=0)])
