"""The finals as a study of their own, whose sampler proposes finalists again with fresh seeds.

So finals run on every backend on which a search runs, and end in the same ways: Ctrl-C, a crash, a
time budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adv.evaluation.image_table import per_image_objectives
from adv.intervals import error_of_interval
from adv.shell import join_command
from search.finals.seed_noise import Floats
from search.finals.selection import SEEDS, choose_next, is_clearly_dominated, select_candidates
from search.finals.standings import compute_standings
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.ledger import Ledger
from search.record.pareto import front
from search.record.trial import Trial
from search.record.view import View
from search.study import Study
from spaces import OBJECTIVES, Params, Space

TRIALS_PER_TRAINING = 3  # by default the finals take one training for so many trials
MIN_TRAININGS = 8  # by default, see `default_trainings`
SMALL = 12  # trainings, up to which each finalist is trained `SEEDS` times
Z95 = 1.96  # a trial is left out if another is better in both objectives by the 95 % noise level
MAX_PAIRWISE = 500  # with more trials, those far behind are left out before comparing all pairs
SEED_OFFSET = 1_000_003  # from the seeds of the search, which start at its own
DRAWS = 1000  # of the posterior behind each proposal


def default_trainings(trials: int, planned: int | None = None) -> int:
    """Return how many trainings the finals have by default: a third of the trials, or more.

    A small search is not told much by so few: it has `MIN_TRAININGS`, if that is no more than half
    of the trials.

    Args:
      trials: of the search.
      planned: the least number that its scale asks for; no more than `SEEDS` for each trial.
    """
    small = min(MIN_TRAININGS, trials // 2) if planned is None else min(planned, SEEDS * trials)
    return max(2, round(trials / TRIALS_PER_TRAINING), small)


def choose_finalists(view: View, trainings: int) -> list[int]:
    """Return the numbers of the trials to train again, the likeliest members of the front first.

    Each is trained `SEEDS` times, the baseline of the space among them, if there are `SMALL`
    trainings or fewer, or at least one for two trials. Else a third of the trainings is kept for
    those whose membership stays in doubt, and the baseline comes last. The verdict compares fresh
    seeds with fresh seeds.
    """
    every = view.scored()
    done = _leave_out_far(_feasible(view))
    points = [trial.result.point for trial in done if trial.result]
    twice = trainings <= SMALL or 2 * trainings >= len(every)
    limit = max(1, trainings // SEEDS if twice else trainings - trainings // 3)
    order = select_candidates(points, _difference_sd(done), limit, z=Z95) if done else []
    numbers = [done[i].number for i in order]
    plain = view.header.baseline
    baseline = [trial.number for trial in every if plain and trial.params == plain][:1]
    if not numbers or not baseline or baseline[0] in numbers:
        return numbers
    if twice and 2 < limit == len(numbers):
        numbers.pop()
    return numbers + baseline


def find_contenders(view: View) -> list[Trial]:
    """Return the trials that no other one exceeds in both objectives beyond paired noise.

    One training of each cannot tell them from the front.
    """
    done = _leave_out_far(_feasible(view))
    if not done:
        return []
    points = [trial.result.point for trial in done if trial.result]
    worse = is_clearly_dominated(points, _difference_sd(done), Z95)
    return [trial for trial, out in zip(done, worse, strict=True) if not out]


def _feasible(view: View) -> list[Trial]:
    """Return the scored trials that keep the constraints, or all if none does."""
    every = view.scored()
    return [trial for trial in every if view.feasible(trial)] or every


def _leave_out_far(done: list[Trial]) -> list[Trial]:
    """Return all trials; of very many, those that no member of the front exceeds beyond noise."""
    if len(done) <= MAX_PAIRWISE:
        return done
    points = np.array([trial.result.point for trial in done if trial.result])
    sds = _value_sd(done)
    out = np.zeros(len(done), dtype=bool)
    for i in np.flatnonzero(front(points)):
        out |= (points[i] - points > Z95 * np.hypot(sds[i], sds)).all(axis=1)
    return [trial for trial, gone in zip(done, out, strict=True) if not gone]


def _difference_sd(done: Sequence[Trial]) -> Floats:
    """Return the standard error of the difference of two trials, [n, n, 2].

    It is paired if all trials were scored on the same images. Two trials that no image tells apart
    count as if one more image did, so that no difference is known without error.
    """
    tables = [trial.result.details.table for trial in done if trial.result]
    images = {table["images"] for table in tables if table}
    if len(images) == 1 and all(tables):
        aims = done[0].result.aims if done[0].result else OBJECTIVES
        each = np.stack([per_image_objectives(table, aims) for table in tables if table], axis=1)
        each -= each.mean(axis=2, keepdims=True)
        both = each @ each.transpose(0, 2, 1)  # [2, n, n]: no array of all pairs and images
        own = np.diagonal(both, axis1=1, axis2=2)
        squares = np.maximum(own[:, :, None] + own[:, None] - 2 * both, 0.0)
        one_image = np.array([1.0, 100.0])[:, None, None] ** 2
        return np.moveaxis(np.sqrt(squares + one_image) / each.shape[2], 0, 2)
    sds = _value_sd(done)
    return np.asarray(np.sqrt(sds[:, None] ** 2 + sds[None] ** 2))


def _value_sd(done: Sequence[Trial]) -> Floats:
    """Return the standard error of each trial's values over images, [n, 2]; 0 if unknown."""
    sds = np.zeros((len(done), 2))
    for i, trial in enumerate(done):
        known = trial.result.intervals if trial.result else {}
        aims = trial.result.aims if trial.result else OBJECTIVES
        pairs = [known.get(name, (0.0, 0.0)) for name in aims]
        sds[i] = [error_of_interval(low, high) for low, high in pairs]
    return sds


