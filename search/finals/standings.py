"""The standings: each finalist's means, intervals and probability of being on the front.

Means are over fresh seeds alone. The training that selected a trial is shown beside them, so that
the winner's curse can be seen, but is part of none of them. Where every finalist has two fresh
seeds, as in small finals, only finalists are reported. Else a trial without a fresh seed may be
reported too: its values are then estimated from its one training, drawn back by the posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from adv.evaluation.image_table import per_image_objectives
from adv.intervals import error_of_interval
from search.finals.finalist import Finalist, mean_pair
from search.finals.latest import Latest
from search.finals.seed_noise import Floats
from search.finals.selection import SEEDS, UNTOLD, front_membership, select_front
from search.finals.true_values import (
    DRAWS,
    bootstrap_images,
    sample_means,
    sample_true_values,
)
from search.record.pareto import front
from search.record.trial import Trial
from search.record.view import View
from spaces import OBJECTIVES, find_objective

# A trial this many standard errors behind another one in both objectives has no chance of being on
# the front, and is left out of the posterior.
HOPELESS = 6.0


def compute_standings(view: View, draws: int = DRAWS) -> list[Finalist]:
    """Return the finalists, and the other trials that are on the front or cannot be told from it.

    Those with fresh seeds come first, then those whose values are estimated, each the most accurate
    on natural images first, then finalists without any.

    It samples the posterior, which takes about as long as all else on the page together. The last
    result is therefore kept: the terminal, the tables, the page and W&B, which all ask for it after
    the same event, share one.

    Args:
      view: of the search.
      draws: samples of the posterior.
    """
    return list(_latest.get(view, lambda: _sample_standings(view, draws), draws))


_latest: Latest[list[Finalist]] = Latest()


def _sample_standings(view: View, draws: int) -> list[Finalist]:
    """Compute the standings from the posterior of the means and of the true values."""
    finalists = collect_finalists(view)
    scored, rest = [f for f in finalists if f.runs], [f for f in finalists if not f.runs]
    if not scored:
        return rest
    low, top = _ends(view, scored[0].runs[0])
    sd = _evaluation_sd(scored)
    images = _image_deviations(scored, draws)
    means = sample_means([f.points for f in scored], sd, images=images, draws=draws)
    means = means.clip(low, top)  # no mean is outside
    others = _other_trials(view, scored, sd)
    if others is None:
        others, values = [], means
    else:
        if images is not None:  # the others would be attacked on the same test images
            common = np.repeat(images.mean(axis=1, keepdims=True), len(others), axis=1)
            images = np.concatenate([images, common], axis=1)
        search, fresh = _search_values(scored, others), {i: f.points for i, f in enumerate(scored)}
        values = sample_true_values(search, fresh, sd, images=images, draws=draws).clip(low, top)
    n, waiting = len(scored), {f.trial.number: f for f in rest}
    known = [*scored, *(waiting.get(t.number, Finalist(t)) for t in others)]
    feasible = _find_feasible(view, known)
    membership = np.zeros(values.shape[:2], dtype=bool)
    membership[:, feasible] = front_membership(values[:, feasible])
    p_front = membership.mean(axis=0)
    enough = not rest and all(len(f.runs) >= SEEDS for f in scored)
    reported = feasible[feasible < n] if enough else feasible
    on_front = np.zeros(len(known), dtype=bool)
    on_front[reported] = select_front(membership, reported)
    estimates = np.concatenate([means, values[:, n:]], axis=1)
    centres = [f.points for f in scored] + [[c] for c in values[:, n:].mean(axis=0).tolist()]
    lows, highs = np.quantile(estimates, [0.025, 0.975], axis=0)
    ranked = [
        replace(
            f,
            mean=mean_pair(centres[i]),
            intervals=(
                (float(lows[i, 0]), float(highs[i, 0])),
                (float(lows[i, 1]), float(highs[i, 1])),
            ),
            p_front=float(p_front[i]),
            on_front=bool(on_front[i]),
        )
        for i, f in enumerate(known)
        if f.runs or on_front[i] or p_front[i] >= UNTOLD or f.trial.number in waiting
    ]
    ranked.sort(key=lambda f: (not f.known, not f.runs, -f.mean[0], -f.mean[1]))
    numbers = {f.trial.number for f in ranked}
    return [*ranked, *(f for f in rest if f.trial.number not in numbers)]


def sample_final_means(finalists: Sequence[Finalist], draws: int = DRAWS, seed: int = 0) -> Floats:
    """Sample the means of finalists over seeds and test images, [draws, n, 2], larger is better.

    The test images are drawn alike in each call, so the finalists of runs on the same images can be
    compared in pairs; with another `seed` their training seeds are drawn independently.

    Args:
      finalists: each with a fresh seed or more.
      draws: samples of the posterior.
      seed: of the draws over training seeds.
    """
    images = _image_deviations(finalists, draws)
    points = [f.points for f in finalists]
    sd = _evaluation_sd(finalists)
    return sample_means(points, sd, images=images, draws=draws, seed=seed)


def _ends(view: View, run: Trial) -> tuple[list[float], list[float]]:
    """Return the least and the largest value of both objectives, larger being better."""
    aims = run.result.aims if run.result else OBJECTIVES
    most = {"%": 1.0, "points": 100.0 * len(view.header.battery) or np.inf}
    tops = [most.get(find_objective(name).unit, np.inf) for name in aims]
    ends = [
        (0.0, top) if find_objective(n).larger else (-top, 0.0)
        for n, top in zip(aims, tops, strict=True)
    ]
    return [low for low, _ in ends], [high for _, high in ends]


def collect_finalists(view: View) -> list[Finalist]:
    """Return the finalists with their trainings, but without statistics."""
    if view.finals is None:
        return []
    trainings = view.finals.trials.values()
    numbers = dict.fromkeys([*view.finals_header.trials, *map(_repeated_trial, trainings)])
    battery = view.finals_header.battery
    finalists = []
    for number in numbers:
        own = [run for run in trainings if _repeated_trial(run) == number]
        done = tuple(run for run in own if _is_scored_by(run, battery))
        finalists.append(Finalist(view.trials[number], done, len(own)))
    return finalists


def _evaluation_sd(scored: Sequence[Finalist]) -> Floats:
    """Return the standard error of one evaluation on the test images, [2].

    It is the guess of the standard deviation between seeds.
    """
    errors = [
        [error_of_interval(*run.result.intervals.get(name, (0.0, 0.0))) for name in run.result.aims]
        for f in scored
        for run in f.runs
        if run.result and run.result.intervals
    ]
    return np.mean(errors, axis=0) if errors else np.zeros(2)


def _image_deviations(scored: Sequence[Finalist], draws: int) -> Floats | None:
    """Sample how the means would change with other test images, [draws, n, 2].

    Returns None if a finalist has no per-image tables.
    """
    tables = [_image_means(f) for f in scored]
    if any(table is None for table in tables):
        return None
    return bootstrap_images(np.stack([t for t in tables if t is not None]), draws=draws)


def _other_trials(view: View, scored: Sequence[Finalist], sd: Floats) -> list[Trial] | None:
    """Return the trials that are no finalists but may be on the front.

    Returns None if they cannot be compared with fresh seeds, which needs the values of fresh seeds
    on the images and under the battery of the search.
    """
    if any(f.validation_mean is None for f in scored):
        return None
    numbers = {f.trial.number for f in scored}
    rest = [t for t in view.scored() if t.number not in numbers]
    rest = [t for t in rest if view.feasible(t)]
    if not rest:
        return []
    points = np.array([t.result.point for t in rest if t.result])
    hopeless = np.zeros(len(rest), dtype=bool)
    for best in points[front(points)]:
        hopeless |= (best - points > HOPELESS * sd).all(axis=1)
    return [t for t, out in zip(rest, hopeless, strict=True) if not out]


def _find_feasible(view: View, known: Sequence[Finalist]) -> NDArray[np.intp]:
    """Return the indices of those that keep the bounds of the search, or of all if none does.

    A baseline is trained again whether it keeps them or not; the front is of the others.
    """
    keep = np.flatnonzero([view.feasible(f.trial) for f in known])
    return keep if len(keep) else np.arange(len(known))


def _search_values(scored: Sequence[Finalist], others: Sequence[Trial]) -> Floats:
    """Return the search values of finalists, then of the others, in the unit of the finals [n, 2].

    The shift between the two units is what other images and stronger attacks take from the fresh
    seeds, on average.
    """
    shifts = [np.subtract(mean_pair(f.points), f.validation_mean or (0.0, 0.0)) for f in scored]
    selecting = [f.trial.result.point if f.trial.result else f.validation_mean for f in scored]
    values = np.array([*selecting, *(t.result.point for t in others if t.result)])
    return values + np.mean(shifts, axis=0)


def measured_values(scored: Sequence[Finalist], trials: Sequence[Trial]) -> Floats:
    """Return the search values of trials in the unit of the finals, [n, 2].

    Args:
      scored: the finalists with fresh seeds; without any the unit is that of the search.
      trials: with results.
    """
    compared = [f for f in scored if f.validation_mean]
    if not compared:
        return np.array([t.result.point for t in trials if t.result])
    return _search_values(compared, trials)[len(compared) :]


def _image_means(finalist: Finalist) -> Floats | None:
    """Return the contribution of each test image, mean over the seeds, [2, images]."""
    tables = [run.result.details.table for run in finalist.runs if run.result]
    if not all(tables):
        return None
    aims = next(run.result.aims for run in finalist.runs if run.result)
    return np.mean([per_image_objectives(table, aims) for table in tables if table], axis=0)


def _is_scored_by(run: Trial, battery: str) -> bool:
    return run.result is not None and run.result.details.battery in (None, battery)


def _repeated_trial(run: Trial) -> int:
    """Return the number of the trial that a training repeats."""
    return int(run.origin)
