"""Which knobs matter: PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255) on the finished trials."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from typing import Any

from search.record.trial import Trial
from search.record.view import View
from spaces import OBJECTIVES

FEWEST = 4  # finished trials; with fewer an importance is noise alone
Shares = dict[str, dict[str, float]]


def importance(view: View) -> Shares | str:
    """For each objective the share in [0, 1] that each knob explains, or why none can be told."""
    done = [trial for trial in view.in_state("finished") if trial.result]
    if len(done) < FEWEST:
        return f"Importance needs {FEWEST} finished trials, there are {len(done)}."
    if not view.header.knobs:
        return "There are no knobs to compare."
    for n, objective in enumerate(OBJECTIVES):
        if len({trial.result.point[n] for trial in done if trial.result}) < 2:
            title = objective.replace("_", " ")
            return f"Importance cannot be told: all finished trials have the same {title}."
    try:
        return _shares(view.header.knobs, done)
    except (ValueError, RuntimeError) as error:
        return f"Importance cannot be told: {error}"


def _shares(knobs: Mapping[str, Any], done: list[Trial]) -> Shares:
    import optuna

    ranges = {name: _distribution(knob) for name, knob in knobs.items()}
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(directions=["maximize"] * len(OBJECTIVES))
            for trial in done:
                study.add_trial(optuna.create_trial(
                    params=dict(trial.params), values=_values(trial),
                    distributions={name: ranges[name] for name in trial.params},
                ))  # fmt: skip
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            shares: Shares = {}
            for n, objective in enumerate(OBJECTIVES):
                target = partial(_value, n)
                told = optuna.importance.get_param_importances(
                    study, evaluator=evaluator, target=target
                )
                shares[objective] = {name: told.get(name, 0.0) for name in knobs}
            return shares
    finally:
        optuna.logging.set_verbosity(loud)


def _values(trial: Trial) -> list[float]:
    return list(trial.result.point) if trial.result else []


def _value(objective: int, trial: Any) -> float:
    return float(trial.values[objective])


def _distribution(knob: Mapping[str, Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if knob["kind"] == "Choice":
        return CategoricalDistribution(knob["options"])
    made = FloatDistribution if knob["kind"] == "Float" else IntDistribution
    return made(knob["low"], knob["high"], log=knob["log"])
