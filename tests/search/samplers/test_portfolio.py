"""The portfolio: who proposes follows from the ledger, and who finds more proposes more."""

import random

import pytest
from formula_runs import SPACE, no_recipe, propose

from search.record.pareto import hypervolume
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.samplers.finite_space import list_configurations
from search.samplers.portfolio import FLOOR, PRIOR, proposer_shares
from search.samplers.table import make_sampler
from spaces import OBJECTIVES, Choice, Float, Int, Knob, Space


def ended(number, origin, point, params=None, state="finished"):
    """Return a trial that has ended; one without a point failed."""
    made = TrialResult(dict(zip(OBJECTIVES, point, strict=True))) if point else None
    trial = Trial(number, params or {}, number, origin, state if point else "failed", result=made)
    trial.ended = 1.0 + number
    return trial


def shares_of(trials):
    return proposer_shares(SPACE, View(trials={t.number: t for t in trials}))


def test_before_any_trial_the_shares_are_the_prior_ones():
    shares, total = shares_of([]), sum(PRIOR.values())
    spare = 1 - FLOOR * len(PRIOR)
    assert shares == pytest.approx({k: FLOOR + spare * v / total for k, v in PRIOR.items()})
    assert sum(shares.values()) == pytest.approx(1)


def test_who_widens_the_front_gets_more_and_nobody_gets_nothing():
    """tpe and nsga2 take turns; only tpe's trials are better than all before."""
    trials = [
        ended(n, "tpe", (n, n)) if n % 2 else ended(n, "nsga2", (-1.0, -1.0)) for n in range(60)
    ]
    shares, before = shares_of(trials), shares_of([])
    assert shares["tpe"] > 2 * before["tpe"] and shares["nsga2"] < 0.5 * before["nsga2"]
    assert min(shares.values()) >= FLOOR and sum(shares.values()) == pytest.approx(1)


def test_whose_predictions_hold_gets_more():
    """A precision of 25 is that of a rank correlation of .98."""
    shares = proposer_shares(SPACE, View(), {"kriging": 25.0, "forest": 2.0})
    before = shares_of([])
    assert shares["kriging"] > 3 * before["kriging"] and shares["tpe"] < before["tpe"]
    assert shares["kriging"] / shares["forest"] > 5


def test_a_failed_trial_or_a_repeated_value_is_no_success():
    good = [ended(0, "tpe", (1.0, 1.0))]
    equal = [*good, *(ended(n, "nsga2", (1.0, 1.0)) for n in range(1, 20))]
    failed = [*good, *(ended(n, "nsga2", None) for n in range(1, 20))]
    assert shares_of(equal) == shares_of(failed)
    assert shares_of(equal)["nsga2"] < shares_of(good)["nsga2"]


def test_early_successes_do_not_count_for_more():
    """A trial is compared with those of its time: sobol won when everything did."""
    early = [ended(n, "sobol", (n, n)) for n in range(20)]
    late = [ended(n, "tpe", (n, n)) if n % 4 else ended(n, "forest", (0, 0)) for n in range(20, 40)]
    shares, before = shares_of([*early, *late]), shares_of([])
    assert shares["sobol"] / before["sobol"] < 2 < shares["tpe"] / shares["forest"]


def test_the_order_of_the_ledger_is_that_of_the_ends():
    trials = [ended(n, "tpe" if n % 2 else "nsga2", (n % 7, -(n % 5))) for n in range(30)]
    assert shares_of(trials) == shares_of(trials[::-1])


def search(space, value, trials, seed=0, name="portfolio"):
    """Search one trial at a time; return the view, and the number of trials that were found."""
    ask, view = make_sampler(name, space, seed=seed, start=4), View()
    for number in range(trials):
        found = ask.propose(view)
        if found is None:
            break
        view.trials[number] = ended(number, found[1], value(found[0]), found[0])
    return view


def law(params):
    lost = float(params["waste"]) + 0.1 * int(params.get("depth", 0))
    return float(params["x"]) - lost, 100 * (1 - float(params["x"]) ** 2 - lost)


