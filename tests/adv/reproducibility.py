"""Seeded generators, the state of numpy's, and whether two states are equal bit for bit."""

from __future__ import annotations

import io

import numpy as np
import torch


def seeded_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numpy_state() -> np.ndarray:
    """Return a copy of the words that numpy's global generator consists of."""
    return np.random.get_state(legacy=False)["state"]["key"].copy()


def save_and_load(state):
    """The state as it comes back from a file, read without unpickling code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def bit_equal(a, b) -> bool:
    """Compare two nested states bit for bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(bit_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(bit_equal(*pair) for pair in zip(a, b, strict=True))
    return a == b
