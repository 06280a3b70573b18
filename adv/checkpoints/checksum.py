"""The checksum of a checkpoint, kept within its metadata, so that one changed bit is noticed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

KEY = "sha256"


def add_checksum(weights: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata as JSON gives them back, with the checksum of all that a file holds.

    Args:
      weights: by name, on the CPU.
      metadata: that JSON can hold; a checksum in it is replaced.
    """
    plain = json.loads(json.dumps(metadata))
    plain.pop(KEY, None)
    return {**plain, KEY: compute_checksum(weights, plain)}


def pop_checksum(weights: Mapping[str, Tensor], metadata: dict[str, Any]) -> bool:
    """Take the checksum out of the metadata; return whether it fits them and the weights.

    Files of earlier versions have none, and fit.
    """
    return KEY not in metadata or metadata.pop(KEY) == compute_checksum(weights, metadata)


def compute_checksum(weights: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256, 64 hex digits, of metadata and of each tensor: name, type, shape, bytes.

    100 MB take about 0.1 s.
    """
    digest = hashlib.sha256(json.dumps(metadata).encode())
    for name, value in sorted(weights.items()):
        digest.update(f"\n{name!a} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
