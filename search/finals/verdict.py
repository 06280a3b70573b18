"""The verdict of a search: is there a trade-off between its two objectives, and how large is it?

It is decided from the posterior of the nets' true values (`search.finals.true_values`), whose
differences are paired: all nets are scored on the same images.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from adv.evaluation.image_table import per_image_objectives
from adv.intervals import error_of_interval
from search.finals.finalist import Finalist, Pair, mean_pair
from search.finals.latest import Latest
from search.finals.reseeding_study import find_contenders
from search.finals.seed_noise import Floats
from search.finals.selection import front_probability
from search.finals.standings import collect_finalists
from search.finals.true_values import bootstrap_images, sample_true_values
from search.record.trial import Trial
from search.record.trial_result import Interval, TrialResult
from search.record.view import View
from spaces import find_objective

Kind = Literal["no trade-off", "trade-off", "undecided"]
MARGIN = 0.025  # share of an objective's range: a net behind by less is tied with the best
P_TRADE = 0.95  # probability from which a trade-off between two nets is told
P_TOLD = 0.975  # probability in each objective by which the 95 % interval excludes zero
P_NONE = 0.8  # probability from which it is told that one net is best or tied in both objectives
P_FRONT = 0.5  # probability of being on the front from which a net can be one end of a trade-off
DRAWS = 1000
FACTORS = (2, 3, 4, 6, 8)  # how many times as many trainings are imagined


@dataclass(frozen=True)
class Difference:
    """By how much one net is ahead of another in both objectives.

    Args:
      ahead: the net; a number of a trial, or an index in `decide`.
      of: the other one.
      by: posterior mean of the difference, in the units of `TrialResult.point`.
      intervals: 95 % interval of each difference, paired by image.
    """

    ahead: int
    of: int
    by: Pair
    intervals: tuple[Interval, Interval]


@dataclass(frozen=True)
class Verdict:
    """The answer of a search to whether its objectives trade off, with its evidence.

    Args:
      kind: "no trade-off": one net is best or tied in both objectives; "trade-off": of two nets
        one is more accurate and the other withstands more, beyond noise; "undecided": neither can
        be told.
      probability: that it is so; of "undecided", the larger one of the other two.
      best: the net that is best or tied in both; None unless there is no trade-off.
      bounds: by how much the best net of each objective is ahead of `best`, at most (one-sided
        95 %); infinite unless there is no trade-off.
      trade: of a trade-off: the more accurate net ahead of the more robust one; else None.
      against: the best net, or the more robust one of a trade-off, ahead of the baseline; None
        without a baseline.
      tied: nets that cannot be told from `best` in either objective.
      more: how many more trainings would decide, if they scored as those before; 0 if decided, or
        if not even eight times as many would.
      nets: how many rivals were compared, see `decide`.
      overlapping: nets whose intervals overlap those of another one in both objectives.
    """

    kind: Kind
    probability: float = math.nan
    best: int | None = None
    bounds: Pair = (math.inf, math.inf)
    trade: Difference | None = None
    against: Difference | None = None
    tied: tuple[int, ...] = ()
    more: int = 0
    nets: int = 0
    overlapping: tuple[int, ...] = ()


def reach_verdict(view: View, among: Collection[int] | None = None) -> Verdict | None:
    """Return the verdict of a search as it stands, nets named by trial; None without a result.

    Compared are the finalists that have been trained again and the trials that may be on the front.
    Only the former are called best, or an end of a trade-off, once there are any.

    Args:
      view: of the search.
      among: numbers of the trials that may be called so; None for all.
    """
    allowed = None if among is None else frozenset(among)
    return _latest_verdict.get(view, lambda: _reach_verdict(view, allowed), allowed)


def sample_nets(view: View) -> tuple[list[int], Floats] | None:
    """Sample the true values of the nets that the verdict compares; None without a result.

    Returns:
      The numbers of their trials, and [draws, n, 2] values, larger is better; the draws are joint,
      so that a difference of two nets is paired by image.
    """
    return _latest_draws.get(view, lambda: _sample_nets(view))


_latest_verdict: Latest[Verdict | None] = Latest()
_latest_draws: Latest[tuple[list[int], Floats] | None] = Latest()


def _sample_nets(view: View) -> tuple[list[int], Floats] | None:
    evidence = _collect_evidence(view)
    if evidence is None:
        return None
    return [trial.number for trial in evidence.trials], evidence.sample()


def _reach_verdict(view: View, allowed: Collection[int] | None) -> Verdict | None:
    evidence = _collect_evidence(view)
    if evidence is None:
        return None
    plain = view.header.baseline
    baseline = [i for i, t in enumerate(evidence.trials) if plain and t.params == plain]
    ranges = _find_ranges(view, evidence)
    first = baseline[0] if baseline else None
    rivals = [i for i, t in enumerate(evidence.trials) if view.feasible(t)] or None
    named = list(evidence.fresh or range(len(evidence.trials)))
    if allowed is not None:
        named = [i for i in named if evidence.trials[i].number in allowed]
    verdict = decide(evidence.sample(), ranges=ranges, baseline=first, named=named, rivals=rivals)
    if verdict.kind == "undecided":
        verdict = replace(verdict, more=_count_more(evidence, ranges, rivals))
    return _name(verdict, [trial.number for trial in evidence.trials])


def decide(
    draws: ArrayLike,
    *,
    ranges: Pair,
    baseline: int | None = None,
    named: Collection[int] | None = None,
    rivals: Collection[int] | None = None,
) -> Verdict:
    """Return the verdict on n nets, which are named by their index.

    No trade-off is told if with probability `P_NONE` no net is ahead of one net by more than
    `MARGIN` of the range, in either objective. Else a trade-off is told if of two nets that are
    likely on the front one is more accurate and the other more robust with probability `P_TRADE`;
    of several such pairs, the one with the largest product of differences.

    Args:
      draws: [d, n, 2] samples of the true values from their joint posterior, larger is better.
      ranges: of the two objectives.
      baseline: the net with which the question compares; None for none.
      named: the rivals that may be called best, or an end of a trade-off; None for all.
      rivals: the nets that the best one has to beat or tie; None for all. A baseline that breaks a
        bound of the search is none: it is compared, and nothing else.
    """
    x = np.asarray(draws, dtype=float)
    every = np.arange(x.shape[1])
    rival = np.isin(every, every if rivals is None else list(rivals))
    may = rival & np.isin(every, every if named is None else list(named))
    nets = int(rival.sum())
    # The best rival of each objective, ahead of each net.
    behind = x[:, rival].max(axis=1, keepdims=True) - x
    tied = may * (behind <= MARGIN * np.asarray(ranges)).all(axis=2).mean(axis=0)
    best = int(np.argmax(tied))
    if tied[best] >= P_NONE:
        first, second = np.quantile(behind[:, best], 0.95, axis=0)
        others = [_compare(x, best, int(j)) for j in every[rival] if j != best]
        return Verdict(
            "no trade-off",
            float(tied[best]),
            best=best,
            bounds=(float(first), float(second)),
            against=None if baseline in (None, best) else _compare(x, best, baseline),
            tied=tuple(other.of for other in others if _is_tied(other)),
            nets=nets,
        )
    chance = _chances_of_trades(x, rival, may)
    if chance.max() < P_TRADE:
        probability = float(max(tied[best], chance.max()))
        return Verdict("undecided", probability, nets=nets, overlapping=_find_overlapping(x, rival))
    accurate, robust = _widest_trade(x.mean(axis=0), chance)
    return Verdict(
        "trade-off",
        float(chance[accurate, robust]),
        trade=_compare(x, accurate, robust),
        against=None if baseline in (None, robust) else _compare(x, robust, baseline),
        nets=nets,
    )


@dataclass(frozen=True)
class _Evidence:
    """All values of the nets that are compared.

    Args:
      trials: of the search, which name the nets.
      search: [n, 2] their values in the search, in the unit of the fresh ones.
      fresh: of the first nets the values [k, 2] of fresh seeds.
      sd: [2] a guess of the standard deviation between seeds.
      tables: [k, 2, images] what each image contributes to the nets with fresh seeds, or to all if
        there are none; None if it is not recorded.
    """

    trials: Sequence[Trial]
    search: Floats
    fresh: Mapping[int, Floats]
    sd: Floats
    tables: Floats | None

    def sample(self, factor: int = 1) -> Floats:
        """Sample the true values, [draws, n, 2].

        Args:
          factor: how many times as many trainings to imagine, all with the values of those before.
        """
        fresh = self.fresh
        if factor > 1:
            fresh = {i: fresh.get(i, self.search[i : i + 1]) for i in range(len(self.trials))}
            fresh = {i: np.repeat(rows, factor, axis=0) for i, rows in fresh.items()}
        images = None if self.tables is None else bootstrap_images(self.tables, draws=DRAWS)
        if images is not None and images.shape[1] < len(self.trials):
            # the others would be scored on the same images as those with fresh seeds
            common = images.mean(axis=1, keepdims=True)
            others = np.repeat(common, len(self.trials) - images.shape[1], axis=1)
            images = np.concatenate([images, others], axis=1)
        return sample_true_values(self.search, fresh, self.sd, images=images, draws=DRAWS)


def _selecting_values(finalist: Finalist) -> Pair:
    """Return what selected a finalist; the event of its trial may be lost from the ledger."""
    result = finalist.trial.result
    return result.point if result else finalist.validation_mean or mean_pair(finalist.points)


def _collect_evidence(view: View) -> _Evidence | None:
    scored = [f for f in collect_finalists(view) if f.runs]
    numbers = {f.trial.number for f in scored}
    others = [trial for trial in find_contenders(view) if trial.number not in numbers]
    trials = [*(f.trial for f in scored), *others]
    if not trials:
        return None
    selecting = [_selecting_values(f) for f in scored]
    search = np.array([*selecting, *(trial.result.point for trial in others if trial.result)])
    groups = [f.runs for f in scored] or [(trial,) for trial in trials]
    results = [[run.result for run in runs if run.result] for runs in groups]
    return _Evidence(
        trials,
        search + _shift(scored),
        {i: np.array(f.points) for i, f in enumerate(scored)},
        np.mean([_evaluation_error(result) for some in results for result in some], axis=0),
        _image_tables(results, view.header.aims),
    )


def _shift(scored: Sequence[Finalist]) -> Floats:
    """Return how far fresh seeds score above themselves on the search's images and battery, [2]."""
    apart = [
        np.subtract(mean_pair(f.points), f.validation_mean) for f in scored if f.validation_mean
    ]
    return np.asarray(np.mean(apart, axis=0)) if apart else np.zeros(2)


