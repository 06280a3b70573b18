"""The verdict in cases whose answer is known in closed form."""

import math
from dataclasses import replace

import numpy as np
import pytest
from synthetic_studies import EPS, build, final_events

from search.finals.verdict import (
    FACTORS,
    MARGIN,
    P_TRADE,
    Verdict,
    _count_more,
    _Evidence,
    decide,
    reach_verdict,
)
from search.record.trial_result import MaskingGap
from search.record.view import View
from search.reporting.verdict_text import describe_verdict, verdict_record

RANGES = (1.0, 600.0)
SD = (0.005, 3.0)


def verdict(means, sd=SD, baseline=None, draws=20_000):
    """Return the verdict on nets with independent normal posteriors."""
    noise = np.random.default_rng(0).standard_normal((draws, len(means), 2))
    return decide(np.asarray(means) + noise * np.asarray(sd), ranges=RANGES, baseline=baseline)


def test_the_widest_trade_off_is_told():
    found = verdict([(0.98, 200), (0.96, 300), (0.90, 400), (0.90, 250)])
    assert found.kind == "trade-off" and found.trade and found.probability > 0.99
    assert (found.trade.ahead, found.trade.of) == (0, 2)
    assert found.trade.by == pytest.approx((0.08, -200), rel=0.01)
    half = 1.96 * np.sqrt(2) * np.asarray(SD)
    for by, (low, high), width in zip(found.trade.by, found.trade.intervals, half, strict=True):
        assert (high - low) / 2 == pytest.approx(width, rel=0.03)
        assert (high + low) / 2 == pytest.approx(by, rel=0.03)


def test_the_probability_of_a_trade_off_is_that_of_both_differences():
    """Independent objectives, each ahead by two standard errors of the difference: Phi(2)^2."""
    apart = 2 * np.sqrt(2) * np.asarray(sd := (0.02, 12.0))
    found = verdict([(0.9 + apart[0], 300), (0.9, 300 + apart[1])], sd)
    assert (found.kind, P_TRADE) == ("trade-off", 0.95)
    assert found.probability == pytest.approx(0.97725**2, abs=0.005)


def test_one_net_that_is_best_in_both_leaves_no_trade_off():
    found = verdict([(0.93, 400), (0.97, 430), (0.90, 410)], baseline=0)
    assert (found.kind, found.best, found.tied) == ("no trade-off", 1, ())
    assert found.bounds == (0, 0) and found.probability > 0.99
    assert found.against and (found.against.ahead, found.against.of) == (1, 0)
    assert found.against.by == pytest.approx((0.04, 30), rel=0.01)
    assert verdict([(0.93, 400), (0.97, 430)], baseline=1).against is None


def test_equal_nets_are_tied_if_noise_is_smaller_than_the_margin():
    """Of two nets the other one is ahead in both by no more than m: Phi(m / sqrt(2) sd)^2."""
    sd = (0.0125, 7.5)  # the margins are .025 and 15, 1.414 standard errors of the difference
    assert (MARGIN, MARGIN * RANGES[1]) == (0.025, 15)
    found = verdict([(0.95, 400)] * 2, sd)
    assert found.kind == "no trade-off" and len(found.tied) == 1
    assert found.probability == pytest.approx(0.92135**2, abs=0.01)
    assert found.bounds == pytest.approx(1.645 * np.sqrt(2) * np.asarray(sd), rel=0.03)


def test_noise_above_the_margin_leaves_it_open():
    found = verdict([(0.95, 400)] * 2, (0.02, 12.0))
    assert (found.kind, found.best, found.trade) == ("undecided", None, None)
    assert found.probability == pytest.approx(0.8116**2, abs=0.01)


def test_noise_that_all_nets_share_is_no_noise():
    """The same images are hard for all nets: only differences count."""
    shared = np.random.default_rng(1).standard_normal((500, 1, 2)) * (0.05, 50.0)
    assert decide(np.repeat(shared, 3, axis=1), ranges=RANGES).probability == 1


