"""A Gaussian process of one objective at several fidelities (rungs, and the end of training).

The value at a rung is a share of the final value, plus a deviation and an offset of its own (after
Kennedy and O'Hagan 2000, but with every rung tied to the end). The covariance of configuration a at
fidelity s and configuration b at fidelity t is

    k = (e M(a, b) + A(a, b)) r_s r_t + [s = t] (v_t M(a, b) + c)

with M = M'(a, b) exp(-h(a, b)): M' the Matern 5/2 kernel of the numbers, with a length scale l for
each; h the sum of 1 / l^2 over the choices in which a and b differ, so that all options are equally
far apart (the exchangeable kernel); e the signal variance; r_s the share and v_s the variance of
the deviation of fidelity s, r = 1 and v = 0 at the end of training; c the variance of an offset.

A holds the main effects of the numbers: what each does whatever the other hyperparameters are
(the first order of Duvenaud et al. 2011). A few trials tell those before they tell how
hyperparameters act together. It is the sum over the numbers of w_k times a Matern 5/2 kernel of
that number alone, with its whole range as the length scale; centred, and with a mean variance of 1
over the range. Choices have none: decision 0012 says why.

The noise variance of each fidelity is fitted too. The hyperparameters maximise their posterior
under log-normal priors, which keep them reasonable when there are few observations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]
Index = NDArray[np.intp]
OFFSET = 4.0  # variance of a fidelity's mean, in variances of the values
JITTER = 1e-6
# Mean and standard deviation of the normal priors of r, log v and the log noise variance.
SHARE, DEVIATION, NOISE = (0.8, 0.4), (-1.5, 1.5), (-3.5, 1.5)
LENGTH_SD = 0.8  # standard deviation of the normal prior of a log length scale
EFFECT_SD = 1.0  # standard deviation of the normal prior of log w; its mean is -log(knobs)
NODES = np.linspace(0, 1, 5)  # between which the main effect of a number is interpolated


class Columns(NamedTuple):
    """The columns of encoded configurations.

    Args:
      knob: index of the hyperparameter that each column belongs to.
      choice: whether that is a choice, whose columns encode it one-hot.
    """

    knob: tuple[int, ...]
    choice: tuple[bool, ...]

    @property
    def numbers(self) -> NDArray[np.bool_]:
        """Which columns are numbers, as booleans."""
        return ~np.array(self.choice, dtype=bool)


@dataclass(frozen=True)
class Observations:
    """Observations of one objective.

    Args:
      x: [n, columns] encoded configurations.
      fidelity: [n] indices, 0 for the end of training.
      y: [n] values.
    """

    x: Array
    fidelity: Index
    y: Array


@dataclass(frozen=True)
class KernelParams:
    """The kernel's hyperparameters, see the module's docstring.

    Args:
      lengths: log length scale of each hyperparameter of the space.
      share: r of each fidelity.
      deviation: log v of each fidelity (that of the final one is not used).
      noise: log noise variance of each fidelity.
      scale: log e.
      effects: log w of each number.
    """

    lengths: Array
    share: Array
    deviation: Array
    noise: Array
    scale: float
    effects: Array

    def amplitude(self, s: Index, t: Index) -> tuple[Array, NDArray[np.bool_]]:
        """Return the factor of M [n, m], and where the fidelities are equal."""
        own = np.exp(self.deviation) * (np.arange(len(self.share)) > 0)
        same = s[:, None] == t[None, :]
        cross = np.exp(self.scale) * np.outer(self.share[s], self.share[t])
        return cross + same * own[t][None, :], same

    def similarity(self, a: Array, b: Array, columns: Columns) -> Array:
        """Return M, the correlation of configurations before fidelities, [len(a), len(b)]."""
        lengths = np.exp(self.lengths)[list(columns.knob)]
        d, h = _distances(a / lengths, b / lengths, columns)
        return np.asarray((1 + d + d * d / 3) * np.exp(-d - h))

    def covariance(self, a: Array, s: Index, b: Array, t: Index, columns: Columns) -> Array:
        """Return the covariance without noise, [len(a), len(b)]."""
        factor, same = self.amplitude(s, t)
        one = self.main_effects(a, columns) * self.share[s, None]
        other = self.main_effects(b, columns) * self.share[t, None]
        return np.asarray(self.similarity(a, b, columns) * factor + one @ other.T + OFFSET * same)

    def main_effects(self, x: Array, columns: Columns) -> Array:
        """Return features of n configurations whose scalar products are A, [n, features].

        The kernel of a number is interpolated between `NODES` (Nystrom).
        """
        each = _matern(x[:, columns.numbers, None] - NODES) @ _WHITENING
        each = (each - _CENTRE) / _SIZE
        weighted = each * np.exp(0.5 * self.effects)[:, None]
        return np.asarray(weighted.reshape(len(x), len(self.effects) * len(NODES)))

    def variance(self, x: Array, columns: Columns) -> Array:
        """Return the variance of n final values before any observation, [n]."""
        own = (self.main_effects(x, columns) ** 2).sum(axis=1)
        return np.asarray(np.exp(self.scale) + own + OFFSET)


def _matern(gap: Array) -> Array:
    """Return the Matern 5/2 kernel with length scale 1."""
    d = np.sqrt(5) * np.abs(gap)
    return np.asarray((1 + d + d * d / 3) * np.exp(-d))


_WHITENING = np.linalg.inv(cholesky(_matern(NODES[:, None] - NODES), lower=True)).T
_GRID = _matern(np.linspace(0, 1, 101)[:, None] - NODES) @ _WHITENING  # features of all values
_CENTRE = _GRID.mean(axis=0)
_SIZE = float(np.sqrt(_GRID.var(axis=0).sum()))


def _distances(a: Array, b: Array, columns: Columns) -> tuple[Array, Array]:
    """Return sqrt(5) times the distances in the numbers, and h of the choices, [len(a), len(b)]."""
    numbers = columns.numbers
    d2 = _squared_distances(a[:, numbers], b[:, numbers])
    h = _squared_distances(a[:, ~numbers], b[:, ~numbers])
    return np.sqrt(5 * np.maximum(d2, 1e-12)), np.maximum(h, 0.0)


def _squared_distances(a: Array, b: Array) -> Array:
    return np.asarray((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T)


class GaussianProcess:
    """The posterior given observations, which the caller standardises.

    Args:
      data: the observations.
      params: of the kernel.
      columns: those of `data.x`.
    """

    def __init__(self, data: Observations, params: KernelParams, columns: Columns) -> None:
        self.data, self.params, self.columns = data, params, columns
        cov = params.covariance(data.x, data.fidelity, data.x, data.fidelity, columns)
        cov[np.diag_indices_from(cov)] += np.exp(params.noise)[data.fidelity] + JITTER
        self.factor = cholesky(cov, lower=True)
        self.weights = cho_solve((self.factor, True), data.y)

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the final value without noise, [n] each."""
        final = np.zeros(len(x), dtype=np.intp)
        cross = self.params.covariance(x, final, self.data.x, self.data.fidelity, self.columns)
        half = solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        prior = self.params.variance(x, self.columns)
        return cross @ self.weights, np.sqrt(np.maximum(prior - (half**2).sum(0), 1e-10))

    def loo_residuals(self, groups: Index) -> Array:
        """Return the residuals of leave-one-group-out cross-validation, [n] (Dubrule 1983).

        Args:
          groups: [n]; values of one group are left out together.
        """
        inverse = np.tril(dpotri(self.factor, lower=1)[0])
        inverse = inverse + np.tril(inverse, -1).T
        residuals = np.empty(len(groups))
        for group in np.unique(groups):
            own = np.flatnonzero(groups == group)
            residuals[own] = np.linalg.solve(inverse[np.ix_(own, own)], self.weights[own])
        return residuals


