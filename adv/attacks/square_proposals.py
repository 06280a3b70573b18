"""The proposals of the Square attack: the initial image, and one changed square per query.

Andriushchenko et al. 2020, algorithms 2 (Linf) and 3 (L2). Random numbers are drawn for each image
separately, and the squares of one batch may differ in size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from adv.attacks.ball import TINY, column
from adv.attacks.black_box import QueryState
from adv.attacks.counter_rng import uniform

Bumps = Callable[[tuple[int, ...], torch.device], Tensor]
"""Makes the patterns [2, len(sides), most, most] of a pair of bumps, for each side."""


def stripe_init(state: QueryState) -> Tensor:
    """Return [n, c, h, w]: vertical stripes of +eps or -eps on `clean`, drawn for each channel."""
    n, c, _, w = state.clean.shape
    columns = signs(uniform(state.seed, state.queries, c * w)).reshape(n, c, 1, w)
    return (state.clean + column(state.eps, state.clean) * columns).clamp(0, 1)


def linf_square_update(state: QueryState, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """Return [n, c, h, w]: `adv` with one square moved to a corner of the ball.

    The side of the square is `sides[stage]`, with `stage` [n]; each channel moves to +eps or -eps
    as a whole. The first query is about the initial image, which is returned unchanged.
    """
    n, c, h, w = state.clean.shape
    side = _side(state, sides, stage)
    draws = uniform(state.seed, state.queries, 2 + c)
    top, left = _start(draws[:, 0], h, side), _start(draws[:, 1], w, side)
    corner = column(state.eps, state.clean) * signs(draws[:, 2:]).reshape(n, c, 1, 1)
    if _can_write_windows(state, side):
        return _write_windows(state, corner, top, left, side)
    inside = _inside(top, left, side, (h, w))
    return torch.where(inside, (state.clean + corner).clamp(0, 1), state.adv)


def _can_write_windows(state: QueryState, side: Tensor) -> bool:
    """Return whether writing the squares alone is faster than going through the whole images."""
    adv, clean = state.adv, state.clean
    if adv.device.type != "cpu" or adv.stride() != clean.stride() or not len(adv):
        return False
    dense = adv.is_contiguous() or adv.is_contiguous(memory_format=torch.channels_last)
    return dense and 4 * int(side.max()) ** 2 <= adv.shape[2] * adv.shape[3]


def _write_windows(
    state: QueryState, corner: Tensor, top: Tensor, left: Tensor, side: Tensor
) -> Tensor:
    """Return [n, c, h, w]: `adv` with `clean` plus the corner [n, c, 1, 1] in each square."""
    adv = state.adv.clone()
    memory, clean = (images.as_strided((adv.numel(),), (1,)) for images in (adv, state.clean))
    row, channel, down, right = adv.stride()
    first = _index(len(adv), adv.device) * row + top * down + left * right
    for length in side.unique().tolist():
        some = (side == length).nonzero().flatten()
        at = _index(length, adv.device)
        channels = _index(adv.shape[1], adv.device)[:, None, None] * channel
        square = channels + at[:, None] * down + at * right
        places = first[some, None, None, None] + square
        memory.put_(places, (clean.take(places) + corner[some]).clamp_(0, 1))
    return adv


def grid_init(state: QueryState) -> Tensor:
    """Return [n, c, h, w]: `clean` plus a grid of five by five bumps of total length eps.

    A bump is vertical or horizontal at random.
    """
    change = draw_grid(state, _bumps)
    eps = column(state.eps, state.clean)
    return (state.clean + eps * change / _length(change, (1, 2, 3))).clamp(0, 1)


def draw_grid(state: QueryState, bumps: Bumps) -> Tensor:
    """Return [n, c, h, w]: a grid of five by five bumps, their direction and signs at random.

    Args:
      state: before the first query.
      bumps: makes the two patterns, one above the other and one left of the other.
    """
    n, c, h, w = state.clean.shape
    side = max(1, min(h, w) // 5)
    tall, wide = h // side, w // side
    draws = uniform(state.seed, state.queries, (1 + c) * tall * wide).reshape(n, 1 + c, tall, wide)
    at = torch.arange(max(h, w), device=state.clean.device)
    rows, columns = at[:h] - h % side // 2, at[:w] - w % side // 2
    tile = (rows // side).clamp(0, tall - 1)[:, None], (columns // side).clamp(0, wide - 1)
    horizontal = (draws[:, 0] < 0.5).long()[:, *tile]
    pattern = bumps((side,), at.device)[horizontal, 0, (rows % side)[:, None], columns % side]
    whole = (rows >= 0) & (rows < tall * side), (columns >= 0) & (columns < wide * side)
    pattern = pattern * whole[0][:, None] * whole[1]
    return pattern[:, None] * signs(draws[:, 1:])[:, :, *tile]


@dataclass(frozen=True)
class TwoWindows:
    """Two squares of each image, and a bump for the first of them.

    Args:
      here, there: [n, 1, h, w] true inside the first and the second square.
      bump: [n, c, h, w] signed; only meaningful in the first square.
      asked: [n, 1, 1, 1] false for an image that has not been queried yet, whose squares are empty.
    """

    here: Tensor
    there: Tensor
    bump: Tensor
    asked: Tensor


def draw_two_windows(
    state: QueryState, sides: tuple[int, ...], stage: Tensor, bumps: Bumps
) -> TwoWindows:
    """Draw two squares with the side `sides[stage]`, and the direction and signs of a bump."""
    n, c, h, w = state.clean.shape
    side = _side(state, sides, stage)
    draws = uniform(state.seed, state.queries, 5 + c)
    top, left = _start(draws[:, 0], h, side), _start(draws[:, 1], w, side)
    here = _inside(top, left, side, (h, w))
    there = _inside(_start(draws[:, 2], h, side), _start(draws[:, 3], w, side), side, (h, w))
    horizontal = (draws[:, 4] < 0.5).long()
    pattern = _place_pattern(bumps(sides, stage.device)[horizontal, stage], top, left, (h, w))
    bump = pattern * signs(draws[:, 5:]).reshape(n, c, 1, 1)
    return TwoWindows(here, there, bump, (side > 0).reshape(-1, 1, 1, 1))


def l2_square_update(state: QueryState, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """Return [n, c, h, w]: `adv` with a bump added in one square and another square cleared.

    The change has length eps again, before it is clipped to [0, 1]. The first query is about the
    initial image. The bump of each channel may use the budget that all channels have in both
    squares, as in AutoAttack (in the paper: the budget of its own channel): of 80 digits 61 stayed
    correct, not 68.
    """
    windows = draw_two_windows(state, sides, stage, _bumps)
    here, there = windows.here, windows.there
    eps, channels = column(state.eps, state.clean), state.clean.shape[1]
    change = state.adv - state.clean
    unused = (eps**2 - change.square().sum((1, 2, 3), keepdim=True)).clamp(min=0)
    freed = (change.square() * (here | there)).sum((1, 2, 3), keepdim=True)
    old = change * here
    new = here * (windows.bump + old / _length(old, (2, 3)))
    new = new / _length(new, (2, 3)) * (freed + unused / channels).sqrt()
    change = torch.where(here, new, change * ~there)
    return (state.clean + eps * change / _length(change, (1, 2, 3))).clamp(0, 1)


@lru_cache(maxsize=64)
def constant_on(values: tuple[int, ...], device: torch.device) -> Tensor:
    """Return a constant as a tensor, copied to the device only once."""
    return torch.tensor(values, device=device)


@lru_cache(maxsize=16)
def _bumps(sides: tuple[int, ...], device: torch.device) -> Tensor:
    """Return [2, len(sides), most, most]: two opposite bumps in each square, of total length 1.

    First index 0: one above the other; 1: one left of the other. Zero beyond the square's side.
    """
    table = torch.zeros(2, len(sides), max(sides), max(sides))
    for i, side in enumerate(sides):
        upper = _peak(side // 2, side)
        both = torch.cat([upper, -_peak(side - side // 2, side)])
        table[0, i, :side, :side] = both / both.norm()
    table[1] = table[0].mT
    return table.to(device)


def _peak(height: int, width: int) -> Tensor:
    """Return a bump [height, width] of length 1."""
    peak = ring_sums(height, width, 2)
    return peak / max(float(peak.norm()), TINY)


def ring_sums(height: int, width: int, power: int) -> Tensor:
    """Return a bump [height, width] that falls from its middle ring by ring.

    In the middle it is 1 + 1/2^power + 1/3^power + ...; each ring further out lacks the first
    remaining term.
    """
    terms = 1 / torch.arange(1, max(height, width) // 2 + 2).float() ** power
    tail = terms.flip(0).cumsum(0).flip(0)
    rows = (torch.arange(height) - height // 2).abs()
    columns = (torch.arange(width) - width // 2).abs()
    return tail[torch.maximum(rows[:, None], columns)]


def _place_pattern(pattern: Tensor, top: Tensor, left: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return [n, 1, h, w]: patterns [n, s, s] with their corners at `top` and `left` [n].

    Only the pattern's own square is meaningful; elsewhere the border is repeated.
    """
    n, most = len(pattern), pattern.shape[-1] - 1
    rows = (_index(shape[0], top.device) - top[:, None]).clamp(0, most)
    columns = (_index(shape[1], top.device) - left[:, None]).clamp(0, most)
    image = torch.arange(n, device=top.device)[:, None, None]
    return pattern[image, rows[:, :, None], columns[:, None]][:, None]


def _side(state: QueryState, sides: tuple[int, ...], stage: Tensor) -> Tensor:
    """Return the side [n] in pixels; 0 for an image that has not been queried yet."""
    return constant_on(sides, stage.device)[stage] * (state.queries > 0)


def _start(draw: Tensor, length: int, side: Tensor) -> Tensor:
    """Return [n]: the first pixel of a window that fits, all positions equally likely."""
    return (draw * (length - side + 1)).long()


def _inside(top: Tensor, left: Tensor, side: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return [n, 1, h, w] booleans: the pixels of each image's square."""
    rows = _index(shape[0], top.device) - top[:, None]
    columns = _index(shape[1], top.device) - left[:, None]
    rows, columns = ((v >= 0) & (v < side[:, None]) for v in (rows, columns))
    return rows[:, None, :, None] & columns[:, None, None, :]


def _index(length: int, device: torch.device) -> Tensor:
    return torch.arange(length, device=device)


def signs(draws: Tensor) -> Tensor:
    """Return -1 or 1 for uniform numbers in [0, 1)."""
    return torch.where(draws < 0.5, -1.0, 1.0)


def _length(change: Tensor, over: tuple[int, ...]) -> Tensor:
    return change.square().sum(over, keepdim=True).sqrt() + TINY
