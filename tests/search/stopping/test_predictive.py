"""Predictive stopping: the model of learning curves, and the test that the rule has to pass."""

import random

import numpy as np
import pytest
from formula_runs import SPACE
from scipy.stats import t as student

from search.record.derived_ledgers import MemoryLedger
from search.record.trial import EpochReport, Rung
from search.record.trial_result import TrialResult
from search.samplers.table import make_sampler
from search.stopping.audit import describe_stopping
from search.stopping.curve_model import CurveModel, Prediction
from search.stopping.predictive import Predictive, StoppingTest
from search.study import Study


def random_curves(n, seed=0, noise=0.02):
    rng = np.random.default_rng(seed)
    rungs = rng.random((n, 2))
    finals = rungs + 0.3 + 0.2 * rungs[:, ::-1] + noise * rng.standard_normal((n, 2))
    return rungs, finals


def test_residuals_are_those_of_models_fitted_without_the_trial():
    rungs, finals = random_curves(12)
    model = CurveModel(rungs, rungs, finals)
    for i in range(12):
        left = CurveModel(*(np.delete(a, i, axis=0) for a in (rungs, rungs, finals)))
        left.__dict__["_unit"] = model._unit  # the scale of the features is of all trials
        expected = left.predict(rungs[i], rungs[i]).mean
        assert model.predict_left_out(i).mean == pytest.approx(expected)
        assert model.residuals[i] == pytest.approx(finals[i] - expected)


def test_all_trials_are_left_out_at_once_as_one_by_one():
    rungs, finals = random_curves(40, noise=0.2)
    model = CurveModel(rungs, rungs, finals)
    others = np.concatenate([finals, random_curves(30, seed=1)[1], finals[:3]])  # some twice
    expected = [
        model.predict_left_out(i).front_probability(
            np.delete(others, np.flatnonzero((others == own).all(axis=1))[:1], axis=0)
        )
        for i, own in enumerate(finals)
    ]
    assert model.left_out_probabilities(others) == pytest.approx(expected)
    assert min(max(expected), 1 - min(expected)) > 0


def test_a_linear_gain_is_learned_and_the_noise_is_measured():
    rungs, finals = random_curves(200)
    found = CurveModel(rungs, rungs, finals).predict(np.full(2, 0.5), np.array([0.5, 0.5]))
    assert found.mean == pytest.approx([0.9, 0.9], abs=0.01)
    assert np.sqrt(np.diag(found.covariance)) == pytest.approx([0.02, 0.02], rel=0.2)


def test_few_trials_are_expected_to_gain_about_the_same():
    rungs = np.array([[0.1, 0.9], [0.3, 0.7], [0.5, 0.5], [0.7, 0.3], [0.9, 0.1]])
    found = CurveModel(rungs, rungs, rungs + np.array([0.2, 0.1])).predict(np.zeros(2), np.zeros(2))
    assert found.mean == pytest.approx([0.2, 0.1])


def test_the_probability_of_the_front_is_the_closed_form_for_one_other_trial():
    """With one other trial it is 1 - P(both objectives are below), here of two independent ts."""
    spread = np.array([0.3, 2.0])
    wide = Prediction(np.zeros(2), np.diag(spread**2), 1e6)  # as good as normal
    for gap in (-1.0, 0.0, 0.5, 2.0):
        below = student(1e6).cdf(gap) ** 2
        found = wide.front_probability(gap * spread[None])
        assert found == pytest.approx(1 - below, abs=0.02)
    heavy = Prediction(np.zeros(2), np.diag(spread**2), 3.0)
    assert heavy.front_probability(4 * spread[None]) > wide.front_probability(4 * spread[None])
    assert wide.front_probability(np.array([[9.0, -9.0], [-9.0, 90.0]])) > 0.99


def test_a_gain_that_a_high_learning_rate_still_has_to_come_is_told_by_the_rate():
    rng = np.random.default_rng(1)
    rungs, rate = rng.random((40, 2)), np.where(np.arange(40) % 2, 1.0, 0.1)
    finals = rungs + 0.3 * rate[:, None]
    model = CurveModel(np.c_[rungs, rate], rungs, finals)
    for share, gain in ((1.0, 0.3), (0.1, 0.03)):
        found = model.predict(np.array([0.5, 0.5, share]), np.full(2, 0.5)).mean - 0.5
        assert found == pytest.approx([gain, gain], abs=0.03)


