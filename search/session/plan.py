"""Decide what a search will do before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import spaces
from adv.data import names
from search.formatting import format_clock
from search.record.constraints import parse_bounds
from search.record.ledger import read
from search.record.run_folder import LEDGER, require_run
from search.samplers.table import (
    default_sampler_name,
    load_strategy,
)
from search.samplers.warm_start import adapt_params
from search.session.options import Options
from search.session.parts import Parts, parts_of
from search.stopping.table import AUDIT_SHARE
from search.trials.rank_count import count_ranks
from spaces import OBJECTIVES, Params, Scale, Space, find_objective, parse_objectives


@dataclass(frozen=True)
class Machine:
    """The machine or cluster that trials run on.

    Args:
      where: its name in messages.
      cpus: cores in all.
      gpus: GPUs in all.
      grows: in words how many GPUs are still to be asked for; "" if there are all.
    """

    where: str
    cpus: float
    gpus: float
    grows: str = ""


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
      settings: that fix or narrow hyperparameters, as `--set` takes them.
      first: a configuration to try before the known ones; None for none.
      objectives: the two figures that the search trades against each other.
      parts: what stands in each recipe in place of what the space puts there: `net`, `init`.
      ranks: processes that train a trial together; 0: one for each of its GPUs.
    """

    space_name: str
    scale: Scale
    reason: str
    data: str
    trials: int
    seed: int
    name: str
    sampler: str = "tpe"
    stopper: str = "predictive"
    audit: float = AUDIT_SHARE
    constraints: Mapping[str, float] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    first: Params | None = None
    objectives: tuple[str, str] = OBJECTIVES
    parts: Parts = field(default_factory=dict)
    ranks: int = 0

    @cached_property
    def space(self) -> Space:
        """The search space at this scale, as the settings narrow it."""
        whole = spaces.load_any(self.space_name).for_scale(self.scale.name)
        return spaces.narrow(whole, self.settings, self.first).with_parts(**self.parts)

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
    name_, reason = _choose_scale_name(options, machine)
    whole = spaces.load_any(options.space).for_scale(name_)
    settings, first = read_settings(options, whole)
    space = spaces.narrow(whole, settings, first)
    scale, reason = _choose_scale(options, machine, space, name_, reason)
    objectives = space.objectives or OBJECTIVES
    if options.objectives is not None:
        objectives = parse_objectives(options.objectives)
    plan = Plan(
        space_name=options.space,
        scale=scale,
        reason=reason,
        data=scale.data,
        trials=scale.trials,
        seed=options.seed or 0,
        name=name,
        sampler=options.sampler or default_sampler_name(scale.trials),
        stopper=_choose_stopper(options, objectives),
        audit=Plan.audit if options.audit is None else options.audit,
        constraints=parse_bounds(options.constrain),
        settings=settings,
        first=first,
        objectives=objectives,
        parts=parts_of(options),
        ranks=options.ranks_per_trial or 0,
    )
    check_sampler(plan.sampler, plan.space, plan.trials)
    return plan


def _choose_stopper(options: Options, objectives: tuple[str, str]) -> str:
    """Return the early-stopping rule: none where a half-trained net has not both objectives."""
    late = [name for name in objectives if not find_objective(name).from_rungs]
    if late and options.stopper not in (None, "none"):
        raise ValueError(
            f"--stopper {options.stopper} compares half-trained nets, whose {late[0]} is not "
            "measured: leave it out, or choose another objective"
        )
    return "none" if late else options.stopper or Plan.stopper


def read_settings(options: Options, space: Space) -> tuple[tuple[str, ...], Params | None]:
    """Return what `--set` and `--near` ask for: settings, and a configuration to try first.

    What `--set` names is not narrowed by `--near`.

    Raises:
      ValueError: they fit no hyperparameter, or name no trial.
    """
    settings = options.set_
    narrowed = spaces.narrow(space, settings)
    if options.near is None:
        return settings, None
    params = _find_near(options.near, narrowed)
    given = [text.partition("=")[0].strip() for text in settings]
    return (*settings, *spaces.settings_near(narrowed, params, given)), params