def _evaluation_error(result: TrialResult) -> Pair:
    """Return the standard error over images of both objectives, 0 if it is not known."""
    known = result.intervals
    first, second = (error_of_interval(*known.get(name, (0.0, 0.0))) for name in result.aims)
    return first, second


def _image_tables(results: Sequence[Sequence[TrialResult]], aims: tuple[str, str]) -> Floats | None:
    """Return the contribution of each image, mean over the trainings of each net."""
    tables = [[result.details.table for result in some] for some in results]
    flat = [table for some in tables for table in some]
    if not all(flat) or len({table["images"] for table in flat if table}) != 1:
        return None
    return np.stack(
        [np.mean([per_image_objectives(t, aims) for t in some if t], axis=0) for some in tables]
    )


def _find_ranges(view: View, evidence: _Evidence) -> Pair:
    """Return the range of both objectives; without a bound, the largest value."""
    known = {"%": 1.0, "points": 100.0 * max(1, len(view.header.battery))}
    largest = np.abs(evidence.search).max(axis=0).tolist()
    first, second = (
        known.get(find_objective(name).unit) or most or 1.0
        for name, most in zip(view.header.aims, largest, strict=True)
    )
    return first, second


def _count_more(evidence: _Evidence, ranges: Pair, rivals: Collection[int] | None = None) -> int:
    """Return how many more trainings would decide, 0 if not even eight times as many would."""
    counts = [len(evidence.fresh.get(i, ())) or 1 for i in range(len(evidence.trials))]
    for factor in FACTORS:
        if decide(evidence.sample(factor), ranges=ranges, rivals=rivals).kind != "undecided":
            return (factor - 1) * sum(counts)
    return 0