class OneRungStudy:
    """Runs trials to a rung at epoch 2 of 6 and, if they continue, to the end."""

    def __init__(self, **changes):
        self.ledger = MemoryLedger()
        ask = make_sampler("random", SPACE, seed=0, start=0)
        stopper = Predictive(**{"audit": 0.0, **changes})
        self.study = Study(SPACE, self.ledger, trials=1000, seed=0, sampler=ask, stopper=stopper)

    def __call__(self, point, end):
        trial = self.study.suggest()
        assert trial is not None
        rung = Rung(2, 1.0, dict(zip(("natural_accuracy", "attacked_score"), point, strict=True)))
        if self.study.update(trial.number, EpochReport(2, 6, 1.0, {}, rung=rung)):
            values = dict(zip(("natural_accuracy", "attacked_score"), end, strict=True))
            self.study.update(trial.number, EpochReport(6, 6, 1.0, {}, TrialResult(values)))
        return trial

    @property
    def view(self):
        return self.ledger.view


def search(trials, noise, stopper=None, seed=1):
    """Trials whose rung values are the final ones but for noise; the front is x + y = 1."""
    chance = random.Random(seed)
    study = OneRungStudy(**stopper or {})
    points = []
    for _ in range(trials):
        x, waste = chance.random(), 0.7 * chance.random()
        end = (x - waste, 1 - x - waste)
        points.append(end)
        study((end[0] + chance.gauss(0, noise), end[1] + chance.gauss(0, noise)), end)
    return study.view, points


def test_where_early_values_tell_hopeless_trials_are_stopped_and_no_good_one():
    view, points = search(80, 0.02)
    stopped = [t.number for t in view.in_state("stopped")]
    assert len(stopped) > 20 and min(stopped) >= 12
    best = {i for i, p in enumerate(points) if not any(q[0] > p[0] and q[1] > p[1] for q in points)}
    assert not best & set(stopped)
    reason = view.trials[stopped[0]].reason
    assert reason.startswith("on the front with probability 0.0")
    assert reason.endswith("finished trials with so little, 0 ended there")


def test_where_early_values_tell_nothing_no_trial_is_stopped_and_nothing_is_said():
    view, _ = search(60, 3.0)
    assert not view.in_state("stopped") and describe_stopping(view) == []


def test_few_trials_are_never_stopped():
    view, _ = search(12, 0.01)
    assert not view.in_state("stopped") and describe_stopping(view) == []


def test_a_rule_that_would_have_lost_members_of_the_front_does_not_act():
    """What looks hopeless at the rung ends on the front now and then: late bloomers."""
    chance = random.Random(3)
    study = OneRungStudy()
    for n in range(60):
        x, waste = chance.random(), 0.3 + 0.3 * chance.random()
        late = n % 6 == 5
        end = (x, 1.01 - x) if late else (x - waste, 1 - x - waste)
        study((x - waste, 1 - x - waste), end)
    assert len(study.view.in_state("stopped")) < 3


def test_the_test_compares_what_stopping_loses_with_what_it_gains():
    assert StoppingTest(20, 0, loss=0.05, gain=0.1).passed
    assert not StoppingTest(20, 2, loss=0.2, gain=0.1).passed
    assert not StoppingTest(0, 0, loss=0.0, gain=0.1).passed
    view, _ = search(40, 0.02, {"chance": 0.01})
    done = [t for t in view.trials.values() if t.result]
    rung = Rung(2, 1.0, {"natural_accuracy": 0.0, "attacked_score": 0.0})
    found = Predictive().test(view, done, rung)
    assert found.gain == pytest.approx((1 - 2 / 6) * len(view.front()) / len(done))
    assert found.wrong == 0 < found.stopped
    stricter = Predictive(confidence=0.99).test(view, done, rung)
    assert stricter.loss > found.loss and stricter[:2] == found[:2]


def test_audited_trials_run_on_and_count_in_the_test():
    view, _ = search(60, 0.02, {"audit": 0.5})
    audited = [t for t in view.trials.values() if t.audited]
    assert len(audited) > 5 and all(t.state == "finished" for t in audited)
    assert any("Audit: " in line for line in describe_stopping(view))


def test_what_is_decided_is_a_function_of_the_ledger():
    one, other = search(30, 0.02)[0], search(30, 0.02)[0]
    assert [t.reason for t in one.trials.values()] == [t.reason for t in other.trials.values()]


@pytest.mark.parametrize(
    "wrong", [{"chance": 0.0}, {"confidence": 1.0}, {"audit": 1.5}, {"min_finished": 3}]
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        Predictive(**wrong)