def _find_near(text: str, space: Space) -> Params:
    """Return the configuration of `runs/NAME:TRIAL` as one of this space."""
    folder, sign, number = text.rpartition(":")
    if not sign or not (number.isascii() and number.isdigit()):
        raise ValueError(f"--near {text}: write runs/NAME:TRIAL, such as runs/first:12")
    view = read(require_run(Path(folder), "--near") / LEDGER)
    trial = view.trials.get(int(number))
    if trial is None:
        last = max(view.trials, default=-1)
        raise ValueError(f"--near {text}: {folder} has no trial {number}, only 0 to {last}")
    params = adapt_params(space, trial.params)
    if params is None:
        raise ValueError(f"--near {text}: it shares no hyperparameter with this space")
    return params


def _choose_scale_name(options: Options, machine: Machine) -> tuple[str, str]:
    """Return the name of the scale of a new search, and why it was taken."""
    if options.scale != "auto":
        return options.scale, "you asked for it"
    has = "a GPU" if machine.gpus > 0 else "no GPU"
    return "full" if machine.gpus > 0 else "laptop", f"{machine.where} has {has}"


def _choose_scale(
    options: Options, machine: Machine, space: Space, name: str, reason: str
) -> tuple[Scale, str]:
    """Return the scale of a new search, with what the flags change, and why it was taken."""
    assert options.space is not None
    if space.scale.keys() - {"score", "final_trainings"} and options.scale == "auto":
        reason += f", and the space {spaces.title(options.space)} sets a size of its own"
    check_trials(options.trials, space)
    flags = {
        "trials": options.trials or (len(space.known) if space.grid else None),
        "epochs": options.epochs,
        "score": options.score,
        "threat_model": options.battery or space.battery,
        "battery_steps": options.battery_steps,
        "images": options.images,
        "cpus": options.cpus_per_trial,
        "gpus": options.gpus_per_trial,
    }
    given = {key: value for key, value in flags.items() if value is not None}
    changes: dict[str, Any] = {**space.scale, **given}
    own = spaces.scale(name, **space.scale)
    if options.trials and own.final_trainings:  # fewer trials need fewer
        share = min(1.0, options.trials / own.trials)
        changes["final_trainings"] = math.ceil(share * own.final_trainings)
    if machine.gpus == 0 and options.gpus_per_trial is None:
        changes["gpus"] = 0.0
    asked = options.data or space.data or None
    scale = spaces.scale(name, **changes).with_data(asked, options.image_size)
    scale = fit_ranks(options, scale)
    return replace(scale, data=names.resolve_name(scale.data)), reason


def fit_ranks(options: Options, scale: Scale) -> Scale:
    """Return the scale with a core for each rank of a trial, at least, unless the user says.

    Raises:
      ValueError: a trial cannot be split over its ranks.
    """
    ranks = count_ranks(options.ranks_per_trial or 0, scale.gpus)
    if 0 < scale.gpus <= 1 < ranks:
        raise ValueError(
            f"--ranks-per-trial {ranks} splits a trial over CPUs, and it has {scale.gpus:g} GPUs: "
            f"add --gpus-per-trial 0, or --gpus-per-trial {ranks} for a GPU each"
        )
    if options.cpus_per_trial is None:
        return replace(scale, cpus=max(scale.cpus, float(ranks)))
    if ranks > scale.cpus:
        raise ValueError(
            f"{ranks} ranks of a trial need {ranks} CPUs, and it has {scale.cpus:g}: "
            f"--cpus-per-trial {ranks}"
        )
    return scale


def check_trials(asked: int | None, space: Space) -> None:
    """Raise ValueError if a grid does not have as many points."""
    if space.grid and asked is not None and asked > len(space.known):
        raise ValueError(f"--trials {asked}: this space is a grid of {len(space.known)} points")


def check_sampler(name: str, space: Space, trials: int) -> None:
    """Raise ValueError if a sampler is not for this space, or not for so many trials."""
    load_strategy(name).check(space, trials)


def describe_stopper(plan: Plan) -> str:
    """Return in words which trials are stopped early."""
    late = [name for name in plan.objectives if not find_objective(name).from_rungs]
    if plan.stopper == "none":
        return f"nothing: half-trained nets have no {late[0]}" if late else "nothing"
    rules = {
        "moasha": "at each rung the bottom half, if significantly worse",
        "predictive": "what will hardly reach the front, once finished trials show that it is safe",
    }
    rule = rules.get(plan.stopper, f"by the rule {plan.stopper}")
    return f"{rule}; {100 * plan.audit:g} % of these run to completion as a check"


def format_budget(seconds: float | None) -> str:
    """Return the time limit of a search in words."""
    return "none" if seconds is None else format_clock(seconds)
