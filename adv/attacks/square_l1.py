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
from adv.attacks.counter_rng import uniform
from adv.attacks.l1 import project_l1
from adv.attacks.square_proposals import _inside, _place_pattern, _side, _signs, _start

POWER = 4  # ring k of a pyramid has the weight 1 / k ** 4; in L2 it is 1 / k ** 2


def pyramid_init(state: QueryState) -> Tensor:
    """Return [n, c, h, w]: `clean` plus a grid of five by five pairs of pyramids, projected."""
    n, c, h, w = state.clean.shape
    side = max(1, min(h, w) // 5)
    tall, wide = h // side, w // side
    draws = uniform(state.seed, state.queries, (1 + c) * tall * wide).reshape(n, 1 + c, tall, wide)
    at = torch.arange(max(h, w), device=state.clean.device)
    rows, columns = at[:h] - h % side // 2, at[:w] - w % side // 2
    tile = (rows // side).clamp(0, tall - 1)[:, None], (columns // side).clamp(0, wide - 1)
    flat = (draws[:, 0] < 0.5).long()[:, *tile]
    pattern = pyramids((side,), at.device)[flat, 0, (rows % side)[:, None], columns % side]
    inside = ((rows >= 0) & (rows < tall * side))[:, None] & (columns >= 0)
    change = (pattern * (inside & (columns < wide * side)))[:, None] * _signs(draws[:, 1:])[
        :, :, *tile
    ]
    return _project(state, change)


def l1_square_update(state: QueryState, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """Return [n, c, h, w]: `adv` with the mass of two windows in a new pair of pyramids.

    The first query is about the initial image.
    """
    n, c, h, w = state.clean.shape
    eps = column(state.eps, state.clean)
    side = _side(state, sides, stage)
    draws = uniform(state.seed, state.queries, 5 + c)
    top, left = _start(draws[:, 0], h, side), _start(draws[:, 1], w, side)
    here = _inside(top, left, side, (h, w))
    there = _inside(_start(draws[:, 2], h, side), _start(draws[:, 3], w, side), side, (h, w))
    flat = (draws[:, 4] < 0.5).long()
    pattern = _place_pattern(pyramids(sides, stage.device)[flat, stage], top, left, (h, w))
    change = state.adv - state.clean
    unused = (eps - change.abs().sum((1, 2, 3), keepdim=True)).clamp(min=0)
    freed = (change.abs() * (here | there)).sum((1, 2, 3), keepdim=True)
    old = change * here
    new = here * (pattern * _signs(draws[:, 5:]).reshape(n, c, 1, 1) + old / _mass(old))
    new = new / _mass(new) * (freed + unused) / c
    asked = (side > 0).reshape(-1, 1, 1, 1)
    return torch.where(asked, _project(state, torch.where(here, new, change * ~there)), state.adv)


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
        both = torch.cat([_pyramid(side // 2, side), -_pyramid(side - side // 2, side)])
        table[0, i, :side, :side] = both / both.abs().sum()
    table[1] = table[0].mT
    return table.to(device)


def _pyramid(height: int, width: int) -> Tensor:
    """Return a bump [height, width] that falls from its middle ring by ring."""
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2).float() ** POWER
    tail = terms.flip(0).cumsum(0).flip(0)
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    return tail[torch.maximum(rows[:, None], columns)]


def _mass(change: Tensor) -> Tensor:
    """Return the mass of each channel of each image, shaped to broadcast over it."""
    return change.abs().sum((2, 3), keepdim=True) + TINY
