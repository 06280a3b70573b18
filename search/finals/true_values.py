"""The true values of trials, sampled from their posterior given noisy values.

A true value is the mean over training seeds; a search, and each fresh training, measures one seed.
Arrays in and out, larger is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from search.finals.seed_noise import (
    PRIOR_DOF,
    Floats,
    as_rows,
    estimate_search_weight,
    pool_covariance,
    scatter_matrix,
)

DRAWS = 2000
BANDWIDTH = 0.5  # of the kernel density of true values, in standard deviations between seeds
SHARPENED = 6  # how often the kernels move to the posterior means
OWN_WEIGHT = 0.5  # of a trial's own kernel: it shares the noise of the value that it explains


def sample_means(
    values: Sequence[ArrayLike],
    sd: ArrayLike,
    *,
    images: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Sample the means over training seeds from their posterior, given fresh values alone.

    For a finalist with values y_1 ... y_k of fresh seeds the mean is multivariate Student t:

        mean ~ t_v(ybar, S / k),   v = d0 + k - 1,   S = (d0 S0 + sum (y - ybar)(y - ybar)') / v

    with S0 the covariance between seeds pooled over the finalists, worth d0 = `PRIOR_DOF`
    observations: the moderated variance of Smyth 2004. The values that selected a finalist are not
    used.

    Args:
      values: for each of n finalists the values [k, m] of k >= 1 fresh seeds.
      sd: [m], a guess of the standard deviation between seeds, such as the noise of one evaluation.
      images: [draws, n, m] deviations of each mean that come from the choice of the test images,
        the same images for all (`bootstrap_images`); None for none.
      draws: how many; ignored if `images` is given.
      seed: of the draws.

    Returns:
      Sampled means, [draws, n, m].

    Raises:
      ValueError: a finalist has no fresh value.
    """
    rows = [as_rows(v) for v in values]
    if any(len(r) == 0 for r in rows):
        raise ValueError("a finalist without a fresh value has no mean")
    scatters = [scatter_matrix(r) for r in rows]
    pooled = pool_covariance(scatters, [len(r) - 1 for r in rows], np.asarray(sd, dtype=float))
    m = len(pooled)
    shifts = None if images is None else np.asarray(images, dtype=float)
    draws = draws if shifts is None else len(shifts)
    rng = np.random.default_rng(seed)
    means = np.empty((draws, len(rows), m))
    for i, (r, scatter) in enumerate(zip(rows, scatters, strict=True)):
        dof = PRIOR_DOF + len(r) - 1
        root = np.linalg.cholesky((PRIOR_DOF * pooled + scatter) / dof / len(r))
        t = rng.standard_normal((draws, m)) @ root.T
        t /= np.sqrt(rng.chisquare(dof, (draws, 1)) / dof)
        means[:, i] = r.mean(axis=0) + t
    return means if shifts is None else means + shifts