def test_only_some_nets_may_be_named():
    """A net that was not trained again may be ahead, and is never called best."""
    noise = np.random.default_rng(0).standard_normal((5000, 3, 2)) * SD
    tied = np.array([(0.950, 400), (0.960, 402), (0.80, 100)]) + noise
    assert decide(tied, ranges=RANGES).best == 1
    found = decide(tied, ranges=RANGES, named=[0])
    assert (found.kind, found.best) == ("no trade-off", 0) and found.bounds[0] > 0
    assert decide(tied, ranges=RANGES, named=[2]).kind == "undecided"
    assert decide(tied, ranges=RANGES, named=[]).kind == "undecided"
    apart = np.array([(0.98, 200), (0.96, 300), (0.90, 400)]) + noise
    trade = decide(apart, ranges=RANGES, named=[0, 1]).trade
    assert trade and (trade.ahead, trade.of) == (0, 1)


def test_a_net_that_is_no_rival_is_compared_and_nothing_else():
    """Net 1 is ahead of all in both objectives, as a baseline whose masked gradients flatter it."""
    noise = np.random.default_rng(0).standard_normal((5000, 3, 2)) * SD
    nets = np.array([(0.95, 400), (0.99, 500), (0.80, 100)]) + noise
    assert decide(nets, ranges=RANGES, baseline=1).best == 1
    found = decide(nets, ranges=RANGES, baseline=1, rivals=[0, 2])
    assert (found.kind, found.best, found.tied, found.nets) == ("no trade-off", 0, (), 2)
    assert found.bounds == (0, 0) and found.against and found.against.of == 1
    apart = np.array([(0.99, 200), (0.999, 600), (0.90, 400)]) + noise
    assert decide(apart, ranges=RANGES).kind == "no trade-off"
    found = decide(apart, ranges=RANGES, rivals=[0, 2])
    assert found.trade and (found.trade.ahead, found.trade.of) == (0, 2)
    alike = np.array([(0.95, 400), (0.95, 400), (0.95, 400)]) + 4 * noise
    assert decide(alike, ranges=RANGES).overlapping == (0, 1, 2)
    assert decide(alike, ranges=RANGES, rivals=[0, 2]).overlapping == (0, 2)


def test_one_net_alone_is_best():
    assert verdict([(0.9, 300)]) == Verdict("no trade-off", 1.0, 0, bounds=(0.0, 0.0), nets=1)


def test_a_search_without_a_result_has_no_verdict():
    assert reach_verdict(View()) is None


def finished_view(baseline=None):
    view = build(4, 0)
    for event in final_events((0, 1, 0)):
        view.apply(event)
    if baseline is not None:
        params = dict(view.trials[baseline].params)
        view.header = replace(view.header, baseline=params, baseline_name="no noise")
    return view


def test_nets_are_named_by_their_trials_and_compared_by_fresh_seeds():
    """Trial 1 is ahead of trial 0 by 6 points and 13.8, one seed each; the last training failed."""
    found = reach_verdict(finished_view(baseline=0))
    assert found and (found.kind, found.best) == ("no trade-off", 1)
    assert found.nets == 4  # trials without a fresh seed may be on the front too
    assert found.against and (found.against.ahead, found.against.of) == (1, 0)
    fresh, before = (20.0, 0.86), (20.0, 0.80)  # see `final_events`
    score = [sum(100 * top * math.exp(-fall * eps) for eps in EPS) for fall, top in (fresh, before)]
    for by, apart in zip(found.against.by, (0.06, score[0] - score[1]), strict=True):
        assert by == pytest.approx(apart, rel=0.5)  # the search's own values count too


