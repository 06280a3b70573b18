"""A forest of extremely randomised trees (Geurts et al. 2006) as a model of both objectives.

Trees see choices that matter only together, and jumps, which a smooth model blurs. The spread of
the trees is the uncertainty, as in SMAC (Hutter et al. 2011). Values at rungs are not used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.record.trial_result import TrialResult
from search.record.view import View
from search.surrogates.encoding import encode_params, encode_positions
from search.surrogates.expected_hypervolume import expected_improvement
from search.surrogates.front_model import FrontModel, known_trials
from search.surrogates.robust_scale import robust_scale
from search.surrogates.skill import mean_rank_correlation, rank_skill
from spaces import Params, Space

Array = NDArray[np.float64]
ORIGINS = ("forest", "ensemble")  # of the trials that this model has chosen
TREES = 48
MIN_SD = 0.1  # of a prediction, in standard deviations of the values


class Forest(FrontModel):
    """Trees that predict both objectives on `robust_scale`, and whether a trial is feasible.

    Running trials count as if they had ended as predicted.

    Args:
      space: the search space.
      view: of the ledger.
      observed: finished trials of earlier studies under the same battery. Together with those of
        the view there must be at least `search.surrogates.front_model.MIN_RESULTS`.
      seed: of the trees.
    """

    def __init__(
        self,
        space: Space,
        view: View,
        observed: Sequence[tuple[Params, TrialResult]] = (),
        seed: int = 0,
    ) -> None:
        self.space = space
        self.done = known_trials(view, observed)
        self.feasible = np.array([view.feasible(t) for t in self.done])
        points = np.array([t.result.point for t in self.done if t.result])
        scores = np.stack([robust_scale(y) for y in points.T], 1)
        self.constant = np.ptp(points, axis=0) == 0
        x = encode_params(space, [t.params for t in self.done])
        self._fit(x, np.column_stack([scores, self.feasible]), seed)
        self.mean = self._predict(x)[0]
        self.known_means = self.mean[self.feasible] if self.feasible.any() else self.mean
        running = [t.params for t in view.in_state("running")]
        if running:
            predicted = self._predict(encode_params(space, running))[0]
            self.known_means = np.concatenate([self.known_means, predicted])
        others = [i for i, t in enumerate(self.done) if t.origin not in ORIGINS]
        predicted, seen = self._predict_left_out(x)[others], scores[others]
        self.skill, self.accuracy = (
            rank_skill(predicted, seen),
            mean_rank_correlation(predicted, seen),
        )

    def _fit(self, x: Array, y: Array, seed: int) -> None:
        """Grow each tree on a bootstrap sample; set `trees`, and `drawn`, [trees, n] booleans."""
        from sklearn.tree import ExtraTreeRegressor  # half a second, only where it is used

        rng = np.random.default_rng(seed)
        inputs = np.ascontiguousarray(x, dtype=np.float32)
        self.trees = []
        self.drawn = np.zeros((TREES, len(x)), dtype=bool)
        for drawn in self.drawn:
            rows = rng.integers(len(x), size=len(x))
            drawn[rows] = True
            tree = ExtraTreeRegressor(max_features=0.7, random_state=int(rng.integers(2**31)))
            self.trees.append(tree.fit(inputs[rows], y[rows], check_input=False).tree_)

    def predict(self, positions: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation of the final objectives at n positions, [n, 2]."""
        return self._predict(encode_positions(self.space, positions))

    def expected_gain(self, positions: Array) -> Array:
        """Return the expected gain in hypervolume over the front of `known_means`, [n].

        It is the mean over the trees, each of which predicts both objectives together: where they
        are in conflict, no tree expects a candidate to be good in both.
        """
        each = self._outputs(encode_positions(self.space, positions))[:, :, :2]
        values = np.where(self.constant, 0.0, each).reshape(-1, 2)
        gains = expected_improvement(values, None, self.known_means, self.reference_point)
        return np.asarray(gains.reshape(len(each), -1).mean(axis=0))

    def feasibility(self, positions: Array) -> Array:
        """Return the probability that a trial at each of n positions is feasible, [n]."""
        if self.feasible.all():
            return np.ones(len(positions))
        return np.asarray(self._outputs(encode_positions(self.space, positions))[:, :, 2].mean(0))

    def _predict(self, x: Array) -> tuple[Array, Array]:
        each = self._outputs(x)[:, :, :2]
        # Nothing is to be gained in an objective that has been the same in every trial.
        sd = np.where(self.constant, 1e-3, np.hypot(each.std(axis=0), MIN_SD))
        return each.mean(axis=0), sd

    def _outputs(self, x: Array) -> Array:
        """Return what each tree predicts, [trees, n, 3]."""
        rows = x.astype(np.float32)
        values = [tree.predict(rows) for tree in self.trees]
        return np.asarray(values).reshape(len(values), len(x), 3)

    def _predict_left_out(self, x: Array) -> Array:
        """Return the mean of the trees that were not fitted to each of n trials, [n, 2].

        A trial that every tree has seen is predicted by 0, the mean.
        """
        each = self._outputs(x)[:, :, :2]
        unseen = ~self.drawn
        count = unseen.sum(axis=0)[:, None]
        return np.asarray((each * unseen[:, :, None]).sum(axis=0) / np.maximum(1, count))
