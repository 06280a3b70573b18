"""The check of a per-image table that was read from a file. Needs neither numpy nor torch."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

_MAX_IMAGES = 10**8


def check_table(table: Mapping[str, Any]) -> None:
    """Raise ValueError, in one line, unless a table could have come from `adv.Score.to_dict`."""
    names, images, bits = (table.get(key) for key in ("names", "images", "ok"))
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError("'names' is not a list of texts")
    if type(images) is not int or not 1 <= images <= _MAX_IMAGES:
        raise ValueError(f"'images' is not a whole number from 1 to {_MAX_IMAGES}")
    need = -(-(1 + len(names)) * images // 8)
    if not isinstance(bits, str) or _count_bytes(bits) != need:
        raise ValueError(f"'ok' is not the {need} bytes of {images} images as base64")


def _count_bytes(bits: str) -> int:
    """Return how many bytes a base64 text holds, -1 if it is none."""
    try:
        return len(base64.b64decode(bits, validate=True))
    except ValueError:
        return -1
