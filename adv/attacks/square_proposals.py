"""The changes that a square attack tries: where it begins, and one more square of each image.

Andriushchenko et al. 2020, algorithms 2 (Linf) and 3 (L2). Every image draws for itself, and the
squares of one batch may differ in size.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from adv.attacks.ball import TINY
from adv.attacks.black_box import Queried
from adv.attacks.counter_rng import uniform


def stripes(state: Queried, eps: float) -> Tensor:
    """[n, c, h, w]: columns of `clean` moved by +eps or -eps, drawn for each colour."""
    n, c, _, w = state.clean.shape
    columns = _signs(uniform(state.seed, state.queries, c * w)).reshape(n, c, 1, w)
    return (state.clean + eps * columns).clamp(0, 1)


def square(state: Queried, eps: float, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """[n, c, h, w]: `adv` with one square of side `sides[stage]` brought to a corner of the ball.

    `stage` is [n]; each colour goes to +eps or -eps as a whole. The first query is about the start.
    """
    n, c, h, w = state.clean.shape
    side = _side(state, sides, stage)
    draws = uniform(state.seed, state.queries, 2 + c)
    inside = _inside(_start(draws[:, 0], h, side), _start(draws[:, 1], w, side), side, (h, w))
    corner = eps * _signs(draws[:, 2:]).reshape(n, c, 1, 1)
    return torch.where(inside, (state.clean + corner).clamp(0, 1), state.adv)


def grid(state: Queried, eps: float) -> Tensor:
    """[n, c, h, w]: `clean` moved by a length of eps, as five by five bumps, upright or lying."""
    n, c, h, w = state.clean.shape
    side = max(1, min(h, w) // 5)
    tall, wide = h // side, w // side
    draws = uniform(state.seed, state.queries, (1 + c) * tall * wide).reshape(n, 1 + c, tall, wide)
    at = torch.arange(max(h, w), device=state.clean.device)
    rows, columns = at[:h] - h % side // 2, at[:w] - w % side // 2
    tile = (rows // side).clamp(0, tall - 1)[:, None], (columns // side).clamp(0, wide - 1)
    lying = (draws[:, 0] < 0.5).long()[:, *tile]
    pattern = _bumps((side,), at.device)[lying, 0, (rows % side)[:, None], columns % side]
    whole = (rows >= 0) & (rows < tall * side), (columns >= 0) & (columns < wide * side)
    pattern = pattern * whole[0][:, None] * whole[1]
    change = pattern[:, None] * _signs(draws[:, 1:])[:, :, *tile]
    return (state.clean + eps * change / _length(change, (1, 2, 3))).clamp(0, 1)


def bump(state: Queried, eps: float, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """[n, c, h, w]: `adv` with a bump added in one square, paid for by another that is cleared.

    The change is as long as eps again, before it is clipped to [0, 1]. The first query is about the
    start. Each colour's bump may spend what all colours have in both squares, as in AutoAttack
    (the paper: what its own colour has): of 80 digits 61 stood, not 68.
    """
    n, c, h, w = state.clean.shape
    side = _side(state, sides, stage)
    draws = uniform(state.seed, state.queries, 5 + c)
    top, left = _start(draws[:, 0], h, side), _start(draws[:, 1], w, side)
    here = _inside(top, left, side, (h, w))
    there = _inside(_start(draws[:, 2], h, side), _start(draws[:, 3], w, side), side, (h, w))
    lying = (draws[:, 4] < 0.5).long()
    pattern = _placed(_bumps(sides, stage.device)[lying, stage], top, left, (h, w))
    change = state.adv - state.clean
    unused = (eps**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp(min=0)
    paid = (change.square() * (here | there)).sum((1, 2, 3), keepdim=True)
    old = change * here
    new = here * (pattern * _signs(draws[:, 5:]).reshape(n, c, 1, 1) + old / _length(old, (2, 3)))
    new = new / _length(new, (2, 3)) * (paid + unused / c).sqrt()
    change = torch.where(here, new, change * ~there)
    return (state.clean + eps * change / _length(change, (1, 2, 3))).clamp(0, 1)


@lru_cache(maxsize=64)
def on(values: tuple[int, ...], device: torch.device) -> Tensor:
    """A constant, brought to a device once."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=16)
def _bumps(sides: tuple[int, ...], device: torch.device) -> Tensor:
    """[2, len(sides), most, most]: two opposite bumps side by side in each square, of length 1.

    First index 0: one above the other; 1: one left of the other. Zero beyond a square's side.
    """
    table = torch.zeros(2, len(sides), max(sides), max(sides))
    for i, side in enumerate(sides):
        upper = _peak(side // 2, side)
        both = torch.cat([upper, -_peak(side - side // 2, side)])
        table[0, i, :side, :side] = both / both.norm()
    table[1] = table[0].mT
    return table.to(device)


def _peak(height: int, width: int) -> Tensor:
    """[height, width] of length 1: 1 + 1/4 + 1/9 ... in the middle, a term less each ring out."""
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2).float() ** 2
    tail = terms.flip(0).cumsum(0).flip(0)
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    peak = tail[torch.maximum(rows[:, None], columns)]
    return peak / max(float(peak.norm()), TINY)


def _placed(pattern: Tensor, top: Tensor, left: Tensor, shape: tuple[int, int]) -> Tensor:
    """[n, 1, h, w]: patterns [n, s, s] with their corners at `top` and `left` [n].

    Right within the pattern's own square; elsewhere it repeats the border.
    """
    n, most = len(pattern), pattern.shape[-1] - 1
    rows = (_index(shape[0], top.device) - top[:, None]).clamp(0, most)
    columns = (_index(shape[1], top.device) - left[:, None]).clamp(0, most)
    image = torch.arange(n, device=top.device)[:, None, None]
    return pattern[image, rows[:, :, None], columns[:, None]][:, None]


def _side(state: Queried, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """[n] pixels; none for an image that was not asked about yet."""
    return on(sides, stage.device)[stage] * (state.queries > 0)


def _start(draw: Tensor, length: int, side: Tensor) -> Tensor:
    """[n]: the first pixel of a window that fits, every place as likely."""
    return (draw * (length - side + 1)).long()


def _inside(top: Tensor, left: Tensor, side: Tensor, shape: tuple[int, int]) -> Tensor:
    """[n, 1, h, w] booleans: the square of each image."""
    rows = _index(shape[0], top.device) - top[:, None]
    columns = _index(shape[1], top.device) - left[:, None]
    rows, columns = ((v >= 0) & (v < side[:, None]) for v in (rows, columns))
    return rows[:, None, :, None] & columns[:, None, None, :]


def _index(length: int, device: torch.device) -> Tensor:
    return torch.arange(length, device=device)


def _signs(draws: Tensor) -> Tensor:
    return torch.where(draws < 0.5, -1.0, 1.0)


def _length(change: Tensor, over: tuple[int, ...]) -> Tensor:
    return change.square().sum(over, keepdim=True).sqrt() + TINY
