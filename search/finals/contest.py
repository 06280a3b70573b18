"""The finals as a study of their own: its sampler proposes candidates again instead of new points.

So they run wherever a search runs, and what ends a search ends them: Ctrl-C, a crash, a budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.finals.race import candidates, next_training
from search.finals.standing import per_image, standing
from search.ledger import Draft, Ledger, Part, View
from search.study import Study
from search.trial import Trial
from spaces import Params, Space

SHARE = 4  # for so many trials of a search the finals take one training by default
CLEAR = 1.96  # a trial is out where one is better in both values by more than 95 % of the noise
APART = 1_000_003  # from the seeds of the search, which begin at its own
DRAWS = 1000


def default_trainings(trials: int) -> int:
    """How many trainings the finals of a search take where the user says nothing: a quarter."""
    return max(2, round(trials / SHARE))


def chosen(view: View, trainings: int) -> list[int]:
    """The trials that are worth training again, the likeliest members of the front first.

    A third of the trainings is kept for those whose membership will be in doubt.
    """
    done = [trial for trial in view.having("finished") if trial.result]
    points = [trial.result.point for trial in done if trial.result]
    most = max(1, trainings - trainings // 3)
    order = candidates(points, _noise(done), most, clear=CLEAR) if done else []
    return [done[i].number for i in order]


def _noise(done: Sequence[Trial]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The standard error of the difference of two trials, [n, n, 2]: in pairs where images allow.

    Where no image tells two trials apart, one more would have: nothing is known without error.
    """
    tables = [trial.result.details.get("table") for trial in done if trial.result]
    images = {table["images"] for table in tables if table}
    if len(images) == 1 and all(tables):
        each = np.stack([per_image(table) for table in tables if table])
        count = each.shape[2]
        apart = each[:, None] - each[None]
        squares = (apart**2).sum(axis=3) - count * apart.mean(axis=3) ** 2
        return np.asarray(np.sqrt(squares + np.array([1.0, 100.0]) ** 2) / count)
    names = ("natural_accuracy", "attacked_score")
    sds = np.zeros((len(done), 2))
    for i, trial in enumerate(done):
        known = trial.result.intervals if trial.result else {}
        sds[i] = [(known[n][1] - known[n][0]) / 3.92 if n in known else 0.0 for n in names]
    return np.asarray(np.sqrt(sds[:, None] ** 2 + sds[None] ** 2))


@dataclass(frozen=True)
class Race:
    """Proposes whose training with a fresh seed tells most about the front."""

    search: Ledger | Draft

    def propose(self, view: View) -> tuple[Params, str] | None:
        """A candidate's parameters, and its number as the origin; None where enough is known.

        It may be asked again: a training that ends can bring doubt back.
        """
        known = {f.trial.number: f for f in standing(self.search.view, DRAWS)}
        field = [known[n] for n in view.header["trials"]]
        if not field:
            return None
        chances = [0.5 if np.isnan(f.chance) else f.chance for f in field]
        costs = np.maximum(1e-3, [f.trial.seconds for f in field])
        least = 2 if 2 * len(field) <= view.header["trainings"] else 1
        i = next_training(chances, [f.begun for f in field], costs, least=least)
        if i is None:
            return None
        return field[i].trial.params, str(field[i].trial.number)


def contest(space: Space, ledger: Ledger | Draft, trainings: int, **header: Any) -> Study | None:
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
    earlier = view.finals.having("finished") if view.finals else []
    if any(t.result.details.get("battery") != header["battery"] for t in earlier if t.result):
        raise ValueError(
            f"the finalists of {ledger.path.parent} were attacked with another battery: "
            f"python launch.py --rescore {ledger.path.parent}"
        )
    ledger.append("finals", trials=numbers, trainings=trainings, **header)
    seed = int(view.header.get("seed", 0)) + APART
    part = Part(ledger)
    return Study(space, part, trials=trainings, seed=seed, sampler=Race(ledger))