def sample_true_values(
    search: ArrayLike,
    fresh: Mapping[int, ArrayLike],
    sd: ArrayLike,
    *,
    images: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Floats:
    """Sample the true values of all trials of a search, given search values and fresh ones.

    The model is empirical Bayes with a kernel-density prior. Trial i has the true value x_i, a
    search value p_i and k_i values y_ij of fresh seeds, with

        y_ij ~ N(x_i, S),   p_i ~ N(x_i, S / w),   x_i ~ mean over trials j of N(c_j, h^2 S)

    S is the covariance between seeds, pooled over the finalists. w in (0, 1] is how many fresh
    values a search value is worth, which rests on fewer images; `estimate_search_weight` estimates
    it from how far the two lie apart. The values combine to n_i = w + k_i values with the mean z_i
    = (w p_i + sum y_ij) / n_i. The kernels of the prior stand at c_j: first at these means, then
    six times at the posterior means that follow, because the means are spread by noise, the true
    values are not. The posterior of x_i is then a mixture over j, with

        weight_j ~ a_ij exp(-|z_i - c_j|^2 / 2 (1 / n_i + h^2)),
        mean_j = (n_i z_i + c_j / h^2) / (n_i + 1 / h^2),   covariance S / (n_i + 1 / h^2)

    (distances in the metric of S; a_ij is `OWN_WEIGHT` for j = i, else 1). The uncertainty of S
    itself makes it a Student t: one chi-square draw for all trials together. A value far better
    than all others is thus drawn back towards them. The search values may be used here although
    they selected the finalists: under a prior the selection carries no more information (Dawid
    1994, "Selection paradoxes of Bayesian inference").

    Args:
      search: [n, m] values of the search, in the unit of the fresh ones.
      fresh: for some trials, by index, the values [k, m] of fresh seeds.
      sd: [m], a guess of the standard deviation between seeds.
      images: [draws, n, m] deviations as in `sample_means`, for the n trials.
      draws: how many; ignored if `images` is given.
      seed: of the draws.

    Returns:
      Sampled true values, [draws, n, m].
    """
    data = _combine(as_rows(search), {i: as_rows(v) for i, v in fresh.items()}, sd)
    n, m = data.whitened.shape
    rng = np.random.default_rng(seed)
    shifts = None if images is None else np.asarray(images, dtype=float)
    draws = draws if shifts is None else len(shifts)
    component = _sample_components(data, rng.random((draws, n)))
    precision = (data.count + 1 / BANDWIDTH**2)[:, None]
    centre = data.count[:, None] * data.whitened + data.kernels[component] / BANDWIDTH**2
    centre = centre / precision
    scale = np.sqrt(rng.chisquare(data.dof, (draws, 1, 1)) / data.dof)
    x = centre + rng.standard_normal((draws, n, m)) / np.sqrt(precision) / scale
    return np.asarray(x @ data.root.T if shifts is None else x @ data.root.T + shifts)


def mean_true_values(search: ArrayLike, fresh: Mapping[int, ArrayLike], sd: ArrayLike) -> Floats:
    """Return the posterior means of the true values, [n, m], in closed form.

    Args:
      search: as in `sample_true_values`, and so are the others.
      fresh: the values of fresh seeds.
      sd: a guess of the standard deviation between seeds.
    """
    data = _combine(as_rows(search), {i: as_rows(v) for i, v in fresh.items()}, sd)
    return np.asarray(_posterior_means(data) @ data.root.T)


@dataclass(frozen=True)
class _Combined:
    """The search values and fresh values of n trials, combined.

    Args:
      whitened: [n, m] weighted means z_i, multiplied with the inverse of `root`.
      kernels: [n, m] centres c_j of the prior's kernels, in the same space.
      count: [n] how many fresh values each mean is worth, n_i.
      root: [m, m] Cholesky factor of the covariance between seeds.
      dof: degrees of freedom of that covariance.
    """

    whitened: Floats
    kernels: Floats
    count: Floats
    root: Floats
    dof: float


def _combine(search: Floats, fresh: Mapping[int, Floats], sd: ArrayLike) -> _Combined:
    guess = np.asarray(sd, dtype=float)
    degrees = [len(r) - 1 for r in fresh.values()]
    covariance = pool_covariance([scatter_matrix(r) for r in fresh.values()], degrees, guess)
    root = np.asarray(np.linalg.cholesky(covariance), dtype=float)
    weight = estimate_search_weight(search, fresh, np.diag(covariance), guess)
    means, count = search.copy(), np.full(len(search), weight)
    for i, r in fresh.items():
        count[i] += len(r)
        means[i] = (weight * search[i] + r.sum(axis=0)) / count[i]
    whitened = np.linalg.solve(root, means.T).T
    data = _Combined(whitened, whitened, count, root, PRIOR_DOF + sum(degrees) + len(fresh))
    for _ in range(SHARPENED):
        data = replace(data, kernels=_posterior_means(data))
    return data


def _posterior_means(data: _Combined) -> Floats:
    """Return the posterior mean of each trial, [n, m], in the space of `whitened`."""
    precision = (data.count + 1 / BANDWIDTH**2)[:, None]
    prior = _component_weights(data) @ data.kernels
    return np.asarray((data.count[:, None] * data.whitened + prior / BANDWIDTH**2) / precision)


def _sample_components(data: _Combined, uniform: Floats) -> NDArray[np.intp]:
    """Sample a kernel of the prior for each trial, [draws, n] indices of trials.

    Args:
      data: the combined values.
      uniform: [draws, n] random numbers in [0, 1).
    """
    cumulative = np.cumsum(_component_weights(data), axis=1)
    return np.stack(
        [np.searchsorted(c[:-1], u) for c, u in zip(cumulative, uniform.T, strict=True)], 1
    )


def _component_weights(data: _Combined) -> Floats:
    """Return the posterior probability of each kernel of the prior, [n, n], for each trial."""
    distance2 = ((data.whitened[:, None] - data.kernels[None]) ** 2).sum(axis=2)
    exponent = -0.5 * distance2 / (1 / data.count[:, None] + BANDWIDTH**2)
    likelihood = np.exp(exponent - exponent.max(axis=1, keepdims=True))
    likelihood[np.diag_indices(len(distance2))] *= OWN_WEIGHT
    return np.asarray(likelihood / likelihood.sum(axis=1, keepdims=True))


def bootstrap_images(tables: ArrayLike, *, draws: int = DRAWS, seed: int = 0) -> Floats:
    """Sample how the means over images would change with other images (bootstrap).

    Args:
      tables: [n, m, images] contributions of each image; the images are the same for all n, so
        differences between two are paired.
      draws: how many resampled sets of images.
      seed: of the draws.

    Returns:
      Deviations from the means, [draws, n, m].
    """
    t = np.asarray(tables, dtype=float)
    count = t.shape[2]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    means: Floats = np.einsum("nmk,dk->dnm", t, weights / count, optimize=True)
    return means - t.mean(axis=2)
