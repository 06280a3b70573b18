"""The finals as a study of their own: its sampler proposes candidates again instead of new points.

So they run wherever a search runs, and what ends a search ends them: Ctrl-C, a crash, a budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adv.evaluation.image_table import per_image_objectives
from adv.intervals import error_of_interval
from search.finals.standings import standing
from search.finals.statistics import Floats, candidates, next_training
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.ledger import Ledger
from search.record.pareto import front
from search.record.trial import Trial
from search.record.view import View
from search.study import Study
from spaces import OBJECTIVES, Params, Space

SHARE = 4  # for so many trials of a search the finals take one training by default
CLEAR = 1.96  # a trial is out where one is better in both values by more than 95 % of the noise
MANY = 500
APART = 1_000_003  # from the seeds of the search, which begin at its own
DRAWS = 1000


def default_trainings(trials: int) -> int:
    """How many trainings the finals of a search take where the user says nothing: a quarter."""
    return max(2, round(trials / SHARE))


def chosen(view: View, trainings: int) -> list[int]:
    """The trials that are worth training again, the likeliest members of the front first.

    A third of the trainings is kept for those whose membership will be in doubt.
    """
    every = [trial for trial in view.in_state("finished") if trial.result]
    done = _near([trial for trial in every if view.feasible(trial)] or every)
    points = [trial.result.point for trial in done if trial.result]
    most = max(1, trainings - trainings // 3)
    order = candidates(points, _noise(done), most, clear=CLEAR) if done else []
    return [done[i].number for i in order]


def _near(done: list[Trial]) -> list[Trial]:
    """Of very many trials those that no member of the front beats by far; else all.

    What is left is compared in pairs, each with each.
    """
    if len(done) <= MANY:
        return done
    points = np.array([trial.result.point for trial in done if trial.result])
    sds = _errors(done)
    out = np.zeros(len(done), dtype=bool)
    for i in np.flatnonzero(front(points)):
        out |= (points[i] - points > CLEAR * np.hypot(sds[i], sds)).all(axis=1)
    return [trial for trial, gone in zip(done, out, strict=True) if not gone]


def _noise(done: Sequence[Trial]) -> Floats:
    """The standard error of the difference of two trials, [n, n, 2]: in pairs where images allow.

    Where no image tells two trials apart, one more would have: nothing is known without error.
    """
    tables = [trial.result.details.table for trial in done if trial.result]
    images = {table["images"] for table in tables if table}
    if len(images) == 1 and all(tables):
        each = np.stack([per_image_objectives(table) for table in tables if table], axis=1)
        each -= each.mean(axis=2, keepdims=True)
        both = each @ each.transpose(0, 2, 1)  # [2, n, n]: no array of all pairs and images
        own = np.diagonal(both, axis1=1, axis2=2)
        squares = np.maximum(own[:, :, None] + own[:, None] - 2 * both, 0.0)
        least = np.array([1.0, 100.0])[:, None, None] ** 2
        return np.moveaxis(np.sqrt(squares + least) / each.shape[2], 0, 2)
    sds = _errors(done)
    return np.asarray(np.sqrt(sds[:, None] ** 2 + sds[None] ** 2))


def _errors(done: Sequence[Trial]) -> Floats:
    """The standard error of each trial's values over images, [n, 2]; 0 where it is not known."""
    sds = np.zeros((len(done), 2))
    for i, trial in enumerate(done):
        known = trial.result.intervals if trial.result else {}
        pairs = [known.get(name, (0.0, 0.0)) for name in OBJECTIVES]
        sds[i] = [error_of_interval(low, high) for low, high in pairs]
    return sds


@dataclass(frozen=True)
class Race:
    """Proposes whose training with a fresh seed tells most about the front."""

    search: Ledger | MemoryLedger

    def propose(self, view: View) -> tuple[Params, str] | None:
        """A candidate's parameters, and its number as the origin; None where enough is known.

        It may be asked again: a training that ends can bring doubt back.
        """
        header = self.search.view.finals_header
        known = {f.trial.number: f for f in standing(self.search.view, DRAWS)}
        field = [known[n] for n in header.trials]
        if not field:
            return None
        chances = [0.5 if np.isnan(f.chance) else f.chance for f in field]
        costs = np.maximum(1e-3, [f.trial.seconds for f in field])
        least = 2 if 2 * len(field) <= header.trainings else 1
        i = next_training(chances, [f.begun for f in field], costs, least=least)
        if i is None:
            return None
        return field[i].trial.params, str(field[i].trial.number)


def contest(
    space: Space, ledger: Ledger | MemoryLedger, trainings: int, **header: Any
) -> Study | None:
    """The finals of the search in `ledger`, as a study; None where there is nothing to train.

    Args:
      space: of the search.
      ledger: open.
      trainings: how many in all, those of earlier sessions included.
      header: what else the `finals` event says, `battery` (its id) above all.

    Raises:
      ValueError: the trainings of an earlier session were attacked with another battery.
    """
    view = ledger.view
    numbers = chosen(view, trainings)
    if not numbers:
        return None
    earlier = view.finals.in_state("finished") if view.finals else []
    if any(t.result.details.battery != header["battery"] for t in earlier if t.result):
        raise ValueError(
            f"the finalists of {ledger.path.parent} were attacked with another battery: "
            f"python launch.py --rescore {ledger.path.parent}"
        )
    ledger.append("finals", trials=numbers, trainings=trainings, **header)
    seed = (view.header.seed or 0) + APART
    part = FinalsLedger(ledger)
    return Study(space, part, trials=trainings, seed=seed, sampler=Race(ledger))
