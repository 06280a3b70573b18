import random
from contextlib import closing

import numpy as np
import optuna
import pytest
from formula_runs import KNOWN, SPACE, Formula, no_recipe, propose, score

from search.backends import serial
from search.interrupt import Interrupt
from search.record.ledger import Ledger, read
from search.record.pareto import hypervolume
from search.record.study_header import StudyHeader
from search.record.trial import EpochReport, Trial
from search.record.trial_result import ResultDetails, TrialResult
from search.record.view import View
from search.samplers.cost_aware_tpe import CostAwareTPE
from search.samplers.initial_design import sobol_params
from search.samplers.optuna_conversion import to_optuna_trial
from search.samplers.optuna_samplers import OptunaSampler, check_gp, make_gp, make_tpe
from search.samplers.table import make_sampler
from search.study import Study
from search.surrogates.cost_model import fit_cost_model
from spaces import Float, Space


def run_search(folder, trials, *, mishaps=None, seed=0, start=None):
    """Run a whole search in this process, with every event on disk."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl")
    ask = make_sampler("tpe", SPACE, seed=seed, start=start) if start else None
    study = Study(SPACE, ledger, trials=trials, seed=seed, sampler=ask)
    serial.search(study, Formula(1, mishaps=mishaps or {}), Interrupt())
    ledger.close()
    return ledger.view


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    return run_search(tmp_path_factory.mktemp("whole"), 24)


def test_known_points_then_sobol_then_the_estimator(view):
    origins = [t.origin for t in view.trials.values()]
    assert origins[:8] == ["known"] * 3 + ["sobol"] * 5
    assert set(origins[8:]) == {"tpe", "random"} and origins.count("tpe") > 10
    assert tuple(t.params for t in list(view.trials.values())[:3]) == KNOWN


def test_every_proposal_is_a_point_of_the_space(view):
    for trial in view.trials.values():
        SPACE.check(trial.params)
    assert {t.params["kind"] for t in view.trials.values()} == {"plain", "fancy"}


def test_sobol_spreads_over_the_knobs_and_into_their_conditions():
    points = []
    for number in range(64):
        view = View(trials=dict.fromkeys(range(number + 3), Trial(0, {}, 0, "known")))
        params, origin = propose(make_sampler("tpe", SPACE, seed=5, start=1000), view)
        assert origin == "sobol"
        SPACE.check(params)
        points.append(params)
    eighths = np.histogram([p["x"] for p in points], bins=8, range=(0, 1))[0]
    assert (eighths == 8).all()  # what Sobol promises, and chance does not
    decades = np.histogram([np.log10(p["waste"]) for p in points], bins=3, range=(-3, 0))[0]
    assert decades.min() >= 18
    fancy = [p["depth"] for p in points if p["kind"] == "fancy"]
    assert len(fancy) == 32 and set(fancy) == {1, 2, 3, 4}


def test_a_proposal_depends_on_nothing_but_the_ledger(view, tmp_path):
    again = run_search(tmp_path / "again", 24)
    other = run_search(tmp_path / "other", 24, seed=1)
    assert params(again) == params(view) != params(other)


@pytest.mark.parametrize("cut", [2, 5, 9, 13])
def test_an_interrupted_search_proposes_what_a_whole_one_does(view, tmp_path, cut):
    run_search(tmp_path / "parts", cut, start=8)
    assert params(run_search(tmp_path / "parts", 24)) == params(view)
    assert params(read(tmp_path / "parts" / "ledger.jsonl")) == params(view)


def params(view):
    return [dict(t.params) for _, t in sorted(view.trials.items())]


def test_the_estimator_beats_chance(tmp_path):
    """In the median of five seeds, by a margin."""
    ours, chance = [], []
    for seed in range(5):
        found = run_search(tmp_path / str(seed), 40, seed=seed, start=8)
        blind = run_search(tmp_path / f"blind {seed}", 40, seed=seed, start=1000)
        ours.append(area(t.params for t in list(found.trials.values())[8:]))
        chance.append(area(t.params for t in list(blind.trials.values())[8:]))
    assert np.median(ours) > np.median(chance) + 0.02


def area(points):
    scores = [score(p).point for p in points]
    return hypervolume([(c, a / 100) for c, a in scores], (-0.5, -0.5))


def test_optuna_sees_what_failed_as_failed_and_only_running_as_running(tmp_path):
    view = run_search(tmp_path / "run", 12, mishaps={4: "silent"})
    view.trials[5].state, view.trials[5].result = "stopped", None
    view.trials[6].state, view.trials[6].result = "running", None
    seen = [to_optuna_trial(SPACE, t, StudyHeader()).state for t in view.trials.values()]
    states = optuna.trial.TrialState
    assert seen[4:7] == [states.FAIL, states.FAIL, states.RUNNING]
    assert set(seen[:4] + seen[7:]) == {states.COMPLETE}


def test_points_that_still_run_are_not_proposed_again(tmp_path):
    run_search(tmp_path / "run", 12)
    with closing(Ledger(tmp_path / "run" / "ledger.jsonl")) as ledger:
        study = Study(SPACE, ledger, trials=20, seed=0)
        waiting = [study.suggest() for _ in range(8)]
        assert len({tuple(t.params.items()) for t in waiting if t}) == 8 and study.suggest() is None


def test_proposals_go_on_when_everything_has_failed(tmp_path):
    view = run_search(tmp_path / "run", 12, mishaps=dict.fromkeys(range(12), "silent"))
    assert {t.state for t in view.trials.values()} == {"failed"}
    assert len({tuple(p.items()) for p in params(view)}) == 12


def result(params, details=None):
    return TrialResult(score(params).objectives, {}, ResultDetails.from_json(details or {}))


def finished_view(space, points, seconds=lambda p: 1.0, details=lambda p: {}, header=None):
    """Return a view in which trials with these configurations have finished."""
    view = View(header=header or StudyHeader())
    for n, params in enumerate(points):
        space.check(params)
        trial = Trial(n, params, n, "test", "finished", result=result(params, details(params)))
        trial.epochs[1] = EpochReport(1, 1, seconds(params))
        view.trials[n] = trial
    return view


def propose_often(name, view, n, space=SPACE, seed=0):
    """Return n independent proposals of a sampler from this view."""
    optuna_sampler = OptunaSampler(space, MAKERS[name])
    return [optuna_sampler.propose_params(view, random.Random(f"{seed} {i}")) for i in range(n)]


MAKERS = {"tpe": make_tpe, "gp": make_gp}
SPREAD = [sobol_params(SPACE, i, 1) for i in range(40)]
FLAT = Space("flat", {"x": Float(0.0, 1.0), "waste": Float(0.001, 1.0, log=True)}, no_recipe)


@pytest.mark.parametrize("name", ["tpe", "nsga2", "random", "qmc"])
def test_each_sampler_proposes_points_of_the_space_and_goes_on_as_if_never_interrupted(
    name, tmp_path
):
    def searched(folder, parts):
        for trials in parts:
            ask = make_sampler(name, SPACE, seed=2, start=6)
            folder.mkdir(exist_ok=True)
            ledger = Ledger(folder / "ledger.jsonl")
            study = Study(SPACE, ledger, trials=trials, seed=2, sampler=ask)
            serial.search(study, Formula(1, mishaps={2 + 9: "silent"}), Interrupt())
            ledger.close()
        return ledger.view

    whole, parts = searched(tmp_path / "a", [24]), searched(tmp_path / "b", [1, 7, 8, 15, 24])
    assert params(whole) == params(parts)
    for trial in whole.trials.values():
        SPACE.check(trial.params)
    expected = {"qmc": {"sobol"}, "random": {"random"}}.get(name, {"sobol", name})
    assert expected <= {t.origin for t in whole.trials.values()}
    assert len({tuple(p.items()) for p in params(whole)}) == 24


@pytest.mark.slow
def test_gaussian_processes_find_the_front_of_a_flat_space():
    view = finished_view(FLAT, [{**sobol_params(FLAT, i, 1)} for i in range(10)])
    view.trials[10] = Trial(10, {"x": 0.5, "waste": 0.5}, 0, "test", "running")
    assert np.median([p["waste"] for p in propose_often("gp", view, 3, FLAT)]) < 0.02


def test_gaussian_processes_say_what_they_are_not_for():
    with pytest.raises(ValueError, match=r"'depth' is one: take tpe"):
        make_sampler("gp", SPACE, seed=0, start=4)
    with pytest.raises(ValueError, match=r"up to 500 trials, not 501"):
        check_gp(FLAT, 501)


@pytest.mark.parametrize("name", ["nsga2", "tpe"])
def test_what_learns_beats_chance_where_it_has_learned(name):
    ask = make_sampler(name, SPACE, seed=0, start=0)
    view, waste = finished_view(SPACE, SPREAD), []
    for n in range(30):
        params, origin = propose(ask, view)
        view.trials[len(view.trials)] = Trial(
            40 + n, params, 0, origin, "finished", result=result(params)
        )
        if origin == name:
            waste.append(float(params["waste"]))
    assert np.median(waste) < 0.01 < np.median([float(p["waste"]) for p in SPREAD])


def test_a_study_that_was_kept_proposes_what_one_from_scratch_does():
    view = finished_view(SPACE, SPREAD[:20])
    kept = OptunaSampler(SPACE, make_tpe)
    for n, state in enumerate(("running", "failed", "stopped", "running")):
        kept.propose_params(view, random.Random(n))
        view.trials[20 + n] = Trial(20 + n, SPREAD[20 + n], 0, "test", "running")
        kept.propose_params(view, random.Random(n))
        if n:
            view.trials[20 + n].state = state
        if n == 2:
            view.trials[20].state, view.trials[20].result = "finished", result(SPREAD[20])
        again = OptunaSampler(SPACE, make_tpe).propose_params(view, random.Random(99))
        assert kept.propose_params(view, random.Random(99)) == again
    view.trials[4].result = result(SPREAD[39])  # judged again by another battery
    again = OptunaSampler(SPACE, make_tpe).propose_params(view, random.Random(99))
    assert kept.propose_params(view, random.Random(99)) == again
    assert kept.propose_params(finished_view(SPACE, SPREAD[:9]), random.Random(1)) == OptunaSampler(
        SPACE, make_tpe
    ).propose_params(finished_view(SPACE, SPREAD[:9]), random.Random(1))


def test_the_start_is_spread_and_a_tenth_is_drawn_at_random():
    ask = make_sampler("tpe", SPACE, seed=3, start=8)
    view, origins = View(), []
    for n in range(80):
        params, origin = propose(ask, view)
        view.trials[n] = Trial(n, params, n, origin, "finished", result=result(params))
        origins.append(origin)
    assert origins[:8] == ["known"] * 3 + ["sobol"] * 5
    assert 2 <= origins[8:].count("random") <= 16
    assert set(origins[8:]) == {"tpe", "random"}


def test_proposals_of_other_seeds_are_not_the_same_ones_shifted():
    draws = [make_sampler("random", FLAT, seed=s, start=0) for s in (0, 1)]
    views = [View(trials=dict.fromkeys(range(n), Trial(0, {}, 0, "known"))) for n in (0, 1)]
    assert draws[0].propose(views[1]) != draws[1].propose(views[0])


def test_cost_is_learned_as_a_product_over_the_knobs():
    def seconds(p):
        return 3.0 * (4.0 if p["kind"] == "fancy" else 1.0) * p.get("depth", 1) ** 2

    model = fit_cost_model(SPACE, list(finished_view(SPACE, SPREAD, seconds).trials.values()))
    assert model is not None
    for point in SPREAD:
        assert model.seconds(point) == pytest.approx(seconds(point), rel=0.1)
    assert (
        fit_cost_model(SPACE, list(finished_view(SPACE, SPREAD[:7], seconds).trials.values()))
        is None
    )


def test_of_points_as_promising_the_cheap_ones_are_preferred():
    """`idle` has no effect on the results, but changes the time by a factor of 100."""
    space = Space("?", {**FLAT.knobs, "idle": Float(1.0, 100.0, log=True)}, no_recipe)
    points = [sobol_params(space, i, 1) for i in range(40)]
    dear = propose_often("tpe", finished_view(space, points, lambda p: p["idle"]), 40, space)
    same = propose_often("tpe", finished_view(space, points), 40, space)
    saved = [np.log(b["idle"] / a["idle"]) for a, b in zip(dear, same, strict=True)]
    assert np.mean(saved) > 0.2 and np.min(saved) > -0.7


def test_infeasible_trials_are_told_so_and_avoided():
    """All trials with small x, where half of the front is, have too many parameters."""
    details = lambda p: {"parameters": 10**7 if p["x"] < 0.5 else 1000}  # noqa: E731
    header = StudyHeader(constraints={"params": 5e6})
    view = finished_view(SPACE, SPREAD, details=details, header=header)
    assert all(t.params["x"] >= 0.5 for t in view.front()) and view.front()
    seen = to_optuna_trial(SPACE, view.trials[0], header)
    assert seen.constraints["params"] == details(SPREAD[0])["parameters"] - 5e6
    free = finished_view(SPACE, SPREAD, details=details)
    for name in ("tpe", "nsga2"):
        ask = [make_sampler(name, SPACE, seed=s, start=0) for s in range(30)]
        bound, unbound = ([propose(a, v)[0]["x"] for a in ask] for v in (view, free))
        assert np.mean(np.array(bound) < 0.5) < 0.4 < np.mean(np.array(unbound) < 0.5) + 0.1


def test_points_that_cannot_keep_a_bound_are_never_tried():
    ask = make_sampler("tpe", SPACE, seed=0, start=8, allowed=lambda p: float(p["x"]) > 0.8)
    view = View()
    for n in range(20):
        params, origin = propose(ask, view)
        assert float(params["x"]) > 0.8
        view.trials[n] = Trial(n, params, n, origin, "finished", result=result(params))
    with pytest.raises(ValueError, match="satisfies the constraints"):
        make_sampler("tpe", SPACE, seed=0, start=8, allowed=lambda p: False).propose(View())


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_where_costs_do_not_differ_it_is_optunas_own_estimator():
    """We override private methods: a new Optuna may break them."""
    view = finished_view(FLAT, [sobol_params(FLAT, i, 1) for i in range(30)])
    view.trials[30] = Trial(30, {"x": 0.5, "waste": 0.5}, 0, "test", "running")
    for seed in range(5):
        theirs = optuna.samplers.TPESampler(
            multivariate=True, group=True, constant_liar=True, n_startup_trials=4, seed=seed
        )
        study = optuna.create_study(directions=["maximize", "maximize"], sampler=theirs)
        study.add_trials([to_optuna_trial(FLAT, t, StudyHeader()) for t in view.trials.values()])
        ask = study.ask()
        for name, knob in FLAT.knobs.items():
            assert isinstance(knob, Float)
            ask.suggest_float(name, knob.low, knob.high, log=knob.log)
        optuna_sampler = OptunaSampler(FLAT, make_tpe)
        optuna_sampler.propose_params(view, random.Random(0))
        assert optuna_sampler._ask(CostAwareTPE(FLAT, None, seed)) == ask.params