@pytest.fixture(scope="module")
def searched():
    return search(SPACE, law, 30)


def test_several_proposers_take_part_and_the_ledger_names_them(searched):
    origins = {t.origin for t in searched.trials.values()}
    assert origins <= {*PRIOR, "known", "random"} and len(origins & set(PRIOR)) >= 4
    for trial in searched.trials.values():
        SPACE.check(trial.params)


def test_a_proposal_depends_on_the_seed_and_the_ledger_alone(searched):
    for cut in (8, 15, 29):
        view = View(trials={n: searched.trials[n] for n in range(cut)})
        again = propose(make_sampler("portfolio", SPACE, seed=0, start=4), view)
        assert again == (searched.trials[cut].params, searched.trials[cut].origin)


def test_units_and_a_constant_change_no_proposal(searched):
    units = search(SPACE, lambda p: (1e-6 * law(p)[0], 1e3 * law(p)[1]), 20)
    assert [t.params for t in units.trials.values()] == [
        searched.trials[n].params for n in range(20)
    ]
    flat = search(SPACE, lambda p: (0.5, law(p)[1]), 20)
    best = max(t.result.point[1] for t in flat.trials.values() if t.result)
    assert best > 95  # of 100, where x and waste are smallest


PAIR = Space("?", {"a": Choice(("x", "y", "z")), "b": Int(1, 2)}, no_recipe)


@pytest.mark.parametrize("name", ["portfolio", "kriging", "tpe", "nsga2", "qmc"])
def test_six_points_are_tried_once_each_and_then_the_search_ends(name):
    view = search(PAIR, lambda p: (float(ord(p["a"])), -float(p["b"])), 50, name=name)
    tried = {tuple(t.params.items()) for t in view.trials.values()}
    assert len(view.trials) == len(tried) == 6


def test_what_a_bound_leaves_of_a_small_space_is_tried_to_the_end():
    ask, view = make_sampler("tpe", PAIR, seed=0, start=4, allowed=lambda p: p["b"] == 1), View()
    for number in range(3):
        params, origin = propose(ask, view)
        view.trials[number] = ended(number, origin, (1.0, 1.0), params)
    assert {t.params["a"] for t in view.trials.values()} == {"x", "y", "z"}
    assert ask.propose(view) is None


def test_the_configurations_of_a_space_are_listed_unless_they_are_too_many():
    knobs: dict[str, Knob] = {"a": Choice(("x", "y")), "n": Int(1, 3, when={"a": "x"})}
    listed = list_configurations(Space("?", knobs, no_recipe))
    assert listed == [{"a": "x", "n": 1}, {"a": "x", "n": 2}, {"a": "x", "n": 3}, {"a": "y"}]
    assert list_configurations(Space("?", {"x": Float(0.0, 1.0)}, no_recipe)) is None
    many = Space("?", {f"c{i}": Choice((0, 1)) for i in range(30)}, no_recipe)
    assert list_configurations(many) is None
    assert list_configurations(Space("?", {"n": Int(0, 10**9)}, no_recipe)) is None


def spoiled(params):
    """Return the law's values, but -5,000 for a sixth of the configurations."""
    return (-5000.0, -5000.0) if random.Random(repr(params)).random() < 1 / 6 else law(params)


def tied(params):
    """Return the law's values in coarse steps."""
    natural, robust = law(params)
    return round(5 * natural) / 5, 20.0 * round(robust / 20)


@pytest.mark.parametrize(("value", "gain"), [(spoiled, 2.0), (tied, 0.0)])
def test_ties_and_far_off_values_do_not_end_learning(value, gain):
    areas = []
    for name in ("portfolio", "random"):
        view = search(SPACE, value, 30, seed=1, name=name)
        points = [t.result.point for t in view.trials.values() if t.result]
        areas.append(hypervolume(points, (-1.0, -50.0)))
    assert areas[0] >= areas[1] + gain
