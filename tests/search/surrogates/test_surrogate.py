import random

import numpy as np
import pytest
from formula_runs import SPACE, Formula, propose

from search.record.pareto import hypervolume
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.replay.simulator import StudyMethod, make_simulated_study, simulate
from search.samplers.gp_sampler import LOW_R2, GPSampler, model_share
from search.samplers.table import make_sampler
from search.surrogates.encoding import encode_params, encode_positions
from search.surrogates.expected_hypervolume import expected_improvement
from search.surrogates.gaussian_process import (
    OFFSET,
    GaussianProcess,
    Observations,
    _negative_log_likelihood,
    _unpack,
    fit_kernel,
)
from search.surrogates.surrogate import Surrogate
from spaces import Choice, Float, Int, Space


def no_recipe(**params):
    raise NotImplementedError


def test_a_place_is_where_its_point_lies():
    rng = np.random.default_rng(0)
    for row in rng.random((200, len(SPACE.knobs))):
        point = SPACE.at(row)
        again = SPACE.at(SPACE.position(point))
        assert {k: v for k, v in again.items() if isinstance(v, str | int)} == {
            k: v for k, v in point.items() if isinstance(v, str | int)
        }
        assert again["x"] == pytest.approx(point["x"]) and set(again) == set(point)
        assert again["waste"] == pytest.approx(point["waste"])


def test_choices_lie_one_apart_and_a_missing_knob_in_the_middle():
    a = encode_params(SPACE, [{"x": 0.5, "waste": 0.1, "kind": "plain"}])[0]
    b = encode_params(SPACE, [{"x": 0.5, "waste": 0.1, "kind": "fancy", "depth": 1}])[0]
    assert np.linalg.norm(a[:4] - b[:4]) == pytest.approx(1.0) and a[4] == 0.5
    small = Space("?", {"n": Int(1, 3), "c": Choice(("a", "b")), "f": Float(0.0, 1.0)}, no_recipe)
    found = encode_positions(small, np.array([[0.0, 0.0, 0.2], [0.3, 0.4, 0.2], [0.34, 0.9, 0.2]]))
    assert (found[0] == found[1]).all() and (found[0] != found[2]).any()


def test_a_place_is_encoded_as_its_point_is():
    space = Space(
        "?",
        {
            **SPACE.knobs,
            "n": Int(2, 40, log=True, when={"kind": "fancy"}),
            "m": Float(0.0, 1.0, when={"depth": (1, 3)}),
        },
        no_recipe,
    )
    rows = np.random.default_rng(1).random((200, len(space.knobs)))
    points = [space.at(row) for row in rows]
    assert encode_positions(space, rows) == pytest.approx(encode_params(space, points))
    assert {len(p) for p in points} == {3, 5, 6}