@dataclass(frozen=True)
class ReseedingSampler:
    """Proposes the finalist whose next fresh seed tells most about the front.

    Args:
      search: the ledger of the search.
    """

    search: Ledger | MemoryLedger

    def propose(self, view: View) -> tuple[Params, str] | None:
        """Return a finalist's configuration, and its number as the origin; None if all is clear.

        It may be asked again after a None: a training that ends can bring back doubt.
        """
        header = self.search.view.finals_header
        by_number = {f.trial.number: f for f in compute_standings(self.search.view, DRAWS)}
        finalists = [by_number[n] for n in header.trials]
        if not finalists:
            return None
        probabilities = [0.5 if np.isnan(f.p_front) else f.p_front for f in finalists]
        costs = np.maximum(1e-3, [f.trial.seconds for f in finalists])
        min_seeds = SEEDS if SEEDS * len(finalists) <= header.trainings else 1
        seeds = [f.started for f in finalists]
        i = choose_next(probabilities, seeds, costs, min_seeds=min_seeds)
        if i is None:
            return None
        return finalists[i].trial.params, str(finalists[i].trial.number)


def make_reseeding_study(
    space: Space, ledger: Ledger | MemoryLedger, trainings: int, **header: Any
) -> Study | None:
    """Return the finals of the search in `ledger` as a study; None if there is nothing to train.

    Args:
      space: of the search.
      ledger: of the search, open.
      trainings: how many in all, those of earlier sessions included.
      header: what else the `finals` event holds, above all `battery` (its id).

    Raises:
      ValueError: the trainings of an earlier session were attacked with another battery.
    """
    view = ledger.view
    numbers = choose_finalists(view, trainings)
    if not numbers:
        return None
    earlier = view.finals.scored() if view.finals else []
    if any(t.result.details.battery != header["battery"] for t in earlier if t.result):
        raise ValueError(
            f"the finalists of {ledger.path.parent} were attacked with another battery: "
            + join_command("python", "launch.py", "--rescore", ledger.path.parent)
        )
    ledger.append("finals", trials=numbers, trainings=trainings, **header)
    seed = (view.header.seed or 0) + SEED_OFFSET
    finals = FinalsLedger(ledger)
    return Study(space, finals, trials=trainings, seed=seed, sampler=ReseedingSampler(ledger))
