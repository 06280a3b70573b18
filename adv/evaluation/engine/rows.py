"""Images under attack as rows of a batch, and the initial states that they come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from adv.attacks import Iterative, State

_HOST = ("image", "run", "age", "asked")


@dataclass(eq=False)
class AttackRows:
    """Images under attack: a state on the device, and the host's record of each row.

    Args:
      state: the state of the attack, n rows.
      image: [n] index into the block, -1 for an idle row.
      run: [n] the run of the chain that the image is at, counted from 0.
      age: [n] steps taken in this run.
      asked: [n] booleans, whether votes have been asked about the image in this run.
      evidence: [n, 3] on the device, see `add_evidence`; only used for random nets.
    """

    state: State
    image: Tensor
    run: Tensor
    age: Tensor
    asked: Tensor
    evidence: Tensor

    def keep(self, rows: Tensor) -> AttackRows:
        """Return the given rows, indices [m]."""
        on_device = rows.to(self.state.labels.device)
        columns = {name: getattr(self, name)[rows] for name in _HOST}
        evidence = self.evidence[on_device]
        return AttackRows(self.state.keep(on_device), **columns, evidence=evidence)


def first_rows(state: State, image: Tensor, run: int) -> AttackRows:
    """Return the rows of images [n] that begin a run from a prepared state."""
    zero = torch.zeros_like(image)
    evidence = torch.zeros(len(image), 3, dtype=torch.float64, device=state.labels.device)
    return AttackRows(state, image, torch.full_like(image, run), zero, zero.bool(), evidence)


def concatenate_rows(parts: Sequence[AttackRows]) -> AttackRows:
    """Return the rows of all parts, one part after another."""
    state = concatenate([part.state for part in parts])
    names = (*_HOST, "evidence")
    return AttackRows(state, **{n: torch.cat([getattr(p, n) for p in parts]) for n in names})


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

    def keep(self, needed: Callable[[int], bool]) -> None:
        """Forget the states of runs that are not needed any more."""
        self._states = {run: state for run, state in self._states.items() if needed(run)}
