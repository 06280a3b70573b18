import random

import numpy as np
import pytest
from formula_runs import SPACE, Formula, propose

from search.record.pareto import hypervolume
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.replay.simulator import StudyMethod, make_simulated_study, simulate
from search.samplers.model_sampler import ModelSampler, fit_forest, fit_gaussian_processes
from search.samplers.table import make_sampler
from search.surrogates.encoding import columns_of, encode_params, encode_positions
from search.surrogates.ensemble import Ensemble
from search.surrogates.expected_hypervolume import (
    correlated_improvement,
    expected_improvement,
)
from search.surrogates.forest import Forest
from search.surrogates.gaussian_process import (
    Columns,
    GaussianProcess,
    Observations,
    _negative_log_likelihood,
    _unpack,
    fit_kernel,
)
from search.surrogates.robust_scale import rank_correlation, robust_scale
from search.surrogates.skill import USEFUL, rank_skill
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
    data, columns = some(), Columns((0, 1, 1, 2), (False, True, True, False))
    theta = np.random.default_rng(1).normal(0, 0.3, 3 + 3 * 3 + 1 + 2)
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
    data, columns = some(12), Columns((0, 1, 2, 3), (False, True, False, False))
    params = _unpack(np.random.default_rng(2).normal(-0.5, 0.2, 4 + 9 + 1 + 3), 4, 3)
    x = np.random.default_rng(3).random((3, 4))
    mean, sd = GaussianProcess(data, params, columns).predict(x)
    end = np.zeros(3, dtype=int)
    k = params.covariance(data.x, data.fidelity, data.x, data.fidelity, columns)
    k = k + np.diag(np.exp(params.noise)[data.fidelity] + 1e-6)
    cross = params.covariance(x, end, data.x, data.fidelity, columns)
    assert mean == pytest.approx(cross @ np.linalg.solve(k, data.y), abs=1e-6)
    prior = np.diag(params.covariance(x, end, x, end, columns))
    left = prior - np.einsum("ij,ij->i", cross, np.linalg.solve(k, cross.T).T)
    assert sd == pytest.approx(np.sqrt(left), abs=1e-6)


def test_the_main_effect_of_a_number_is_a_smooth_function_with_mean_zero_and_its_variance():
    columns = Columns((0, 1, 1, 2), (False, True, True, False))
    params = _unpack(np.array([0.0] * 7 + [np.log(2.0), np.log(0.5)]), 3, 1)
    line, rest = np.linspace(0, 1, 201), np.zeros((201, 2))
    x = np.stack([line, *rest.T, np.full(201, 0.5)], 1)
    features = params.main_effects(x, columns)
    first, second = np.split(features, 2, axis=1)
    assert (first**2).sum(1).mean() == pytest.approx(2.0, rel=0.02)
    assert first.mean(axis=0) == pytest.approx(0.0, abs=0.02)
    assert np.ptp(second, axis=0) == pytest.approx(0.0, abs=1e-12)  # the other number is constant
    d = np.sqrt(5) * np.abs(line[:, None] - line)
    matern = (1 + d + d * d / 3) * np.exp(-d)
    matern = matern - matern.mean(0) - matern.mean(1)[:, None] + matern.mean()
    expected = 2.0 * matern / np.trace(matern) * 201
    assert first @ first.T == pytest.approx(expected, abs=0.05)
    assert params.main_effects(x[:0], columns).shape == (0, features.shape[1])


def test_what_a_number_does_alone_is_told_from_few_trials():
    rng = np.random.default_rng(0)
    x, new = rng.random((24, 7)), rng.random((300, 7))
    columns = Columns(tuple(range(7)), (False,) * 7)

    def value(rows):
        return (rows - 0.4) ** 2 @ np.arange(1.0, 8.0)

    unit, mean = value(new).std(), value(new).mean()
    data = Observations(x, np.zeros(24, dtype=int), (value(x) - mean) / unit)
    process = GaussianProcess(data, fit_kernel(data, columns, 1), columns)
    missed = (value(new) - mean) / unit - process.predict(new)[0]
    assert missed.std() < 0.2


