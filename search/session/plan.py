"""Decide what a search will do before anything starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import spaces
from adv.data import names
from search.formatting import format_clock
from search.record.constraints import parse_bounds
from search.samplers.table import (
    default_sampler_name,
    load_strategy,
)
from search.session.options import Options
from search.stopping.table import AUDIT_SHARE
from spaces import Params, Scale, Space


@dataclass(frozen=True)
class Machine:
    """The machine or cluster that trials run on.

    Args:
      where: its name in messages.
      cpus: cores in all.
      gpus: GPUs in all.
    """

    where: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Plan:
    """Everything that decides a search.

    Args:
      space_name: of the search space.
      scale: how big a trial is.
      reason: why this scale was taken.
      data: name of the data set, or the path of an image folder.
      trials: how many there are.
      seed: of the search.
      name: of the run folder.
      sampler: name of the sampler.
      stopper: name of the early-stopping rule.
      audit: fraction of would-be-stopped trials run to completion as a check, in [0, 1].
      constraints: upper bounds by name.
    """

    space_name: str
    scale: Scale
    reason: str
    data: str
    trials: int
    seed: int
    name: str
    sampler: str = "tpe"
    stopper: str = "moasha"
    audit: float = AUDIT_SHARE
    constraints: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def space(self) -> Space:
        """The search space at this scale."""
        return spaces.load(self.space_name).for_scale(self.scale.name)

    @property
    def points(self) -> Sequence[Params]:
        """The known points, or the middle of the space: what a plan is estimated from."""
        return self.space.known or (self.space.at([0.5] * len(self.space.knobs)),)


def make_plan(options: Options, machine: Machine, name: str) -> Plan:
    """Fill in what the user left open.

    Raises:
      ValueError: an unknown space or scale, more trials than a grid has points, or a sampler that
        is not for this space.
    """
    assert options.space is not None
    scale, reason = _choose_scale(options, machine)
    plan = Plan(
        space_name=options.space,
        scale=scale,
        reason=reason,
        data=scale.data,
        trials=scale.trials,
        seed=options.seed or 0,
        name=name,
        sampler=options.sampler or default_sampler_name(scale.trials),
        stopper=options.stopper or Plan.stopper,
        audit=Plan.audit if options.audit is None else options.audit,
        constraints=parse_bounds(options.constrain),
    )
    check_sampler(plan.sampler, plan.space, plan.trials)
    return plan


def _choose_scale(options: Options, machine: Machine) -> tuple[Scale, str]:
    """Return the scale of a new search, with what the flags change, and why it was taken."""
    assert options.space is not None
    if options.scale == "auto":
        name = "full" if machine.gpus > 0 else "laptop"
        reason = f"{machine.where} has {'a GPU' if machine.gpus > 0 else 'no GPU'}"
    else:
        name, reason = options.scale, "you asked for it"
    space = spaces.load(options.space).for_scale(name)
    if space.scale.keys() - {"score"} and options.scale == "auto":
        reason += f", and the space {options.space} sets a size of its own"
    check_trials(options.trials, space)
    flags = {
        "trials": options.trials or (len(space.known) if space.grid else None),
        "epochs": options.epochs,
        "score": options.score,
        "battery_steps": options.battery_steps,
        "images": options.images,
        "cpus": options.cpus_per_trial,
        "gpus": options.gpus_per_trial,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    changes: dict[str, Any] = {**space.scale, **given}
    if machine.gpus == 0 and options.gpus_per_trial is None:
        changes["gpus"] = 0.0
    scale = spaces.scale(name, **changes)
    return replace(scale, data=resolve_data_name(options.data or scale.data)), reason


def check_trials(asked: int | None, space: Space) -> None:
    """Raise ValueError if a grid does not have as many points."""
    if space.grid and asked is not None and asked > len(space.known):
        raise ValueError(f"--trials {asked}: this space is a grid of {len(space.known)} points")


def check_sampler(name: str, space: Space, trials: int) -> None:
    """Raise ValueError if a sampler is not for this space, or not for so many trials."""
    load_strategy(name).check(space, trials)


def resolve_data_name(name: str) -> str:
    """Return the name of a known data set as it is, that of a folder as an absolute path."""
    return name if name in names.NAMES else str(Path(name).expanduser().absolute())


def describe_stopper(plan: Plan) -> str:
    """Return in words which trials are stopped early."""
    if plan.stopper == "none":
        return "nothing"
    return (
        "at each rung the bottom half, if significantly worse; "
        f"{100 * plan.audit:g} % of these run to completion as a check"
    )


def format_budget(seconds: float | None) -> str:
    """Return the time limit of a search in words."""
    return "none" if seconds is None else format_clock(seconds)
