"""Images under attack as rows of a batch, and the initial states that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from adv.attacks import Iterative, State


@dataclass(eq=False)
class AttackRows:
    """Images under attack: a state on the device, and the host's record of each row.

    Args:
      state: the state of the attack, n rows.
      image: [n] index into the block, -1 for an idle row.
      run: [n] the run of the chain that the image is at, counted from 0.
      age: [n] steps taken in this run.
    """

    state: State
    image: Tensor
    run: Tensor
    age: Tensor

    def keep(self, rows: Tensor) -> AttackRows:
        """Return the given rows."""
        state = self.state.keep(rows.to(self.state.labels.device))
        return AttackRows(state, self.image[rows], self.run[rows], self.age[rows])


def concatenate_rows(parts: Sequence[AttackRows]) -> AttackRows:
    """Return the rows of all parts, one part after another."""
    image, run, age = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("image", "run", "age")
    )
    return AttackRows(concatenate([part.state for part in parts]), image, run, age)


def concatenate(states: Sequence[State]) -> State:
    """Return one state with the images of several, one state after another.

    Radii and step sizes that are one number for all images stay so; others become tensors.
    """
    first = states[0]
    if len(states) == 1:
        return first
    joined: dict[str, Any] = {}
    for field in fields(first):
        values = [getattr(state, field.name) for state in states]
        numbers = {value for value in values if isinstance(value, int | float)}
        if numbers and (len(numbers) > 1 or any(isinstance(v, Tensor) for v in values)):
            values = [getattr(state.per_example(), field.name) for state in states]
        joined[field.name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
    return type(first)(**joined)


class StartCache:
    """The initial states of a block of images under each run, drawn once for the whole block.

    Args:
      attacks: the attack of each run.
      seeds: the seed of each run's starts.
      images: images [n, c, h, w] and labels [n] of the block.
    """

    def __init__(
        self, attacks: Sequence[Iterative], seeds: Sequence[int], images: tuple[Tensor, Tensor]
    ) -> None:
        self.attacks, self.seeds, self.images = attacks, seeds, images
        self._states: dict[int, State] = {}

    def state(self, run: int) -> State:
        """Return the initial state of a run for all images of the block."""
        if run not in self._states:
            generator = torch.Generator().manual_seed(self.seeds[run])
            self._states[run] = self.attacks[run].start(*self.images, generator)
        return self._states[run]

    def drop_before(self, run: int) -> None:
        """Forget the states of earlier runs, which no image needs any more."""
        self._states = {at: state for at, state in self._states.items() if at >= run}
