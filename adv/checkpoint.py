"""Weights as safetensors, with the card that says how the net is made again.

A net is re-made from its space and its point, never from a dumped object: nothing here unpickles.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, said in one line."""


def save_checkpoint(path: Path, net: nn.Module, card: Mapping[str, Any]) -> None:
    """Write the weights and the card, whole or not at all."""
    weights = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    write_whole(path, save(weights, metadata={"card": json.dumps(card)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the card of a checkpoint.

    Raises:
      CheckpointError: no such file, or it is not one of ours.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["card"])
            return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of this program") from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def load_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Put the weights into a net.

    Raises:
      CheckpointError: they belong to another net.
    """
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"these weights belong to another net: {first}") from error
    return net


def default_device() -> torch.device:
    """The first GPU that this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
