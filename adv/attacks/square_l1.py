"""The proposals of the Square attack in L1 (Croce and Hein, "Mind the box", ICML 2021, section 4).

The mass of two windows, and what the ball has left, goes into a new pair of pyramids in the first
window; the change is then projected onto the ball and the box at once.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from adv.attacks.ball import TINY, column
from adv.attacks.black_box import QueryState
from adv.attacks.l1 import project_l1
from adv.attacks.square_proposals import draw_grid, draw_two_windows, ring_sums

POWER = 4  # ring k of a pyramid has the weight 1 / k ** 4; in L2 it is 1 / k ** 2


def pyramid_init(state: QueryState) -> Tensor:
    """Return [n, c, h, w]: `clean` plus a grid of five by five pairs of pyramids, projected."""
    return _project(state, draw_grid(state, pyramids))


def l1_square_update(state: QueryState, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """Return [n, c, h, w]: `adv` with the mass of two windows in a new pair of pyramids.

    The first query is about the initial image.
    """
    windows = draw_two_windows(state, sides, stage, pyramids)
    here, there = windows.here, windows.there
    eps, channels = column(state.eps, state.clean), state.clean.shape[1]
    change = state.adv - state.clean
    unused = (eps - change.abs().sum((1, 2, 3), keepdim=True)).clamp(min=0)
    freed = (change.abs() * (here | there)).sum((1, 2, 3), keepdim=True)
    old = change * here
    new = here * (windows.bump + old / _mass(old))
    new = new / _mass(new) * (freed + unused) / channels
    found = _project(state, torch.where(here, new, change * ~there))
    return torch.where(windows.asked, found, state.adv)


def _project(state: QueryState, change: Tensor) -> Tensor:
    """Return `clean` plus the change, projected as the authors do, a little inside the ball."""
    clean = state.clean.flatten(1)
    found = project_l1(change.flatten(1), clean, torch.as_tensor(state.eps) * (1 - 1e-6))
    return (clean + found).clamp(0, 1).reshape(state.clean.shape)


@lru_cache(maxsize=16)
def pyramids(sides: tuple[int, ...], device: torch.device) -> Tensor:
    """Return [2, len(sides), most, most]: two opposite pyramids in each window, of total mass 1.

    First index 0: one above the other; 1: one left of the other. Zero beyond the window's side.
    """
    table = torch.zeros(2, len(sides), max(sides), max(sides))
    for i, side in enumerate(sides):
        both = torch.cat(
            [ring_sums(side // 2, side, POWER), -ring_sums(side - side // 2, side, POWER)]
        )
        table[0, i, :side, :side] = both / both.abs().sum()
    table[1] = table[0].mT
    return table.to(device)


def _mass(change: Tensor) -> Tensor:
    """Return the mass of each channel of each image, shaped to broadcast over it."""
    return change.abs().sum((2, 3), keepdim=True) + TINY
