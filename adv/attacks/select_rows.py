"""Rows of a batch, taken and merged with a copy of memory instead of an index for each element.

An attack on a small net spends as much time on its own state as in the net. Everything here returns
what plain indexing and `torch.where` return, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from adv.attacks.ball import column


def take_rows(values: Tensor, rows: Tensor) -> Tensor:
    """Return `values[rows]` in the same memory format, for indices [m]."""
    if _is_channels_last(values):
        return _last(values).index_select(0, rows).permute(0, 3, 1, 2)
    return values.index_select(0, rows)


def choose_rows(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return the new values where the mask [n] is true, without waiting for the device.

    On a CPU looking at the mask is free, and most masks are nearly all true or all false. The
    result may be `new` or `old` itself.
    """
    if mask.device.type == "cpu":
        rows = mask.nonzero().flatten()
        if len(rows) == 0:
            return old
        if len(rows) == len(mask):
            return new
        if old.dim() > 1 and old.dtype == new.dtype and old.stride() == new.stride():
            if old.is_contiguous():
                return old.index_copy(0, rows, new.index_select(0, rows))
            if _is_channels_last(old):
                found = _last(old).index_copy(0, rows, _last(new).index_select(0, rows))
                return found.permute(0, 3, 1, 2)
    return torch.where(column(mask, new), new, old)


def _is_channels_last(values: Tensor) -> bool:
    return (
        values.dim() == 4
        and not values.is_contiguous()
        and values.is_contiguous(memory_format=torch.channels_last)
    )


def _last(values: Tensor) -> Tensor:
    """Return a view of images [n, c, h, w] in channels_last as a contiguous [n, h, w, c]."""
    return values.permute(0, 2, 3, 1)
