"""Select which trials to train again, which of them next, and which to report as the front.

Arrays in and out, larger is better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.finals.seed_noise import Floats, as_rows
from search.finals.true_values import DRAWS

Z_DOMINATED = 1.0  # standard deviations of a difference beyond which a trial is clearly dominated
BETA = 0.8  # weight of recall against precision in the score of the reported front
UNTOLD = 0.25  # P(on the front) from which a candidate cannot be told from the front
SEEDS = 2  # fresh seeds of each finalist, if the finals have trainings enough
SURE = 0.05  # a probability below this, or above 1 minus this, needs no further seed


def is_clearly_dominated(
    points: ArrayLike, sd: ArrayLike, z: float = Z_DOMINATED
) -> NDArray[np.bool_]:
    """Return for each point whether another one exceeds it in every objective beyond noise, [n].

    Args:
      points: [n, m] values, one of each trial.
      sd: standard deviation of a value, [m] or [n, m]; or of the difference of two, [n, n, m]
        (paired images make it smaller than the two sds would).
      z: how many standard deviations of a difference are more than noise; 0 or more.
    """
    p = as_rows(points)
    n = len(p)
    spread = np.asarray(sd, dtype=float)
    if spread.ndim < 3:
        each = np.broadcast_to(spread, p.shape)
        spread = np.sqrt(each[:, None] ** 2 + each[None] ** 2)
    ahead = p[:, None] - p[None] > z * np.broadcast_to(spread, (n, n, p.shape[1]))
    return np.asarray(ahead.all(axis=2).any(axis=0))


def select_candidates(
    points: ArrayLike,
    sd: ArrayLike,
    limit: int | None = None,
    *,
    z: float = Z_DOMINATED,
    seed: int = 0,
) -> list[int]:
    """Return the trials worth another training, those most likely on the front first.

    Args:
      points: [n, m] values of the search.
      sd: as in `is_clearly_dominated`; the order takes the values to be independent.
      limit: how many at most; None for all that are not clearly dominated.
      z: as in `is_clearly_dominated`.
      seed: of the draws behind the order.
    """
    p = as_rows(points)
    if len(p) == 0:
        return []
    kept = np.flatnonzero(~is_clearly_dominated(p, sd, z))
    spread = np.asarray(sd, dtype=float)
    if spread.ndim == 3:  # of a difference of two equally noisy values
        spread = np.median(spread, axis=1) / np.sqrt(2)
    each = np.broadcast_to(spread, p.shape)[kept]
    noise = np.random.default_rng(seed).standard_normal((DRAWS, *each.shape))
    probability = front_probability(p[kept] + each * noise)
    order = np.argsort(-probability, kind="stable")
    return [int(i) for i in kept[order][:limit]]


def front_probability(draws: ArrayLike) -> Floats:
    """Return P(on the front) of each trial: the share of draws in which none dominates it, [n].

    Args:
      draws: [d, n, 2] values; equal ones do not dominate each other.
    """
    return np.asarray(front_membership(draws).mean(axis=0))


def front_membership(draws: ArrayLike) -> NDArray[np.bool_]:
    """Return which trials no other one dominates in each draw, [d, n] booleans.

    Args:
      draws: [d, n, 2] values; equal ones do not dominate each other.
    """
    d = np.asarray(draws, dtype=float)
    if d.shape[1] == 0:
        return np.zeros(d.shape[:2], dtype=bool)
    # Go through the points by falling first value. A point is dominated if one with a larger first
    # value has a second value at least as high, or one with the same first value a higher second.
    order = np.lexsort((-d[..., 1], -d[..., 0]), axis=1)
    x, y = (np.take_along_axis(d[..., m], order, axis=1) for m in range(2))
    best_before = np.maximum.accumulate(
        np.concatenate([np.full((len(d), 1), -np.inf), y[:, :-1]], axis=1), axis=1
    )
    new_x = np.concatenate([np.ones((len(d), 1), bool), x[:, 1:] != x[:, :-1]], axis=1)
    group_start = np.maximum.accumulate(np.where(new_x, np.arange(d.shape[1]), 0), axis=1)
    dominated = (best_before > y) | (np.take_along_axis(best_before, group_start, axis=1) >= y)
    on_front = np.zeros(dominated.shape, dtype=bool)
    np.put_along_axis(on_front, order, ~dominated, axis=1)
    return on_front


def choose_next(
    probabilities: ArrayLike,
    seeds: Sequence[int],
    cost: ArrayLike = 1.0,
    *,
    sure: float = SURE,
    min_seeds: int = 1,
) -> int | None:
    """Return which finalist gets the next fresh seed; None if all memberships are clear enough.

    A finalist with fewer than `min_seeds` seeds comes first, in order. Then the one for which a
    seed reduces the uncertainty most for its cost: p (1 - p), the variance of its membership, times
    1 / (k (k + 1)), by which one more seed reduces the variance of a mean over k seeds.

    Args:
      probabilities: [n] P(on the front); that of a finalist without a seed is not used.
      seeds: how many each has, those of running trainings included.
      cost: of one training of each, [n] or one for all, in any unit.
      sure: a probability below `sure` or above 1 - `sure` is clear enough.
      min_seeds: how many each gets in any case, 1 or more.
    """
    k = np.asarray(seeds, dtype=float)
    if (k < min_seeds).any():
        return int(np.argmin(k))
    p = np.asarray(probabilities, dtype=float)
    unclear = (p > sure) & (p < 1 - sure)
    if not unclear.any():
        return None
    gain = p * (1 - p) / (k * (k + 1)) / np.broadcast_to(np.asarray(cost, dtype=float), p.shape)
    return int(np.argmax(np.where(unclear, gain, -1.0)))


def select_front(
    membership: ArrayLike, candidates: Sequence[int] | NDArray[np.intp] | None = None
) -> NDArray[np.bool_]:
    """Return which candidates to report: the set with the largest expected F score.

    F is the weighted harmonic mean of precision and recall, (1 + b^2) |R and T| / (|R| + b^2 |T|),
    of a reported set R against the true front T, with b = `BETA`. F1 has b = 1; in simulated
    searches a slightly smaller b gives as large an F1, of a set that is not too large
    (`docs/search.md`). The expectation is over the joint draws of T: whether two trials are on the
    front together matters, because one of them may dominate the other. For a set of k members it
    is a sum over the members, so the best set of each size is found exactly (Dembczynski et al.
    2011, "An exact algorithm for F-measure maximization").

    A trial is not reported alone while another candidate cannot be told from the front: its P(on
    the front) is at least `UNTOLD`.

    Args:
      membership: [d, n] booleans, whether each of n trials is on the front in each of d draws.
      candidates: the trials that may be reported; by default all.

    Returns:
      [len(candidates)] booleans; at least one is true, if there is a candidate.
    """
    t = np.asarray(membership, dtype=float)
    among = t if candidates is None else t[:, list(candidates)]
    n = among.shape[1]
    chosen = np.zeros(n, dtype=bool)
    if n == 0:
        return chosen
    sizes = t.sum(axis=1)
    p = among.mean(axis=0)
    alone = n == 1 or np.sort(p)[-2] < UNTOLD
    best = -1.0
    for k in range(1 if alone else 2, n + 1):
        # What each trial would add to the score of a set of k.
        gains = (1 + BETA**2) * (among / (k + BETA**2 * sizes)[:, None]).mean(axis=0)
        order = np.argsort(-gains, kind="stable")[:k]
        if gains[order].sum() > best + 1e-12:
            best = float(gains[order].sum())
            chosen[:] = False
            chosen[order] = True
    return chosen
