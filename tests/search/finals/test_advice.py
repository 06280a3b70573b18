"""What more trials and more seeds are expected to bring, and a search that ends by it."""

import math
from dataclasses import replace

import click
import numpy as np
import pytest
from formula_runs import SPACE, Formula, no_recipe

import launch
from search.backends import serial
from search.finals.advice import (
    AHEAD,
    Knowledge,
    collect_knowledge,
    gain_of_seeds,
    gain_of_trials,
)
from search.finals.true_values import mean_true_values, sample_true_values
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.record.trial import Trial
from search.record.view import View
from search.samplers.table import make_sampler
from search.session.advise import Advice, UntilGain, advise, describe_advice
from search.study import Study
from spaces import Choice, Space

SD = np.array([0.01, 1.0])


def cloud(n, seed=0, noise=1.0):
    rng = np.random.default_rng(seed)
    x, waste = rng.random(n), rng.exponential(0.05, n)
    true = np.stack([0.9 - 0.4 * x - waste, 100 * (0.2 + 0.4 * x - waste)], 1)
    return true, true + noise * SD * rng.standard_normal((n, 2))


def test_the_mean_of_the_draws_is_the_closed_form():
    _, seen = cloud(20)
    fresh = {3: seen[3:4] + SD, 7: np.stack([seen[7], seen[7] + SD])}
    draws = sample_true_values(seen, fresh, SD, draws=20_000)
    assert mean_true_values(seen, fresh, SD) / SD == pytest.approx(draws.mean(axis=0) / SD, abs=0.1)


def test_a_search_that_still_widens_its_front_gains_and_one_that_has_ended_does_not():
    growing = np.linspace(0.2, 0.8, 24)[:, None] * [1.0, 100.0]
    done = growing[::-1]
    nothing = Knowledge(done, {}, SD / 100)
    assert gain_of_trials(nothing) == 0.0
    assert gain_of_trials(Knowledge(growing, {}, SD / 100)) > 0.02


def test_gains_are_as_large_as_they_turn_out_on_average():
    """Random trials: the estimate after 24 against the next eight, 30 searches."""
    said, true_gain = [], []
    for seed in range(30):
        _, seen = cloud(32, seed)
        known = Knowledge(seen[:24], {}, SD)
        said.append(gain_of_trials(known))
        true_gain.append(Knowledge(seen, {}, SD).worth / known.worth - 1)
    error = np.std(true_gain) / np.sqrt(30)
    assert np.mean(said) > 0 and abs(np.mean(said) - np.mean(true_gain)) < 3 * error + 0.002


def test_seeds_help_where_noise_is_large_and_not_where_all_is_known():
    noisy, clear = cloud(24, 1, noise=6.0)[1], cloud(24, 1, noise=0.01)[1]
    assert gain_of_seeds(Knowledge(noisy, {}, 6 * SD)) > 0.005
    assert gain_of_seeds(Knowledge(clear, {}, 0.01 * SD)) < 1e-4


def test_too_few_trials_give_no_estimate():
    few = Knowledge(cloud(11)[1], {}, SD)
    assert math.isnan(gain_of_trials(few)) and math.isnan(gain_of_seeds(few))


def test_the_advice_names_what_brings_more_for_its_time(tmp_path):
    view = View(trials={n: Trial(n, {}, n, "sobol") for n in range(16)})
    seeds = Advice(0.004, 0.003, 800.0, 300.0)
    lines = describe_advice(seeds, view, tmp_path / "a run")
    assert "0.4 % to the hypervolume in" in lines[0]
    assert lines[0].endswith(
        "more seeds would help more than more trials "
        "(a rough estimate, right in six of ten searches):"
    )
    assert lines[1].endswith("--final-trainings 8") and f"'{tmp_path / 'a run'}'" in lines[1]
    trials = Advice(0.004, 0.003, 800.0, 700.0)
    assert describe_advice(trials, view, tmp_path)[1].endswith("--trials 24")
    assert "Neither" in describe_advice(Advice(1e-5, 0.0, 1.0, 1.0), view, tmp_path)[0]
    worse = describe_advice(Advice(-0.002, 0.011, 53.0, 200.0), view, tmp_path)[0]
    assert "8 more trials are expected to add nothing to the hypervolume" in worse
    assert describe_advice(None, view, tmp_path) == []
    plain = seeds.to_json()
    assert plain["more"] == "seeds" and plain["seeds"]["gain_per_hour"] == pytest.approx(0.036)


def test_no_more_trials_are_advised_than_the_space_has_configurations_left(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("study", format=1, name="n", space="s", seed=0, knobs=SPACE.describe())
    ask = make_sampler("random", SPACE, seed=0, start=0)
    serial.search(Study(SPACE, ledger, trials=16, seed=0, sampler=ask), Formula(2), Interrupt())
    view = ledger.view
    free = advise(view, SPACE)
    assert free and free.count == AHEAD and free.trials > 0
    line = Space("Which one?", {"x": Choice(tuple(range(20)))}, no_recipe)
    for n, trial in enumerate(view.trials.values()):  # the same values in a space of 20 points
        trial.params = {"x": n}
    few = advise(view, line)
    assert few and few.count == 4
    assert few.trial_seconds == pytest.approx(free.trial_seconds / 2)
    assert few.trials == gain_of_trials(collect_knowledge(view), 4)
    advice = replace(few, trials=0.02, seeds=0.001)
    text, command = describe_advice(advice, view, tmp_path)
    assert text.startswith("4 more trials") and command.endswith("--trials 20")
    none = advise(view, Space("Which one?", {"x": Choice(tuple(range(16)))}, no_recipe))
    assert none and (none.count, none.trials, none.more_seeds) == (0, 0.0, True)
    text, command = describe_advice(replace(none, seeds=0.02), view, tmp_path)
    assert text.startswith("No configuration is left to try. 8 fresh seeds are")
    assert "2.0 %" in text and command.endswith("--final-trainings 8")
    (text,) = describe_advice(replace(none, seeds=0.0), view, tmp_path)
    assert text.startswith("No configuration is left to try, and 8 fresh seeds are not")
    ledger.close()


def test_a_search_ends_once_it_gains_too_little_and_goes_on_without_the_limit(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("study", format=1, name="n", space="s", seed=0, knobs=SPACE.describe())
    ask = make_sampler("random", SPACE, seed=0, start=0)
    until = UntilGain(ask, 0.05)
    serial.search(Study(SPACE, ledger, trials=60, seed=0, sampler=until), Formula(2), Interrupt())
    ended = len(ledger.view.trials)
    assert 12 <= ended < 60 and until.gain is not None and until.gain < 0.05
    assert until.gain == gain_of_trials(collect_knowledge(ledger.view))
    assert f"--resume {tmp_path}" in until.describe(tmp_path)
    ledger.append("enough", **until.event())
    assert advise(ledger.view, SPACE) is not None
    serial.search(Study(SPACE, ledger, trials=ended + 2, seed=0), Formula(2), Interrupt())
    assert len(ledger.view.trials) == ended + 2
    ledger.close()


@pytest.mark.parametrize("text", ["0.5", "0%", "-1%", "200%", "much"])
def test_a_limit_that_is_no_percentage_is_refused_in_one_line(text):
    with pytest.raises(click.BadParameter, match=r"is not a percentage above 0: write 0\.5%"):
        launch.Percent().convert(text, None, None)
    assert launch.Percent().convert("0.5 %", None, None) == pytest.approx(0.005)
