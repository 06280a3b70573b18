"""A Gaussian process of one objective at several fidelities.

What a rung shows is a share of the final value, plus a deviation of its own, plus an offset
(after Kennedy and O'Hagan 2000, every rung tied to the end): between fidelities s and t
k = M (e r_s r_t + [s = t] v_t) + [s = t] c, where M is Matern 5/2 with a length for each knob,
r = 1 and v = 0 at the end of the training. The noise of each fidelity is learned too. The
hyperparameters maximise the posterior under log-normal priors that keep them sane where there are
few points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]
Index = NDArray[np.intp]
OFFSET = 4.0  # variance of a fidelity's mean, in variances of the values
JITTER = 1e-6
SHARE, DEVIATION, NOISE = (0.8, 0.4), (-1.5, 1.5), (-3.5, 1.5)  # means and deviations of priors
LENGTH = 0.8  # deviation of the logarithm


@dataclass(frozen=True)
class Data:
    """Observations of one objective: where [n, columns], fidelity [n] (0: final), value [n]."""

    x: Array
    fidelity: Index
    y: Array


@dataclass(frozen=True)
class Hyper:
    """Logarithms of the length of each knob and of `scale`; for each fidelity the share, and the
    logarithms of the variance of its deviation (unused for the final one) and of its noise.
    """

    lengths: Array
    share: Array
    deviation: Array
    noise: Array
    scale: float

    def parts(self, s: Index, t: Index) -> tuple[Array, NDArray[np.bool_]]:
        """What the Matern kernel is multiplied with, and where the fidelities are the same."""
        own = np.exp(self.deviation) * (np.arange(len(self.share)) > 0)
        same = s[:, None] == t[None, :]
        cross = np.exp(self.scale) * np.outer(self.share[s], self.share[t])
        return cross + same * own[t][None, :], same

    def alike(self, a: Array, b: Array, columns: Sequence[int]) -> Array:
        """The Matern kernel alone, [len(a), len(b)] in (0, 1]."""
        lengths = np.exp(self.lengths)[list(columns)]
        d = _distance(a / lengths, b / lengths)
        return np.asarray((1 + d + d * d / 3) * np.exp(-d))

    def kernel(self, a: Array, s: Index, b: Array, t: Index, columns: Sequence[int]) -> Array:
        """The covariance [len(a), len(b)] without noise."""
        factor, same = self.parts(s, t)
        return np.asarray(self.alike(a, b, columns) * factor + OFFSET * same)


def _distance(a: Array, b: Array) -> Array:
    d2 = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T
    return np.sqrt(5 * np.maximum(d2, 1e-12))


class Process:
    """The posterior given data (values standardised by the caller)."""

    def __init__(self, data: Data, hyper: Hyper, columns: Sequence[int]) -> None:
        self.data, self.hyper, self.columns = data, hyper, columns
        cov = hyper.kernel(data.x, data.fidelity, data.x, data.fidelity, columns)
        cov[np.diag_indices_from(cov)] += np.exp(hyper.noise)[data.fidelity] + JITTER
        self.factor = cholesky(cov, lower=True)
        self.weights = cho_solve((self.factor, True), data.y)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation [n] of the final value without noise."""
        final = np.zeros(len(x), dtype=np.intp)
        cross = self.hyper.kernel(x, final, self.data.x, self.data.fidelity, self.columns)
        half = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        prior = float(np.exp(self.hyper.scale)) + OFFSET
        return cross @ self.weights, np.sqrt(np.maximum(prior - (half**2).sum(0), 1e-10))

    def left_out(self, groups: Index) -> Array:
        """What each value is above what all others say of it, [n] (Dubrule 1983).

        Args:
          groups: [n]; values of one group are left out together.
        """
        inverse = np.tril(dpotri(self.factor, lower=1)[0])
        inverse = inverse + np.tril(inverse, -1).T
        errors = np.empty(len(groups))
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            errors[own] = np.linalg.solve(inverse[np.ix_(own, own)], self.weights[own])
        return errors


def fit(data: Data, columns: Sequence[int], fidelities: int, steps: int = 30) -> Hyper:
    """The hyperparameters of the largest posterior, from one fixed start."""
    knobs = max(columns) + 1
    # Lengths grow with the root of the number of knobs (Hvarfner et al. 2024).
    middle = 0.5 * np.log(knobs) + np.log(0.5)
    means = [(middle, LENGTH)] * knobs
    means += [m for m in (SHARE, DEVIATION, NOISE) for _ in range(fidelities)] + [(0.0, 1.0)]
    start, width = np.array(means).T
    wide = [(m - 4 * w, m + 4 * w) for m, w in means]

    def loss(theta: Array) -> tuple[float, Array]:
        hyper = _hyper(theta, knobs, fidelities)
        value, gradient = _misfit(data, hyper, columns)
        gap = (theta - start) / width
        return value + 0.5 * float(gap @ gap), gradient + gap / width

    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=wide, options={"maxiter": steps}
    )
    return _hyper(found.x, knobs, fidelities)


def _hyper(theta: Array, knobs: int, fidelities: int) -> Hyper:
    lengths, share, deviation, noise, scale = np.split(
        theta, np.cumsum([knobs, fidelities, fidelities, fidelities])
    )
    return Hyper(lengths, np.concatenate([[1.0], share[1:]]), deviation, noise, float(scale[0]))


def _misfit(data: Data, hyper: Hyper, columns: Sequence[int]) -> tuple[float, Array]:
    """The negative log likelihood (but for a constant), and its gradient by each hyperparameter."""
    f, n, fidelities = data.fidelity, len(data.y), len(hyper.share)
    z = data.x / np.exp(hyper.lengths)[list(columns)]
    d = _distance(z, z)
    decay = np.exp(-d)
    matern = (1 + d + d * d / 3) * decay
    factor, same = hyper.parts(f, f)
    cov = matern * factor + OFFSET * same
    cov[np.diag_indices(n)] += np.exp(hyper.noise)[f] + JITTER
    lower = cholesky(cov, lower=True, check_finite=False)
    alpha = cho_solve((lower, True), data.y, check_finite=False)
    inverse = np.tril(dpotri(lower, lower=1)[0])
    inverse = inverse + np.tril(inverse, -1).T
    g = 0.5 * (inverse - np.outer(alpha, alpha))
    value = 0.5 * float(data.y @ alpha) + float(np.log(np.diag(lower)).sum())
    w = g * factor * (5 / 3) * (1 + d) * decay
    column = 2 * ((z**2).T @ w.sum(1) - np.einsum("ic,ic->c", z, w @ z))
    by_length = np.bincount(columns, column, minlength=len(hyper.lengths))
    gm, r, size = g * matern, hyper.share[f], np.exp(hyper.scale)
    by_share = 2 * size * np.bincount(f, gm @ r, minlength=fidelities)
    own = np.exp(hyper.deviation) * (np.arange(fidelities) > 0)
    by_deviation = own * np.bincount(f, (gm * same).sum(1), minlength=fidelities)
    by_noise = np.exp(hyper.noise) * np.bincount(f, np.diag(g), minlength=fidelities)
    by_share[0] = 0.0
    by_scale = size * float(r @ gm @ r)
    return value, np.concatenate([by_length, by_share, by_deviation, by_noise, [by_scale]])
