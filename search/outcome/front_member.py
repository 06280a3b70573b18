"""A net of the front of a run: its values, where they are from, and the file of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from search.finals.finalist import Finalist, Pair
from search.outcome.marks import Mark, find_marks
from search.record.run_folder import front_path
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.trial_result import Interval
from spaces import find_objective

Measured = Literal["fresh seeds", "estimate", "search"]


@dataclass(frozen=True)
class FrontMember:
    """A net of the front of a run.

    Args:
      trial: of the search, which gives the net its number, its name and its hyperparameters.
      objectives: both objectives, as they are recorded: accuracies in [0, 1].
      intervals: their 95 % intervals; without those that are not known.
      measured: by what: means over fresh seeds on test images; an estimate, of a trial that the
        finals report without a fresh seed; or the trial's own score in the search.
      runs: its trainings with fresh seeds.
      net: the training whose weights `file` holds: the trial, or of several trainings with fresh
        seeds the one whose scores are nearest to their mean.
      marks: why its scores mislead, none if they do not.
      p_front: probability of being on the front of all trials; None: not estimated.
    """

    trial: Trial
    objectives: Mapping[str, float]
    intervals: Mapping[str, Interval]
    measured: Measured
    net: Trial
    runs: tuple[Trial, ...] = ()
    marks: tuple[Mark, ...] = ()
    p_front: float | None = None

    @property
    def number(self) -> int:
        """The number of the trial."""
        return self.trial.number

    @property
    def name(self) -> str:
        """The name of the trial, "0003"."""
        return self.trial.name

    @property
    def file(self) -> Path:
        """The file with its weights, relative to the run folder: front/0003.safetensors."""
        return front_path(self.number)

    @property
    def is_final(self) -> bool:
        """True if `net` is a training with a fresh seed."""
        return self.net is not self.trial

    @property
    def point(self) -> Pair:
        """Both objectives, larger is better: a figure of which less is better has a minus sign."""
        first, second = (find_objective(n).sign * v for n, v in self.objectives.items())
        return first, second

    @property
    def misleads(self) -> bool:
        """True if a mark says that the net should not be recommended, or its file is lost."""
        return any(mark.misleads for mark in self.marks) or bool(self.net.lost_net)


def search_member(trial: Trial, header: StudyHeader) -> FrontMember:
    """Return a trial as the search saw it, as a member of a front."""
    assert trial.result is not None, "a trial of the front has a result"
    aims, known = trial.result.aims, trial.result.intervals
    return FrontMember(
        trial,
        {name: trial.result.objectives[name] for name in aims},
        {name: known[name] for name in aims if name in known},
        "search",
        net=trial,
        marks=find_marks(trial, header),
    )


def reported_member(finalist: Finalist, header: StudyHeader) -> FrontMember:
    """Return a finalist, or a trial that is reported without a fresh seed, as a member."""
    signs = [find_objective(name).sign for name in finalist.aims]
    intervals = {
        name: (min(sign * low, sign * high), max(sign * low, sign * high))
        for name, sign, (low, high) in zip(finalist.aims, signs, finalist.intervals, strict=True)
    }
    values = zip(finalist.aims, signs, finalist.mean, strict=True)
    return FrontMember(
        finalist.trial,
        {name: sign * value for name, sign, value in values},
        intervals,
        "fresh seeds" if finalist.runs else "estimate",
        net=choose_typical_run(finalist.runs) or finalist.trial,
        runs=finalist.runs,
        marks=find_marks(finalist.trial, header, finalist),
        p_front=finalist.p_front,
    )


def choose_typical_run(runs: Sequence[Trial]) -> Trial | None:
    """Return the training whose scores are nearest to the mean of all, None if there is none.

    The best one would have been chosen by the test images, on which its score would flatter it. The
    distance is in standard deviations of each objective; of two equally near the first is taken. A
    training whose file was found to be lost counts only if all are.
    """
    scored = [run for run in runs if run.result]
    usable = [run for run in scored if not run.lost_net] or scored
    if not usable:
        return None
    points = np.array([run.result.point for run in scored if run.result])
    spread = points.std(axis=0)
    apart = (points - points.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    distance = dict(zip((run.number for run in scored), (apart**2).sum(axis=1), strict=True))
    return min(usable, key=lambda run: (round(float(distance[run.number]), 9), run.number))