def fit_kernel(
    data: Observations, columns: Columns, fidelities: int, steps: int = 30
) -> KernelParams:
    """Find the maximum a posteriori kernel hyperparameters, from one fixed start.

    Args:
      data: the observations.
      columns: those of `data.x`.
      fidelities: how many, the final one included.
      steps: of L-BFGS-B, at most.
    """
    knobs = max(columns.knob) + 1
    # Lengths grow with the root of the number of hyperparameters (Hvarfner et al. 2024).
    mean_length = 0.5 * np.log(knobs) + np.log(0.5)
    priors = [(mean_length, LENGTH_SD)] * knobs
    priors += [m for m in (SHARE, DEVIATION, NOISE) for _ in range(fidelities)] + [(0.0, 1.0)]
    priors += [(-np.log(knobs), EFFECT_SD)] * int(columns.numbers.sum())
    start, width = np.array(priors).T
    bounds = [(m - 4 * w, m + 4 * w) for m, w in priors]

    def loss(theta: Array) -> tuple[float, Array]:
        params = _unpack(theta, knobs, fidelities)
        value, gradient = _negative_log_likelihood(data, params, columns)
        gap = (theta - start) / width
        return value + 0.5 * float(gap @ gap), gradient + gap / width

    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": steps}
    )
    return _unpack(found.x, knobs, fidelities)