def test_a_value_left_out_is_missed_as_by_a_process_without_it():
    data, columns = some(12), Columns((0, 1, 2, 3), (False, True, False, False))
    params = _unpack(np.random.default_rng(2).normal(-0.5, 0.2, 4 + 9 + 1 + 3), 4, 3)
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
    columns = Columns((0, 1), (False, False))
    errors = [
        np.abs(
            GaussianProcess(d, fit_kernel(d, columns, many), columns).predict(new)[0] - want
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


@pytest.mark.parametrize("correlation", [-0.8, 0.0, 0.5])
def test_the_expected_gain_of_correlated_errors_is_that_of_many_draws(correlation):
    rng = np.random.default_rng(0)
    points, corner = np.array([(0.2, 0.9), (0.5, 0.6), (0.9, 0.1)]), (0.0, 0.05)
    mean, sd = np.array([[0.5, 0.5], [0.7, 0.7]]), np.array([[0.3, 0.2], [0.1, 0.4]])
    found = correlated_improvement(mean, sd, correlation, points, corner)
    cov = np.array([[1.0, correlation], [correlation, 1.0]])
    draws = rng.multivariate_normal((0, 0), cov, 100_000)
    for i in range(2):
        gains = expected_improvement(mean[i] + sd[i] * draws, None, points, corner)
        assert found[i] == pytest.approx(gains.mean(), rel=0.05)


def test_objectives_in_conflict_promise_less():
    """Unsure of both, a model expects the less, the more they are in conflict."""
    mean, sd, points = np.zeros((1, 2)), np.ones((1, 2)), [(0.5, -0.5), (-0.5, 0.5)]
    gains = [
        correlated_improvement(mean, sd, c, points, (-2.0, -2.0))[0] for c in (0.0, -0.5, -0.9)
    ]
    assert gains[0] > gains[1] > gains[2] > 0


@pytest.mark.parametrize("draw", ["normal", "ties"])
def test_the_gain_of_known_values_is_the_difference_of_two_hypervolumes(draw):
    rng = np.random.default_rng(0)
    for size in (0, 1, 2, 7, 30):
        for _ in range(8):
            if draw == "ties":
                points, new = (rng.integers(-3, 8, (n, 2)).astype(float) for n in (size, 50))
            else:
                points, new = (rng.normal(size=(n, 2)) for n in (size, 50))
            corner = (-1.0, -0.5)
            before = hypervolume(points, corner)
            expected = [hypervolume([*points, one], corner) - before for one in new]
            gains = expected_improvement(new, None, points, corner)
            assert gains == pytest.approx(expected, abs=1e-12)


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
    once, again = (
        ModelSampler(SPACE, fit_gaussian_processes).propose_params(searched, random.Random(5))
        for _ in range(2)
    )
    assert once == again


def test_it_finds_the_front_of_the_formula(searched):
    found = hypervolume([t.result.point for t in searched.in_state("finished")], (0, 0))
    # Of the front itself: the integral of 1 - x^2 up to what the least waste costs.
    assert found > 0.9 * 100 * 2 / 3


def test_workers_are_not_sent_after_the_same_gain(searched):
    view = View(trials=dict(searched.trials))
    first = ModelSampler(SPACE, fit_gaussian_processes).propose_params(view, random.Random(1))
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


def noise_of(seed):
    """Return objectives that depend on nothing."""
    draw = random.Random(seed)
    return lambda params, chance: (draw.random(), 100 * draw.random())


def law(params, chance):
    return params["x"] - params["waste"], 100 * (1 - params["x"] ** 2 - params["waste"])


def test_a_model_chooses_points_only_where_it_can_tell():
    """The skill is high for a law and low for noise; trials that a model proposed do not count."""
    for model, origin in ((Surrogate, "kriging"), (Forest, "forest")):
        assert model(SPACE, finished_view(law)).skill > 0.95
        assert model(SPACE, finished_view(law, origin)).skill == 0.0
        blind = [model(SPACE, finished_view(noise_of(seed))).skill for seed in range(3)]
        assert np.mean(blind) < 0.5
    draws = [
        ModelSampler(SPACE, fit_gaussian_processes).propose_params(
            finished_view(law, "kriging"), random.Random(s)
        )
        for s in range(5)
    ]
    assert draws == [None] * 5
    assert (
        ModelSampler(SPACE, fit_gaussian_processes).propose_params(
            finished_view(law), random.Random(0)
        )
        is not None
    )
    ask = make_sampler("kriging", SPACE, seed=0, start=4)
    assert {propose(ask, finished_view(law, "kriging"))[1]} <= {"sobol", "random"}


def test_the_skill_is_the_probability_of_a_useful_rank_correlation():
    """Fisher's interval: at a correlation of `USEFUL` it is a half."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(2000, 2))
    noisy = y + np.sqrt(1 / USEFUL**2 - 1) * rng.normal(size=y.shape)
    draws = [rank_skill(noisy[i : i + 20], y[i : i + 20]) for i in range(0, 2000, 20)]
    assert 0.4 < np.mean(draws) < 0.6
    assert rank_skill(y[:20], y[:20]) > 0.99 and rank_skill(-y[:20], y[:20]) < 1e-6
    assert rank_skill(y[:4], y[:4]) == 0.0
    constant = np.column_stack([y[:20, 0], np.ones(20)])
    assert rank_skill(constant, constant) > 0.99  # what is constant does not count


def test_the_robust_scale_is_linear_near_the_median_and_bounded_beyond():
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    scaled = robust_scale(y)
    assert scaled.mean() == pytest.approx(0) and scaled.std() == pytest.approx(1)
    assert np.corrcoef(y, scaled)[0, 1] > 0.99 and (np.argsort(y) == np.argsort(scaled)).all()
    far = np.concatenate([y, np.full(150, -5000.0), [-9000.0, 1e4]])
    moved = robust_scale(far)
    assert (np.argsort(far, kind="stable") == np.argsort(moved, kind="stable")).all()
    assert np.ptp(moved[:400]) > 0.4 * np.ptp(moved)  # what is far off leaves room for the rest
    skewed = np.concatenate([rng.random(60), [4.0, 8.0, 16.0]])  # the front may lie in the tail
    high = robust_scale(skewed)[-3:]
    assert np.diff(high).min() > 0.2


def test_the_robust_scale_does_not_depend_on_the_unit():
    y = np.random.default_rng(1).normal(size=33)
    assert (robust_scale(1e-6 * y) == robust_scale(y)).all()
    assert robust_scale(y + 1000) == pytest.approx(robust_scale(y), abs=1e-8)


@pytest.mark.parametrize(
    "values", [[5.0, 5.0], [], [1.0], [0.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]]
)
def test_the_robust_scale_bears_ties(values):
    scaled = robust_scale(values)
    assert np.isfinite(scaled).all() and len(scaled) == len(values)
    assert len(set(scaled.tolist())) == len(set(values))


def scaled_view(transform):
    """Return the view of a law with transformed objectives."""
    return finished_view(lambda p, chance: transform(*law(p, chance)))


@pytest.mark.parametrize("fit", [fit_gaussian_processes, fit_forest])
def test_units_do_not_change_what_is_proposed(fit):
    plain, small = scaled_view(lambda a, b: (a, b)), scaled_view(lambda a, b: (1e-6 * a, 7 + b))
    proposed = [
        ModelSampler(SPACE, fit).propose_params(view, random.Random(3)) for view in (plain, small)
    ]
    assert proposed[0] == proposed[1] is not None


@pytest.mark.parametrize("model", [Surrogate, Forest])
def test_values_that_are_far_off_do_not_blind_a_model(model):
    """A sixth of the trials at -5,000: the others are ranked nearly as well as without them."""
    broken = scaled_view(lambda a, b: (a, b))
    for number in range(0, 24, 6):
        far = TrialResult(dict.fromkeys(("natural_accuracy", "attacked_score"), -5000.0))
        broken.trials[number].result = far
    points = [SPACE.at(row) for row in np.random.default_rng(3).random((200, len(SPACE.knobs)))]
    truth = np.array([law(p, None) for p in points])
    mean = model(SPACE, broken).predict(np.array([SPACE.position(p) for p in points]))[0]
    assert min(rank_correlation(mean[:, j], truth[:, j]) for j in (0, 1)) > 0.6


def test_a_trade_off_is_learned_as_a_correlation_of_the_errors():
    """One objective falls as the other rises, for reasons that no hyperparameter tells."""
    draw = random.Random(0)

    def conflict(params, chance):
        u = draw.random()
        return u, 100 * (1 - u)

    assert Surrogate(SPACE, finished_view(conflict)).correlation < -0.6
    assert abs(Surrogate(SPACE, finished_view(noise_of(5))).correlation) < 0.5


def test_the_ensemble_trusts_the_better_model_and_wants_both_convinced():
    view = finished_view(law)
    process, forest = Surrogate(SPACE, view), Forest(SPACE, view)
    both = Ensemble([process, forest])
    assert process.accuracy > forest.accuracy > 0.5
    assert both.weights[0] > both.weights[1] and both.weights.sum() == pytest.approx(1)
    rows = np.random.default_rng(0).random((50, len(SPACE.knobs)))
    one, other, found = (m.expected_gain(rows) for m in (process, forest, both))
    assert (found >= np.minimum(one, other)).all()
    assert (found <= np.maximum(np.maximum(one, other), 1e-9) + 1e-12).all()
    assert found[(one <= 0) | (other <= 0)].max(initial=0.0) < found.max()


@pytest.mark.parametrize("model", [Surrogate, Forest])
def test_a_constant_objective_leaves_the_other_to_be_sought(model):
    """The gain is largest where the other objective is predicted to be largest."""
    view = scaled_view(lambda a, b: (0.5, b))
    fitted = model(SPACE, view)
    positions = np.random.default_rng(0).random((300, len(SPACE.knobs)))
    mean, gain = fitted.predict(positions)[0], fitted.expected_gain(positions)
    assert np.isfinite(gain).all() and fitted.skill > 0.9
    assert (mean[:, 0] == 0).all() and mean[np.argmax(gain), 1] > np.quantile(mean[:, 1], 0.9)


def test_options_of_a_choice_are_exchangeable():
    """Renaming the options, which reorders them, changes no prediction."""
    options = ("a", "b", "c", "d")
    points = [(o, x) for o in options for x in (0.1, 0.4, 0.6, 0.9)]
    y = np.array([{"a": 1, "b": -1, "c": 2, "d": 0}[o] + x for o, x in points])
    means = []
    for order in (options, ("c", "a", "d", "b")):
        space = Space("?", {"o": Choice(order), "x": Float(0.0, 1.0)}, no_recipe)
        x = encode_params(space, [{"o": o, "x": v} for o, v in points])
        data, columns = Observations(x, np.zeros(16, dtype=int), y), columns_of(space)
        process = GaussianProcess(data, fit_kernel(data, columns, 1), columns)
        new = encode_params(space, [{"o": o, "x": 0.5} for o in options])
        means.append(process.predict(new)[0])
    assert means[0] == pytest.approx(means[1], abs=1e-6)
    assert list(np.argsort(means[0])) == [1, 3, 0, 2]
