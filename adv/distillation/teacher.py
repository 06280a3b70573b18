"""The teacher of a distillation: a net from a checkpoint, which stays the same for a training."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from adv.checkpoints.checkpoint import restore
from adv.data.datasets import Split
from adv.runtime.random_streams import is_random


def read_digest(path: str) -> bytes:
    """Return the SHA-256 of a teacher's file.

    Raises:
      ValueError: the file cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).read_bytes()).digest()
    except OSError as error:
        raise ValueError(f"the teacher {path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=2)
def load_teacher(path: str, digest: bytes, device: torch.device) -> nn.Module:
    """Return the net of a checkpoint, in evaluation mode and without gradients of its weights.

    Args:
      path: of a checkpoint that a search, `adv.save` or `python -m adv train` wrote.
      digest: SHA-256 of the file.
      device: where the net is to run.

    Raises:
      ValueError: the file is another one, it is no checkpoint, or its net is random.
    """
    if read_digest(path) != digest:
        raise ValueError(f"{path} is not the teacher that this training began with")
    net = restore(path).net.to(device).eval().requires_grad_(False)
    if is_random(net):
        raise ValueError(f"the teacher {path} is a random net: take one that always answers alike")
    return net


def check_teacher(path: str, teacher: nn.Module, data: Split, classes: int) -> None:
    """Raise ValueError unless a teacher classifies images as those of `data`."""
    try:
        with torch.no_grad():
            found = teacher(data.images[:1].float() / 255).shape[-1]
    except RuntimeError as error:
        size = "x".join(map(str, data.images.shape[1:]))
        raise ValueError(f"the teacher {path} takes no images of size {size}") from error
    if found != classes:
        raise ValueError(f"the teacher {path} knows {found} classes, the data have {classes}")


def to_tensor(digest: bytes) -> Tensor:
    """Return the bytes of a digest as a tensor, for the state of a training."""
    return torch.tensor(list(digest), dtype=torch.uint8)
