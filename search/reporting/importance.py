"""Hyperparameter importance by PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255).

A conditional hyperparameter counts by how much it separates the best trials among those that have
it, and by how many of the best have it (Conditional PED-ANOVA, arXiv 2601.20800).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

from search.record.trial import Trial
from search.record.view import View

MIN_TRIALS = 8  # finished trials; with fewer an importance is only noise
BEST = 5  # trials that are compared with all, at least, so that one alone decides nothing
BEST_SHARE = 0.1
Shares = dict[str, dict[str, float]]


def importance(view: View) -> Shares | str:
    """Return each hyperparameter's share for each objective, or why there is none.

    Returns:
      For each objective the share in [0, 1] that each hyperparameter explains; or a sentence.
    """
    done = view.scored()
    if len(done) < MIN_TRIALS:
        return f"Importance needs {MIN_TRIALS} finished trials, there are {len(done)}."
    if not view.header.knobs:
        return "There are no hyperparameters to compare."
    for n, objective in enumerate(view.header.aims):
        if len({trial.result.point[n] for trial in done if trial.result}) < 2:
            title = objective.replace("_", " ")
            return f"Importance cannot be computed: all finished trials have the same {title}."
    try:
        return _shares(view.header.knobs, done, view.header.aims)
    except (ValueError, RuntimeError) as error:
        return f"Importance cannot be computed: {error}"


def _shares(knobs: Mapping[str, Any], done: list[Trial], objectives: tuple[str, str]) -> Shares:
    import optuna

    ranges = {name: _to_distribution(knob) for name, knob in knobs.items()}
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(directions=["maximize"] * len(objectives))
            for trial in done:
                study.add_trial(
                    optuna.create_trial(
                        params=dict(trial.params),
                        values=_values(trial),
                        distributions={name: ranges[name] for name in trial.params},
                    )
                )
            share = min(0.5, max(BEST_SHARE, BEST / len(done)))
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
            shares: Shares = {}
            for n, objective in enumerate(objectives):
                target = partial(_value, n)
                found = optuna.importance.get_param_importances(
                    study, evaluator=evaluator, target=target
                )
                shares[objective] = {name: found.get(name, 0.0) for name in knobs}
            return shares
    finally:
        optuna.logging.set_verbosity(verbosity)


def _values(trial: Trial) -> list[float]:
    return list(trial.result.point) if trial.result else []


def _value(objective: int, trial: Any) -> float:
    """Return a figure of which less is better, because PED-ANOVA looks for low values."""
    return -float(trial.values[objective])


def _to_distribution(knob: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if knob["kind"] == "Choice":
        return CategoricalDistribution(knob["options"])
    make = FloatDistribution if knob["kind"] == "Float" else IntDistribution
    return make(knob["low"], knob["high"], log=knob["log"])
