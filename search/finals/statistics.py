"""Which trials are trained again, which of them next, what is then reported: arrays in and out.

A front read off single noisy values is wrong twice: lucky trials enter it, and they look better
than they are (the winner's curse). So what may belong to it is trained again with fresh seeds, the
selecting values fall away, and what is left of the doubt is said as a probability. Larger is better
everywhere; nothing here knows Ray, Optuna or torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
DRAWS = 2000
CLEAR = 1.0  # standard deviations of a difference beyond which a trial is clearly dominated
SHARE = 0.8  # of the reported members that should really be on the front
SURE = 0.05  # a membership this near to 0 or 1 needs no further seed
BELIEF = 4.0  # degrees of freedom that a guess about the noise is worth
ALIKE = 0.5  # how far from a value that a search has seen others may lie, in sds of a value


def clearly_dominated(points: ArrayLike, sd: ArrayLike, clear: float = CLEAR) -> NDArray[np.bool_]:
    """Which points another one exceeds in every objective by more than the noise.

    Args:
      points: [n, m] values, one of each trial.
      sd: of a value: [m], or [n, m]; or [n, n, m], of the difference of two (paired images make it
        smaller than the two sds would).
      clear: how many sds of a difference are more than noise; 0 or more.

    Returns:
      [n] booleans.
    """
    p = _rows(points)
    n = len(p)
    spread = np.asarray(sd, dtype=float)
    if spread.ndim < 3:
        each = np.broadcast_to(spread, p.shape)
        spread = np.sqrt(each[:, None] ** 2 + each[None] ** 2)
    ahead = p[:, None] - p[None] > clear * np.broadcast_to(spread, (n, n, p.shape[1]))
    return np.asarray(ahead.all(axis=2).any(axis=0))


def candidates(
    points: ArrayLike,
    sd: ArrayLike,
    most: int | None = None,
    *,
    clear: float = CLEAR,
    seed: int = 0,
) -> list[int]:
    """The trials worth another training, those most likely on the front first.

    Args:
      points: [n, m] values of the search.
      sd: as in `clearly_dominated`; the order takes the values for independent.
      most: how many at most; None for all that are not clearly dominated.
      clear: as in `clearly_dominated`.
      seed: of the draws behind the order.
    """
    p = _rows(points)
    if len(p) == 0:
        return []
    kept = np.flatnonzero(~clearly_dominated(p, sd, clear))
    spread = np.asarray(sd, dtype=float)
    if spread.ndim == 3:  # of a difference of two alike
        spread = np.median(spread, axis=1) / np.sqrt(2)
    each = np.broadcast_to(spread, p.shape)[kept]
    noise = np.random.default_rng(seed).standard_normal((DRAWS, *each.shape))
    chance = membership(p[kept] + each * noise)
    order = np.argsort(-chance, kind="stable")
    return [int(i) for i in kept[order][:most]]


def posterior(
    values: Sequence[ArrayLike],
    sd: ArrayLike,
    *,
    images: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """What the means over training seeds may be, given the fresh values of each finalist.

    The spread between seeds is pooled over the finalists (`sd` counts as `BELIEF` observations),
    each finalist's own moderates it (as in Smyth 2004), and Student's t pays for the doubt about
    it. The selecting values have no place here.

    Args:
      values: of each of n finalists [k, m] values of k >= 1 fresh seeds.
      sd: [m], a guess of the spread between seeds, such as the noise of one evaluation.
      images: [draws, n, m] deviations of each mean that come from the choice of the test images,
        the same images for all (`resampled`); None for none.
      draws: how many; that of `images` where those are given.
      seed: of the draws.

    Returns:
      [draws, n, m] plausible means.

    Raises:
      ValueError: a finalist without a fresh value.
    """
    rows = [_rows(v) for v in values]
    if any(len(r) == 0 for r in rows):
        raise ValueError("a finalist without a fresh value has no mean")
    own = [(r - r.mean(axis=0)).T @ (r - r.mean(axis=0)) for r in rows]
    pooled = _pooled(own, [len(r) - 1 for r in rows], np.asarray(sd, dtype=float))
    m = len(pooled)
    moved = None if images is None else np.asarray(images, dtype=float)
    draws = draws if moved is None else len(moved)
    rng = np.random.default_rng(seed)
    out = np.empty((draws, len(rows), m))
    for i, (r, scatter) in enumerate(zip(rows, own, strict=True)):
        degrees = BELIEF + len(r) - 1
        root = np.linalg.cholesky((BELIEF * pooled + scatter) / degrees / len(r))
        t = rng.standard_normal((draws, m)) @ root.T
        t /= np.sqrt(rng.chisquare(degrees, (draws, 1)) / degrees)
        out[:, i] = r.mean(axis=0) + t
    return out if moved is None else out + moved


def plausible(
    seen: ArrayLike,
    fresh: Mapping[int, ArrayLike],
    sd: ArrayLike,
    *,
    images: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """What each trial of a search may really be worth, given its value and those of fresh seeds.

    A value far better than all others is more often luck than not. So true values are drawn from
    where this search has seen values (a kernel estimate of the prior, `ALIKE` wide), weighed by how
    well they explain the trial's own, the selecting one included: under a prior the choice of who
    is trained again tells nothing more. The spread between seeds is pooled as in `posterior`; the
    doubt about it is shared by all. How much less a value of the search says than a fresh one, by
    its fewer images, is seen from how far the two lie apart.

    Args:
      seen: [n, m] values of the search, in the unit of the fresh ones.
      fresh: of some trials [k, m] values of fresh seeds.
      sd: [m], a guess of the spread between seeds.
      images: as in `posterior`, for the n trials.
      draws: how many; that of `images` where those are given.
      seed: of the draws.

    Returns:
      [draws, n, m] plausible values.
    """
    p, guess = _rows(seen), np.asarray(sd, dtype=float)
    n, m = p.shape
    rows = {i: _rows(v) for i, v in fresh.items()}
    own = [(r - r.mean(axis=0)).T @ (r - r.mean(axis=0)) for r in rows.values()]
    degrees = [len(r) - 1 for r in rows.values()]
    spread = _pooled(own, degrees, guess)
    root = np.linalg.cholesky(spread)
    worth = _worth(p, rows, np.diag(spread), guess)
    means, count = p.copy(), np.full(n, worth)
    for i, r in rows.items():
        count[i] += len(r)
        means[i] = (worth * p[i] + r.sum(axis=0)) / count[i]
    z = np.linalg.solve(root, means.T).T  # in sds, uncorrelated
    apart = ((z[:, None] - z[None]) ** 2).sum(axis=2)
    likely = np.exp(-0.5 * apart / (1 / count[:, None] + ALIKE**2))
    edges = np.cumsum(likely / likely.sum(axis=1, keepdims=True), axis=1)
    rng = np.random.default_rng(seed)
    moved = None if images is None else np.asarray(images, dtype=float)
    draws = draws if moved is None else len(moved)
    chance = rng.random((draws, n))
    near = np.stack([np.searchsorted(e[:-1], u) for e, u in zip(edges, chance.T, strict=True)], 1)
    weight = (count + 1 / ALIKE**2)[:, None]
    middle = (count[:, None] * z + z[near] / ALIKE**2) / weight
    total = BELIEF + sum(degrees) + len(rows)
    doubt = np.sqrt(rng.chisquare(total, (draws, 1, 1)) / total)
    out = middle + rng.standard_normal((draws, n, m)) / np.sqrt(weight) / doubt
    return np.asarray(out @ root.T if moved is None else out @ root.T + moved)


def _worth(seen: Floats, fresh: Mapping[int, Floats], spread: Floats, guess: Floats) -> float:
    """What a value of the search is worth, in values of fresh seeds: in (0, 1]."""
    squares = BELIEF * np.maximum(guess**2, spread)
    for i, r in fresh.items():
        squares = squares + np.maximum((seen[i] - r.mean(axis=0)) ** 2 - spread / len(r), 0.0)
    return float(np.minimum(1.0, spread * (BELIEF + len(fresh)) / squares).mean())


def _pooled(scatters: Sequence[Floats], degrees: Sequence[int], sd: Floats) -> Floats:
    """The usual covariance [m, m] between seeds.

    Variances are averaged in the logarithm, so that one finalist whose training is wild does not
    widen all others.
    """
    guess = np.maximum(sd, 1e-9) ** 2
    logs, alike, weight = BELIEF * np.log(guess), BELIEF * np.eye(len(guess)), BELIEF
    for scatter, d in zip(scatters, degrees, strict=True):
        if d == 0:
            continue
        variance = np.maximum(np.diag(scatter) / d, 0.01 * guess)
        logs = logs + d * (np.log(variance) + 1 / d + 1 / (3 * d * d))  # E log chi2_d / d, undone
        alike = alike + scatter / np.sqrt(np.outer(variance, variance))
        weight += d
    spread = np.exp(logs / weight / 2)
    covariance: Floats = alike / weight * np.outer(spread, spread)
    covariance[np.diag_indices(len(guess))] = spread**2
    return covariance


def resampled(tables: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """How the means over images would move with other images of the same kind (bootstrap).

    Args:
      tables: [n, m, images] the share of right answers, or any other mean, of each image; the
        images are the same for all n, so differences between two are paired.
      draws: how many samples of images.
      seed: of the draws.

    Returns:
      [draws, n, m] deviations from the means.
    """
    t = np.asarray(tables, dtype=float)
    count = t.shape[2]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    means: Floats = np.einsum("nmk,dk->dnm", t, weights / count, optimize=True)
    return means - t.mean(axis=2)


def membership(draws: ArrayLike) -> Floats:
    """P(on the front) of each trial: the share of draws in which none dominates it.

    Args:
      draws: [d, n, 2] values; equal ones do not dominate each other.
    """
    d = np.asarray(draws, dtype=float)
    if d.shape[1] == 0:
        return np.zeros(0)
    # From the right to the left: a point stays unless something as far right is higher, or
    # something further right as high. `before` is the highest of all that came before.
    order = np.lexsort((-d[..., 1], -d[..., 0]), axis=1)
    x, y = (np.take_along_axis(d[..., m], order, axis=1) for m in range(2))
    before = np.maximum.accumulate(
        np.concatenate([np.full((len(d), 1), -np.inf), y[:, :-1]], axis=1), axis=1
    )
    fresh = np.concatenate([np.ones((len(d), 1), bool), x[:, 1:] != x[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(fresh, np.arange(d.shape[1]), 0), axis=1)
    beaten = (before > y) | (np.take_along_axis(before, first, axis=1) >= y)
    stays = np.zeros(beaten.shape)
    np.put_along_axis(stays, order, ~beaten, axis=1)
    return np.asarray(stays.mean(axis=0))


def next_training(
    chances: ArrayLike,
    seeds: Sequence[int],
    cost: ArrayLike = 1.0,
    *,
    sure: float = SURE,
    least: int = 1,
) -> int | None:
    """Which finalist gets the next fresh seed; None where every membership is known well enough.

    Whoever has fewer than `least` seeds comes first, in order. Then the one whose membership is
    least certain, p (1 - p), weighed by what one more seed takes off its variance, 1 / (k (k + 1)),
    for its cost.

    Args:
      chances: [n] P(on the front); of a finalist without a seed it is not looked at.
      seeds: how many each has, those under way included.
      cost: of one training of each, [n] or one for all, in any unit.
      sure: a chance below `sure` or above 1 - `sure` is certain enough.
      least: seeds that each gets in any case, 1 or more.
    """
    k = np.asarray(seeds, dtype=float)
    if (k < least).any():
        return int(np.argmin(k))
    p = np.asarray(chances, dtype=float)
    open_ = (p > sure) & (p < 1 - sure)
    if not open_.any():
        return None
    worth = p * (1 - p) / (k * (k + 1)) / np.broadcast_to(np.asarray(cost, dtype=float), p.shape)
    return int(np.argmax(np.where(open_, worth, -1.0)))


def reported(chances: ArrayLike, share: float = SHARE) -> NDArray[np.bool_]:
    """The front that is reported: as many as can be while `share` of them are expected to be on it.

    The most likely ones enter first, as long as their mean P(on the front) is at least `share`: the
    Bayesian false discovery rate (Newton et al. 2004). The most likely one is always in.

    Args:
      chances: [n] P(on the front).
      share: in (0, 1].
    """
    p = np.asarray(chances, dtype=float)
    order = np.argsort(-p, kind="stable")
    expected = np.cumsum(p[order]) / np.arange(1, len(p) + 1)
    count = max(1, int((expected >= share).sum()))  # the running mean falls, so these are the first
    kept = np.zeros(len(p), dtype=bool)
    kept[order[:count]] = True
    return kept


def _rows(points: ArrayLike) -> Floats:
    p = np.asarray(points, dtype=float)
    if p.ndim != 2 and p.size:
        raise ValueError(f"points are rows of values, got shape {p.shape}")
    return p