def _find_overlapping(x: Floats, rival: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return the rivals whose 95 % intervals overlap those of another one in both objectives."""
    low, high = np.quantile(x, [0.025, 0.975], axis=0)
    overlap = ((low[:, None] <= high[None]) & (low[None] <= high[:, None])).all(axis=2)
    return tuple(np.flatnonzero(rival & (overlap[:, rival].sum(axis=1) > 1)).tolist())


def _chances_of_trades(x: Floats, rival: NDArray[np.bool_], may: NDArray[np.bool_]) -> Floats:
    """Return how often net i is more accurate and less robust than net j, [n, n].

    It is 0 where the interval of either difference holds zero, and for nets that are more likely
    dominated than on the front: what they trade, others have for less. So it is for nets that may
    not be named.
    """
    on_front = np.zeros(x.shape[1])
    on_front[rival] = front_probability(x[:, rival])
    likely = np.flatnonzero(may & (on_front >= P_FRONT))
    chance = np.zeros((x.shape[1], x.shape[1]))
    for i in likely:  # not all pairs at once: 50 nets would take 80 MB
        some, one = x[:, likely], x[:, i : i + 1]
        ahead, behind = one[..., 0] > some[..., 0], one[..., 1] < some[..., 1]
        told = np.minimum(ahead.mean(0), behind.mean(0)) >= P_TOLD
        chance[i, likely] = np.where(told, (ahead & behind).mean(0), 0.0)
    return chance


def _widest_trade(means: Floats, chance: Floats) -> tuple[int, int]:
    """Return the more accurate and the more robust net of the widest trade-off that is told."""
    apart = means[:, None] - means[None]
    area = np.where(chance >= P_TRADE, -apart[..., 0] * apart[..., 1], -np.inf)
    accurate, robust = np.unravel_index(int(np.argmax(area)), area.shape)
    return int(accurate), int(robust)


def _compare(x: Floats, i: int, j: int) -> Difference:
    """Return how far net i is ahead of net j."""
    apart = x[:, i] - x[:, j]
    low, high = np.quantile(apart, [0.025, 0.975], axis=0)
    by = apart.mean(axis=0)
    first, second = ((float(a), float(b)) for a, b in zip(low, high, strict=True))
    return Difference(i, j, (float(by[0]), float(by[1])), (first, second))


def _is_tied(difference: Difference) -> bool:
    """Return whether neither objective tells two nets apart."""
    return all(low <= 0 <= high for low, high in difference.intervals)


def _name(verdict: Verdict, numbers: Sequence[int]) -> Verdict:
    """Return the verdict with the numbers of trials instead of indices."""

    def rename(found: Difference | None) -> Difference | None:
        return found and replace(found, ahead=numbers[found.ahead], of=numbers[found.of])

    return replace(
        verdict,
        best=None if verdict.best is None else numbers[verdict.best],
        trade=rename(verdict.trade),
        against=rename(verdict.against),
        tied=tuple(numbers[i] for i in verdict.tied),
        overlapping=tuple(numbers[i] for i in verdict.overlapping),
    )