def test_more_trainings_with_the_same_values_would_tell(monkeypatch):
    """Nothing tells noisy nets apart; with many more trainings they are tied."""
    trials = build(3, 0).scored()
    values = np.full((3, 2), (0.9, 300.0))
    fresh = {i: np.array([(0.9 + d, 300 + 600 * d) for d in (-0.05, 0.05)]) for i in range(3)}
    evidence = _Evidence(trials, values, fresh, np.array([0.05, 30.0]), None)
    assert decide(evidence.sample(), ranges=RANGES).kind == "undecided"
    more = _count_more(evidence, RANGES)
    assert more in {6 * (factor - 1) for factor in FACTORS}
    earlier = [f for f in FACTORS if 6 * (f - 1) < more]
    assert {decide(evidence.sample(f), ranges=RANGES).kind for f in earlier} <= {"undecided"}
    monkeypatch.setattr("search.finals.verdict.FACTORS", ())
    assert _count_more(evidence, RANGES) == 0


def test_what_cannot_be_told_says_what_would_tell():
    view = finished_view()
    lines = describe_verdict(view, Verdict("undecided", more=6, nets=3))
    assert lines == [
        "The nets cannot be told apart, so it is open whether there is a trade-off; about 6 more "
        "trainings would tell."
    ]
    (line,) = describe_verdict(view, Verdict("undecided", nets=3))
    assert line.endswith("more images would (--images).")


def test_before_finals_it_says_that_each_net_was_trained_once():
    view = build(8, 0)
    found = reach_verdict(view)
    assert found and found.nets > 1
    assert describe_verdict(view, found)[-1].startswith("Each net was trained once")


def test_a_net_without_rivals_is_not_said_to_be_ahead():
    view = build(3, 0)
    view.header = replace(view.header, constraints={"masking_gap": 0.2})
    best = view.front()[0]
    alone = Verdict("no trade-off", probability=1.0, best=best.number, nets=1)
    assert "is ahead of every other one" in describe_verdict(view, alone)[0]
    for trial in view.scored():
        if trial is not best and trial.result is not None:
            gap = MaskingGap(gap=0.5, interval=(0.4, 0.6), flagged=True)
            details = replace(trial.result.details, masking_gap=gap)
            trial.result = replace(trial.result, details=details)
    assert [trial for trial in view.scored() if view.feasible(trial)] == [best]
    assert describe_verdict(view, alone)[0] == (
        f"Trial {best.number} is the only net to judge by: no other one has finished and keeps "
        "the bounds."
    )


def test_an_unfinished_search_says_how_many_trials_its_answer_rests_on():
    view = build(8, 0)
    found = reach_verdict(view)
    assert found
    whole = describe_verdict(view, found)[0]
    assert not whole.startswith("After")
    view.header = replace(view.header, trials=16)
    assert (
        describe_verdict(view, found)[0] == f"After 8 of 16 trials: {whole[0].lower()}{whole[1:]}"
    )


def test_the_answer_comes_first_with_its_intervals():
    view = finished_view(baseline=0)
    lines = describe_verdict(view, verdict([(0.98, 200), (0.90, 400)], baseline=0))
    assert lines[0].startswith(
        "A trade-off: trial 0 against trial 1: natural accuracy +8.0 points (+6.6 to +9.4); "
        "trial 1 against trial 0: attacked score +200.0 (+19"
    )
    assert lines[0].endswith("(P > 0.99).")
    assert lines[1].startswith(
        "Trial 1 against no noise (trial 0): natural accuracy -8.0 points (-9."
    )
    best = verdict([(0.95, 400), (0.97, 430), (0.968, 428)], baseline=0)
    lines = describe_verdict(view, best)
    assert lines[0].startswith("No trade-off: trial 1 is best or tied in both objectives (P")
    assert lines[1].startswith(
        "Trial 1 against no noise (trial 0): natural accuracy +2.0 points (+0."
    )
    assert lines[2].endswith("not told from it: trial 2.")
    plain = verdict_record(view, best)
    assert plain["kind"] == "no trade-off" and plain["best"] == 1 and plain["tied"] == (2,)
    assert plain["text"].startswith("No trade-off: trial 1")