def _unpack(theta: Array, knobs: int, fidelities: int) -> KernelParams:
    lengths, share, deviation, noise, scale, effects = np.split(
        theta, np.cumsum([knobs, fidelities, fidelities, fidelities, 1])
    )
    fixed = np.concatenate([[1.0], share[1:]])
    return KernelParams(lengths, fixed, deviation, noise, float(scale[0]), effects)


def _negative_log_likelihood(
    data: Observations, params: KernelParams, columns: Columns
) -> tuple[float, Array]:
    """Return the negative log-likelihood up to a constant, and its gradient in each parameter.

    The gradient is tr(G dK), with G = (K^-1 - K^-1 y y' K^-1) / 2 (Rasmussen and Williams 2006,
    equation 5.9).
    """
    f, n, fidelities = data.fidelity, len(data.y), len(params.share)
    z = data.x / np.exp(params.lengths)[list(columns.knob)]
    d, h = _distances(z, z, columns)
    decay = np.exp(-d - h)
    matern = (1 + d + d * d / 3) * decay
    factor, same = params.amplitude(f, f)
    main = params.main_effects(data.x, columns)
    shared = main * params.share[f, None]
    cov = matern * factor + shared @ shared.T + OFFSET * same
    cov[np.diag_indices(n)] += np.exp(params.noise)[f] + JITTER
    lower = cholesky(cov, lower=True, check_finite=False)
    alpha = cho_solve((lower, True), data.y, check_finite=False)
    inverse = np.tril(dpotri(lower, lower=1)[0])
    inverse = inverse + np.tril(inverse, -1).T
    g = 0.5 * (inverse - np.outer(alpha, alpha))
    value = 0.5 * float(data.y @ alpha) + float(np.log(np.diag(lower)).sum())
    w = g * factor
    by_column = np.where(
        columns.numbers,
        _weighted_spread(z, w * (5 / 3) * (1 + d) * decay),
        _weighted_spread(z, w * 2 * matern),
    )
    by_length = np.bincount(columns.knob, by_column, minlength=len(params.lengths))
    gm, r, signal = g * matern, params.share[f], np.exp(params.scale)
    g_shared = g @ shared
    by_effect = (shared * g_shared).reshape(n, -1, len(NODES)).sum((0, 2))
    by_share = signal * (gm @ r) + (main * g_shared).sum(1)
    by_share = 2 * np.bincount(f, by_share, minlength=fidelities)
    by_share[0] = 0.0
    own = np.exp(params.deviation) * (np.arange(fidelities) > 0)
    by_deviation = own * np.bincount(f, (gm * same).sum(1), minlength=fidelities)
    by_noise = np.exp(params.noise) * np.bincount(f, np.diag(g), minlength=fidelities)
    by_scale = signal * float(r @ gm @ r)
    gradient = [by_length, by_share, by_deviation, by_noise, [by_scale], by_effect]
    return value, np.concatenate(gradient)


def _weighted_spread(z: Array, w: Array) -> Array:
    """Return the sum over pairs of w (z_i - z_j)^2 for each column of z, [columns]."""
    return np.asarray(2 * ((z**2).T @ w.sum(1) - np.einsum("ic,ic->c", z, w @ z)))
