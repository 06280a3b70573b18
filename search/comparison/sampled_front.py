"""The front of a run with samples of its values, which say how sure they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adv.evaluation.image_table import PER_IMAGE, per_image_objectives
from search.finals.finalist import Finalist
from search.finals.seed_noise import Floats
from search.finals.standings import compute_standings, sample_final_means
from search.finals.true_values import DRAWS, bootstrap_images
from search.record.view import View
from spaces import find_objective


@dataclass(frozen=True)
class SampledFront:
    """The front of a run; larger is better everywhere, as in `TrialResult.point`.

    Args:
      numbers: of its trials, the best in the first objective first.
      points: [n, 2] both objectives.
      intervals: [n, 2, 2] their 95 % intervals; the value twice where none is known.
      samples: [draws, n, 2] values with other images, and in the finals also other seeds; the same
        draws for all runs on the same images. None if verdicts of single images are not recorded.
    """

    numbers: tuple[int, ...]
    points: Floats
    intervals: Floats
    samples: Floats | None


def search_front(view: View, draws: int = DRAWS) -> SampledFront:
    """Return the front that a search saw; samples are a bootstrap over its validation images."""
    members = [trial for trial in view.front() if trial.result]
    results = [trial.result for trial in members if trial.result]
    points = np.array([result.point for result in results]).reshape(-1, 2)
    intervals = np.array(
        [
            [
                sorted(find_objective(name).sign * end for end in result.intervals[name])
                if name in result.intervals
                else [value, value]
                for name, value in zip(result.aims, result.point, strict=True)
            ]
            for result in results
        ]
    ).reshape(-1, 2, 2)
    tables = [result.details.table for result in results]
    samples = None
    if tables and all(tables) and all(map(_is_sampled, view.header.aims)):
        signs = np.array([find_objective(name).sign for name in view.header.aims])
        per_image = [per_image_objectives(table, view.header.aims) for table in tables if table]
        samples = points + signs * bootstrap_images(np.stack(per_image), draws=draws)
    return SampledFront(tuple(t.number for t in members), points, intervals, samples)


def finals_front(view: View, seed: int, draws: int = DRAWS) -> SampledFront:
    """Return the front that the finals report, of the trials with fresh seeds.

    Samples are of the posterior of the means over seeds, with a bootstrap over the test images.
    `seed` has to be another one for each run, because their training seeds are independent.
    """
    members = reported(view)
    points = np.array([f.mean for f in members]).reshape(-1, 2)
    intervals = np.array([f.intervals for f in members]).reshape(-1, 2, 2)
    samples = sample_final_means(members, draws, seed) if members else None
    return SampledFront(tuple(f.trial.number for f in members), points, intervals, samples)


def _is_sampled(name: str) -> bool:
    """Return whether a figure is a mean over images, or no accuracy and so the same on others."""
    return name in PER_IMAGE or find_objective(name).unit not in ("%", "points")


def reported(view: View) -> Sequence[Finalist]:
    """Return the finalists with fresh seeds that are reported as members of the front."""
    return [f for f in compute_standings(view) if f.on_front and f.runs]