def some(n=30, seed=0):
    rng = np.random.default_rng(seed)
    return Observations(rng.random((n, 4)), np.array([0, 1, 2] * (n // 3)), rng.normal(size=n))


def test_the_gradient_of_the_likelihood_is_its_difference_quotient():
    data, columns = some(), [0, 1, 1, 2]
    theta = np.random.default_rng(1).normal(0, 0.3, 3 + 3 * 3 + 1)
    gradient = _negative_log_likelihood(data, _unpack(theta, 3, 3), columns)[1]
    steps = 1e-5 * np.eye(len(theta))
    quotients = [
        (
            _negative_log_likelihood(data, _unpack(theta + s, 3, 3), columns)[0]
            - _negative_log_likelihood(data, _unpack(theta - s, 3, 3), columns)[0]
        )
        / 2e-5
        for s in steps
    ]
    assert gradient == pytest.approx(np.array(quotients), abs=1e-6)


def test_the_posterior_is_that_of_a_joint_normal():
    data, columns = some(12), [0, 1, 2, 3]
    params = _unpack(np.random.default_rng(2).normal(-0.5, 0.2, 4 + 9 + 1), 4, 3)
    x = np.random.default_rng(3).random((3, 4))
    mean, sd = GaussianProcess(data, params, columns).predict(x)
    end = np.zeros(3, dtype=int)
    k = params.covariance(data.x, data.fidelity, data.x, data.fidelity, columns)
    k = k + np.diag(np.exp(params.noise)[data.fidelity] + 1e-6)
    cross = params.covariance(x, end, data.x, data.fidelity, columns)
    assert mean == pytest.approx(cross @ np.linalg.solve(k, data.y), abs=1e-6)
    prior = np.exp(params.scale) + OFFSET
    left = prior - np.einsum("ij,ij->i", cross, np.linalg.solve(k, cross.T).T)
    assert sd == pytest.approx(np.sqrt(left), abs=1e-6)


def test_a_value_left_out_is_missed_as_by_a_process_without_it():
    data, columns = some(12), [0, 1, 2, 3]
    params = _unpack(np.random.default_rng(2).normal(-0.5, 0.2, 4 + 9 + 1), 4, 3)
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 6, 7, 8])
    missed = GaussianProcess(data, params, columns).loo_residuals(groups)
    for group in range(9):
        own, rest = groups == group, groups != group
        known = GaussianProcess(
            Observations(data.x[rest], data.fidelity[rest], data.y[rest]), params, columns
        )
        s, t = data.fidelity[own], data.fidelity[rest]
        predicted = params.covariance(data.x[own], s, data.x[rest], t, columns) @ known.weights
        assert missed[own] == pytest.approx(data.y[own] - predicted, abs=1e-6)


def test_rungs_teach_about_the_end_of_points_that_never_got_there():
    rng = np.random.default_rng(0)
    x = rng.random((40, 2))
    value = np.sin(4 * x[:, 0]) - x[:, 1]
    fidelity = np.array([0] * 10 + [1] * 40)
    observed = np.concatenate([value[:10], 0.8 * value - 3.0]) + 0.02 * rng.normal(size=50)
    both = Observations(np.concatenate([x[:10], x]), fidelity, observed)
    alone = Observations(x[:10], fidelity[:10], observed[:10])
    new = rng.random((100, 2))
    want = np.sin(4 * new[:, 0]) - new[:, 1]
    errors = [
        np.abs(
            GaussianProcess(d, fit_kernel(d, [0, 1], many), [0, 1]).predict(new)[0] - want
        ).mean()
        for d, many in ((both, 2), (alone, 1))
    ]
    assert errors[0] < 0.5 * errors[1] and errors[0] < 0.1


def test_the_expected_gain_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    points, corner = [(0.2, 0.9), (0.5, 0.6), (0.9, 0.1), (0.4, 0.4)], (0.0, 0.05)
    mean, sd = rng.random((4, 2)), rng.uniform(0.05, 0.4, (4, 2))
    before = hypervolume(points, corner)
    for i in range(4):
        draws = mean[i] + sd[i] * rng.normal(size=(4000, 2))
        gains = [hypervolume([*points, d], corner) - before for d in draws]
        error = np.std(gains) / 4000**0.5
        assert expected_improvement(mean, sd, points, corner)[i] == pytest.approx(
            np.mean(gains), abs=4 * error
        )


def test_with_no_front_the_gain_is_the_product_of_both_excesses():
    gain = expected_improvement(np.array([[2.0, 3.0]]), np.array([[1e-9, 1e-9]]), [], (0.0, 1.0))
    assert gain[0] == pytest.approx(4.0)


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    study = make_simulated_study(
        SPACE, trials=30, seed=0, sampler=make_sampler("kriging", SPACE, seed=0, start=6)
    )
    run = Formula(1)
    simulate(
        StudyMethod(study), lambda p, s, f: run(p, s, folder / str(s)), workers=4, budget=10**4
    )
    return study.view


def test_every_proposal_is_a_point_and_depends_on_the_ledger_alone(searched):
    for trial in searched.trials.values():
        SPACE.check(trial.params)
    assert "kriging" in {t.origin for t in searched.trials.values()}
    once, again = (GPSampler(SPACE).propose_params(searched, random.Random(5)) for _ in range(2))
    assert once == again


def test_it_finds_the_front_of_the_formula(searched):
    found = hypervolume([t.result.point for t in searched.in_state("finished")], (0, 0))
    # Of the front itself: the integral of 1 - x^2 up to what the least waste costs.
    assert found > 0.9 * 100 * 2 / 3


def test_workers_are_not_sent_after_the_same_gain(searched):
    view = View(trials=dict(searched.trials))
    first = GPSampler(SPACE).propose_params(view, random.Random(1))
    assert first is not None
    before = Surrogate(SPACE, view)
    number = max(view.trials) + 1
    view.apply(
        {
            "event": "proposed",
            "trial": number,
            "params": first,
            "seed": 0,
            "origin": "kriging",
            "time": 0.0,
        }
    )
    after = Surrogate(SPACE, view)
    here = np.array([SPACE.position(first)])
    gains = [
        expected_improvement(*b.predict(here), b.known_means, b.reference_point)[0]
        for b in (before, after)
    ]
    assert gains[1] < 0.5 * gains[0]


def finished_view(value_of, origin="random"):
    """Return a view of 24 finished trials with random configurations."""
    view, names = View(), ("natural_accuracy", "attacked_score")
    for number in range(24):
        chance = random.Random(number)
        params = SPACE.at([chance.random() for _ in SPACE.knobs])
        made = TrialResult(dict(zip(names, value_of(params, chance), strict=True)))
        view.trials[number] = Trial(number, params, 0, origin, "finished", result=made)
    return view


def noise(params, chance):
    return chance.random(), 100 * chance.random()


def law(params, chance):
    return params["x"] - params["waste"], 100 * (1 - params["x"] ** 2 - params["waste"])


def test_a_model_chooses_points_only_where_it_can_tell():
    """R^2 is high for a law and low for noise; trials that a model proposed do not count."""
    r2 = [
        Surrogate(SPACE, view).loo_r2
        for view in (finished_view(law), finished_view(noise), finished_view(law, "kriging"))
    ]
    assert r2[0] > 0.8 and r2[1] < LOW_R2 and r2[2] == 0.0
    assert [model_share(s) for s in (-1.0, 0.2, 0.4, 0.6, 1.0)] == pytest.approx([0, 0, 0.5, 1, 1])
    draws = [
        GPSampler(SPACE).propose_params(finished_view(noise), random.Random(s)) for s in range(5)
    ]
    assert draws == [None] * 5
    assert GPSampler(SPACE).propose_params(finished_view(law), random.Random(0)) is not None
    ask = make_sampler("kriging", SPACE, seed=0, start=4)
    assert {propose(ask, finished_view(noise))[1]} <= {"sobol", "random"}
