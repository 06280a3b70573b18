"""Share image tensors with the workers of a node without a copy."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from search.backends.ray_imports import ray


@contextmanager
def share_images() -> Iterator[None]:
    """Put byte tensors into Ray's object store as arrays that workers map instead of copying.

    Only byte tensors, which hold images and labels: mapped memory is read-only, and nobody writes
    to those.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    ray.util.register_serializer(torch.Tensor, serializer=_pack, deserializer=_unpack)
    try:
        yield
    finally:
        ray.util.deregister_serializer(torch.Tensor)


def _pack(tensor: Any) -> tuple[Any, Any]:
    plain = tensor.is_contiguous() and tensor.device.type == "cpu" and not tensor.requires_grad
    if plain and str(tensor.dtype) == "torch.uint8":
        return tensor.numpy(), None
    return None, tensor.__reduce_ex__(2)  # as without us: a function and its arguments


def _unpack(packed: tuple[Any, Any]) -> Any:
    array, rest = packed
    if array is None:
        return rest[0](*rest[1])
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of read-only memory, which is wanted here
        return torch.from_numpy(array)
