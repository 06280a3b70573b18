"""How the finalists stand: a view of the ledger, for the race itself and for everyone who shows it.

Means are over fresh seeds alone. The training that chose a trial is shown beside them, so that the
winner's curse can be seen, and enters nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adv.evaluation.image_table import per_image_objectives
from adv.intervals import MASKING_GAP_LIMIT, error_of_interval
from search.finals.statistics import (
    DRAWS,
    Floats,
    membership,
    plausible,
    posterior,
    reported,
    resampled,
)
from search.record.pareto import front
from search.record.trial import Trial
from search.record.trial_result import Interval
from search.record.view import View

Pair = tuple[float, float]
FAR = 6.0  # standard errors of a value behind another's in both: never on the front


@dataclass(frozen=True)
class Finalist:
    """A trial that is trained again.

    Args:
      trial: of the search; its result is the one that chose it.
      runs: its finished trainings with fresh seeds, whose results are of the test split under the
        strong battery, all under the same one.
      begun: how many trainings were begun, failed and running ones included.
      mean: of both objectives over `runs`, in the units of `TrialResult`; nan where there is none.
      intervals: of each mean at 95 %, over seeds and over test images.
      chance: P(on the front) of all trials of the search; nan without a run.
      on_front: whether it is of the front that is reported.
    """

    trial: Trial
    runs: tuple[Trial, ...] = ()
    begun: int = 0
    mean: Pair = (float("nan"), float("nan"))
    intervals: tuple[Interval, Interval] = ((float("nan"),) * 2, (float("nan"),) * 2)
    chance: float = float("nan")
    on_front: bool = False

    @property
    def points(self) -> list[Pair]:
        """Both objectives of each fresh seed."""
        return [run.result.point for run in self.runs if run.result]

    @property
    def worst(self) -> Trial | None:
        """The fresh seed with the lowest attacked score."""
        return min(
            self.runs, key=lambda run: run.result.point[1] if run.result else 0, default=None
        )

    @property
    def again(self) -> Pair | None:
        """Mean of the fresh seeds where the search measured: the same images, the same battery."""
        known = [run.result.details.validation for run in self.runs if run.result]
        rows = [tuple(values.values()) for values in known if values]
        return _mean(rows) if rows else None

    @property
    def claimed(self) -> Pair | None:
        """Mean of the fresh seeds on the test split under the battery of the search."""
        known = [run.result.details.claimed for run in self.runs if run.result]
        rows = [tuple(values.values()) for values in known if values]
        return _mean(rows) if rows else None

    @property
    def gap(self) -> tuple[float, Interval] | None:
        """What the strong battery takes from the mean attacked accuracy, in [0, 1], and interval.

        The interval is the mean one of the seeds: they meet the same images.
        """
        known = [run.result.details.masking_gap for run in self.runs if run.result]
        gaps = [gap for gap in known if gap]
        if not gaps:
            return None
        low, high = _mean([gap.interval for gap in gaps])
        return float(np.mean([gap.gap for gap in gaps])), (low, high)

    @property
    def flagged(self) -> bool:
        """Whether the whole interval of the gap lies above four points."""
        return self.gap is not None and self.gap[1][0] > MASKING_GAP_LIMIT


def standing(view: View, draws: int = DRAWS) -> list[Finalist]:
    """The finalists, the most accurate on natural images first, those without a result last."""
    finals = view.finals
    if finals is None:
        return []
    numbers = list(dict.fromkeys([*view.finals_header.trials, *map(_of, finals.trials.values())]))
    battery = view.finals_header.battery
    rows = []
    for number in numbers:
        mine = [run for run in finals.trials.values() if _of(run) == number]
        done = tuple(run for run in mine if _judged_by(run, battery))
        rows.append(Finalist(view.trials[number], done, len(mine)))
    judged, rest = [f for f in rows if f.runs], [f for f in rows if not f.runs]
    if not judged:
        return rest
    top = 100.0 * len(view.header.battery) or np.inf
    guess, images = _guess(judged), _moved(judged, draws)
    means = posterior([f.points for f in judged], guess, images=images, draws=draws)
    means = means.clip(0, [1, top])  # no mean lies outside
    others = _others(view, judged, guess)
    if others is None:
        chances = membership(means)
    else:
        if images is not None:  # others would have met the same test images
            common = np.repeat(images.mean(axis=1, keepdims=True), len(others), axis=1)
            images = np.concatenate([images, common], axis=1)
        seen, fresh = _seen(judged, others), {i: f.points for i, f in enumerate(judged)}
        worth = plausible(seen, fresh, guess, images=images, draws=draws).clip(0, [1, top])
        chances = membership(worth)[: len(judged)]
    lows, highs = np.quantile(means, [0.025, 0.975], axis=0)
    best = reported(chances)
    made = [
        Finalist(
            f.trial,
            f.runs,
            f.begun,
            _mean(f.points),
            ((float(lows[i, 0]), float(highs[i, 0])), (float(lows[i, 1]), float(highs[i, 1]))),
            float(chances[i]),
            bool(best[i]),
        )
        for i, f in enumerate(judged)
    ]
    return [*sorted(made, key=lambda f: (-f.mean[0], -f.mean[1])), *rest]


def _guess(judged: Sequence[Finalist]) -> Floats:
    """The noise of one evaluation on the test images, [2]: what seeds may differ by."""
    errors = [
        [error_of_interval(low, high) for low, high in run.result.intervals.values()]
        for f in judged
        for run in f.runs
        if run.result and len(run.result.intervals) == 2
    ]
    return np.mean(errors, axis=0) if errors else np.zeros(2)


def _moved(judged: Sequence[Finalist], draws: int) -> Floats | None:
    """How the means would move with other test images, [draws, n, 2]; None without tables."""
    tables = [_images(f) for f in judged]
    if any(table is None for table in tables):
        return None
    return resampled(np.stack([t for t in tables if t is not None]), draws=draws)


def _others(view: View, judged: Sequence[Finalist], guess: Floats) -> list[Trial] | None:
    """The other trials that may be on the front; None where fresh seeds cannot be held beside them.

    Beside them they can be held by their values on the images and under the battery of the search.
    """
    if any(f.again is None for f in judged):
        return None
    numbers = {f.trial.number for f in judged}
    rest = [t for t in view.in_state("finished") if t.result and t.number not in numbers]
    rest = [t for t in rest if view.feasible(t)]
    if not rest:
        return []
    points = np.array([t.result.point for t in rest if t.result])
    behind = np.zeros(len(rest), dtype=bool)
    for best in points[front(points)]:
        behind |= (best - points > FAR * guess).all(axis=1)
    return [t for t, out in zip(rest, behind, strict=True) if not out]


def _seen(judged: Sequence[Finalist], others: Sequence[Trial]) -> Floats:
    """Values of the search in the unit of the finals, [n, 2]: finalists, then the others.

    Between the two lies what other images and stronger attacks take from the fresh seeds.
    """
    lost = np.mean([np.subtract(_mean(f.points), f.again or (0.0, 0.0)) for f in judged], axis=0)
    chose = [f.trial.result.point if f.trial.result else f.again for f in judged]
    return np.array([*chose, *(t.result.point for t in others if t.result)]) + lost


def _images(finalist: Finalist) -> Floats | None:
    """What each test image adds to both objectives, mean over the seeds: [2, images]."""
    tables = [run.result.details.table for run in finalist.runs if run.result]
    if not all(tables):
        return None
    return np.mean([per_image_objectives(table) for table in tables if table], axis=0)


def _judged_by(run: Trial, battery: str) -> bool:
    return run.result is not None and run.result.details.battery in (None, battery)


def _of(run: Trial) -> int:
    """The trial of the search that a training repeats."""
    return int(run.origin)


def _mean(rows: Sequence[Sequence[float]]) -> Pair:
    first, second = np.mean(rows, axis=0)
    return float(first), float(second)
