"""Priors of hyperparameters: where a search begins, and how it gives them up."""

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
from formula_runs import no_recipe, propose

from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.samplers.portfolio import proposer_shares
from search.samplers.table import make_sampler
from spaces import OBJECTIVES, Choice, Float, Int, Prior, Space, prior_position

RATE = Float(1e-4, 1.0, log=True, prior=Prior(0.1, 3.0))
SPACE = Space("?", {"rate": RATE, "other": Float(0.0, 1.0)}, no_recipe)


def test_quantiles_of_a_prior_are_those_of_its_normal_distribution():
    """One spread to either side of the centre lies 68 % of a prior that the range does not cut."""
    knob = Float(1e-4, 1e4, log=True, prior=Prior(1.0, 3.0))
    low, middle, high = (knob.at(prior_position(knob, u)) for u in (0.15866, 0.5, 0.84134))
    assert (low, middle, high) == pytest.approx((1 / 3, 1.0, 3.0), rel=1e-3)
    linear = Float(0.0, 10.0, prior=Prior(4.0, 0.5))
    assert linear.at(prior_position(linear, 0.84134)) == pytest.approx(4.5, rel=1e-3)


@pytest.mark.parametrize("knob", [RATE, Int(1, 9, prior=Prior(9, 2.0)), Float(0.0, 1.0)])
def test_quantiles_rise_and_stay_in_the_range(knob):
    found = [prior_position(knob, u) for u in np.linspace(0, 1 - 1e-9, 201).tolist()]
    assert found[0] >= 0 and found[-1] < 1 and (np.diff(found) >= 0).all()
    assert knob.prior is not None or found == np.linspace(0, 1 - 1e-9, 201).tolist()
    assert all(knob.holds(knob.at(u)) for u in found)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Float(0.0, 1.0, prior=Prior(2.0, 0.1)), "in the range, 0 to 1"),
        (lambda: Float(0.0, 1.0, prior=Prior(0.5, 0.0)), "above 0 here, got 0"),
        (lambda: Float(0.1, 1.0, log=True, prior=Prior(0.5, 0.9)), "a factor above 1 here"),
        (lambda: Int(1, 5, prior=Prior(0, 1.0)), "in the range, 1 to 5"),
        (lambda: Float(0.0, 1.0, prior=Prior(math.nan, 0.1)), "in the range"),
        (lambda: Float(0.0, 1.0, prior=Prior(0.5, math.inf)), "above 0 here, got inf"),
    ],
)
def test_a_prior_that_cannot_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_a_prior_is_no_part_of_the_fingerprint():
    bare = Space("?", {"rate": Float(1e-4, 1.0, log=True), "other": Float(0.0, 1.0)}, no_recipe)
    assert SPACE.fingerprint == bare.fingerprint and SPACE.describe() == bare.describe()


def test_the_first_configurations_follow_the_prior_by_turns():
    rates = defaultdict(list)
    for seed, number in itertools.product(range(3), range(8)):
        view = View(trials={n: Trial(n, {"n": n}, 0, "sobol", "failed") for n in range(number)})
        params, origin = propose(make_sampler("portfolio", SPACE, seed=seed, start=4), view)
        rates[origin].append(math.log(float(params["rate"]) / 0.1) / math.log(3.0))
    assert len(rates["prior"]) >= 9 and len(rates["sobol"]) >= 9  # a twentieth is random
    assert np.std(rates["prior"]) < 1.2
    assert np.std(rates["sobol"]) > 2
    plain = make_sampler("qmc", SPACE, seed=0, start=4)  # it learns nothing
    assert propose(plain, View())[1] == "sobol"


def ended(origins_and_points):
    """Return a view of trials that ended in this order."""
    view = View()
    for n, (origin, point) in enumerate(origins_and_points):
        made = TrialResult(dict(zip(OBJECTIVES, point, strict=True)))
        view.trials[n] = Trial(n, {"n": n}, n, origin, "finished", result=made, ended=1.0 + n)
    return view


def test_a_prior_loses_its_share_in_time_and_sooner_if_the_trials_contradict():
    def share(points):
        return proposer_shares(SPACE, ended(points)).get("prior")

    before = share([])
    better = share([("prior", (n, n)) if n % 2 else ("sobol", (-1.0, -1.0)) for n in range(12)])
    worse = share([("sobol", (n, n)) if n % 2 else ("prior", (-1.0, -1.0)) for n in range(12)])
    late = share([("prior", (n, n)) for n in range(100)])
    assert before > better > worse and better > late
    bare = Space("?", {"c": Choice((1, 2, 3))}, no_recipe)
    assert "prior" not in proposer_shares(bare, View())
