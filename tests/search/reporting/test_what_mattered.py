"""Importance, directions and interactions of hyperparameters, on searches whose truth is known."""

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from synthetic_studies import header

from search.record.view import View
from search.reporting.effects import Effect, find_effects
from search.reporting.importance import importance
from search.reporting.interactions import find_interactions
from search.reporting.progress_plots import device_hours, pack_rows, progress_by_cost, timeline
from search.reporting.slices_plots import slices

NUMBER = {"kind": "Float", "low": 0.0, "high": 1.0, "log": False, "when": {}}
NET = {"kind": "Choice", "options": ["small", "large"], "when": {}}
KNOBS = {
    "a": NUMBER,
    "b": NUMBER,
    "net": NET,
    "deep": {**NUMBER, "when": {"net": "large"}},
}
Truth = Callable[[Mapping[str, Any], random.Random], tuple[float, float]]


def search(truth: Truth, trials: int = 60, seed: int = 0, **knobs: Any) -> View:
    """Return a search of random configurations whose objectives are `truth` of them."""
    rng, view = random.Random(seed), View()
    view.apply(header(trials=trials, knobs=knobs or KNOBS))
    for number in range(trials):
        params: dict[str, Any] = {"a": rng.random(), "b": rng.random()}
        params["net"] = rng.choice(["small", "large"])
        if params["net"] == "large":
            params["deep"] = rng.random()
        natural, attacked = truth(params, rng)
        common = {"trial": number, "time": 1000.0 + number}
        begin = {"event": "proposed", "params": params, "seed": number, "origin": "random"}
        view.apply({**common, **begin})
        objectives = {"natural_accuracy": natural, "attacked_score": attacked}
        end = {"event": "finished", "objectives": objectives, "intervals": {}, "details": {}}
        view.apply({**common, **end, "time": 1000.5 + number})
    return view


def noise(_: Mapping[str, Any], rng: random.Random) -> tuple[float, float]:
    return rng.random(), 100 * rng.random()


def told(view: View) -> dict[tuple[str, str], Effect]:
    return {(e.knob, e.objective): e for e in find_effects(view) if e.told}


def test_directions_have_their_sign():
    def truth(p: Mapping[str, Any], rng: random.Random) -> tuple[float, float]:
        return 0.3 + 0.4 * p["a"], 300 - 200 * p["a"] + 20 * rng.random()

    found = told(search(truth))
    assert set(found) == {("a", "natural_accuracy"), ("a", "attacked_score")}
    assert found["a", "natural_accuracy"].value == pytest.approx(1)
    assert found["a", "attacked_score"].value < -0.9


def test_a_choice_is_compared_in_the_unit_that_is_shown():
    def truth(p: Mapping[str, Any], rng: random.Random) -> tuple[float, float]:
        return 0.5 + 0.1 * (p["net"] == "large") + 0.01 * rng.random(), 100 * rng.random()

    (effect,) = told(search(truth)).values()
    sign = 1 if effect.option == "large" else -1
    assert sign * effect.value == pytest.approx(10, abs=1)  # points of accuracy


def test_a_conditional_hyperparameter_is_judged_among_the_trials_that_have_it():
    """Nets without it are far better: among all trials its direction would be the other one."""

    def truth(p: Mapping[str, Any], rng: random.Random) -> tuple[float, float]:
        return (0.2 + 0.3 * p["deep"] if "deep" in p else 0.9), 100 * rng.random()

    view = search(truth)
    effect = told(view)["deep", "natural_accuracy"]
    assert effect.value == pytest.approx(1)
    assert effect.trials == sum("deep" in t.params for t in view.trials.values()) < 60
    drawn = [n for trace in slices(view, "deep", set()).data for n in trace.customdata]
    assert {view.trials[n].params["net"] for n in drawn} == {"large"}


def test_noise_is_hardly_ever_told():
    """Of 40 searches of pure noise, a direction or an interaction may be told in 5 % of each."""
    views = [search(noise, 40, seed) for seed in range(40)]
    assert sum(bool(told(view)) for view in views) <= 6
    assert sum(bool(find_interactions(view)[0]) for view in views) <= 6


def test_an_interaction_is_found_and_bent_effects_are_none():
    def product(p: Mapping[str, Any], rng: random.Random) -> tuple[float, float]:
        return 0.5 + 0.4 * (p["a"] - 0.5) * (p["b"] - 0.5), 100 * (p["a"] ** 2 + p["b"])

    found, tested = find_interactions(search(product))
    first = found[0]
    assert tested > 4 and {first.first, first.second} == {"a", "b"}
    assert first.objective == "natural_accuracy" and first.interval[0] > 0.5
    assert not [one for one in found if one.objective == "attacked_score"]


def test_importance_is_that_of_the_best_trials_not_of_the_worst():
    """Where b is small all is lost, whatever a is; above, a alone decides."""

    def truth(p: Mapping[str, Any], rng: random.Random) -> tuple[float, float]:
        good = p["b"] > 0.1
        return (0.5 + 0.5 * p["a"] if good else 0.1 * rng.random()), 100 * rng.random()

    shares = importance(search(truth, 200))
    assert isinstance(shares, dict)
    assert max(shares["natural_accuracy"], key=shares["natural_accuracy"].__getitem__) == "a"


def test_rows_of_the_timeline_hold_one_trial_at_a_time():
    assert pack_rows([(0, 2), (1, 3), (2, 4), (2.5, 3), (3, 9)]) == [1, 2, 1, 3, 2]
    view = search(noise, 5)
    drawn = [n for trace in timeline(view).data for n in trace.customdata if n is not None]
    assert sorted(set(drawn)) == [0, 1, 2, 3, 4]


def test_device_hours_are_those_of_all_trials_until_then():
    view = search(noise, 3)
    view.header = view.header.merge({"scale": {"gpus": 0.5, "cpus": 4}})
    for number in range(3):
        epoch = {"event": "epoch", "trial": number, "time": 2000.0, "epoch": 1, "epochs": 1}
        view.apply({**epoch, "seconds": 7200.0, "metrics": {}})
    assert device_hours(view) == {0: 1.0, 1: 1.0, 2: 1.0}
    (trace,) = progress_by_cost(view, [0.1, 0.2, 0.3]).data
    assert list(trace.x) == [1.0, 2.0, 3.0]
