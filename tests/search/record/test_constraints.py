"""Constraints: how they are written, and how they restrict a front."""

from dataclasses import replace

import pytest
from synthetic_studies import build

from adv.shape import DEFAULT_SHAPE
from search.record.constraints import (
    Constraint,
    excesses,
    feasible,
    make_screen,
    parse,
    parse_bounds,
)
from search.record.study_header import StudyHeader
from search.record.trial_result import MaskingGap, ResultDetails, TrialResult
from search.session.run_remarks import describe_infeasible
from spaces import load

GAP = MaskingGap(gap=0.06, interval=(0.03, 0.09), flagged=False)
RESULT = TrialResult(
    {"natural_accuracy": 0.5, "attacked_score": 1.0},
    {},
    ResultDetails(parameters=2_000_000, latency=3.5, masking_gap=GAP),
)


def test_a_bound_is_read_as_it_is_written():
    assert parse("params<5e6") == parse(" params <= 5000000 ") == Constraint("params", 5e6)
    assert parse("latency<2.5") == Constraint("latency", 2.5)
    assert str(parse("masking_gap<0.1")) == "masking_gap<0.1"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("params", "params<5e6"),
        ("params>5", "less params is better: params<5"),
        ("param<5", "did you mean 'params'?"),
        ("speed<5", "; there are: params, latency, masking_gap"),
        ("params<5e", "'5e' is not a number"),
        ("params<0", "above 0"),
        ("params<nan", "params<5e6"),
        ("masking-gap<0.1", "did you mean 'masking_gap'?"),
        ("masking_gap<3", "ten points are 0.1"),
        ("", "params<5e6"),
    ],
)
def test_what_is_no_bound_is_refused_in_one_line(text, hint):
    with pytest.raises(ValueError, match="--constrain") as info:
        parse(text)
    assert hint in str(info.value) and "\n" not in str(info.value)


def test_a_name_has_one_bound():
    assert parse_bounds(("params<5e6", "latency<3")) == {"params": 5e6, "latency": 3.0}
    with pytest.raises(ValueError, match="params has two bounds"):
        parse_bounds(("params<5e6", "params<4e6"))


def test_a_gap_without_a_bound_may_not_be_flagged():
    bounds = StudyHeader(constraints={"params": 1e6, "latency": 4.0})
    found = excesses(RESULT, bounds)
    assert found == pytest.approx({"params": 1e6, "latency": -0.5, "masking_gap": -0.01})
    assert excesses(RESULT, StudyHeader(constraints={"masking_gap": 0.05})) == pytest.approx(
        {"masking_gap": 0.01}
    )
    assert excesses(RESULT, StudyHeader()) == {}  # a study of before there were bounds
    assert excesses(TrialResult(RESULT.objectives), bounds) == {}  # nothing was measured


def test_the_front_is_of_trials_that_keep_the_bounds():
    free, bound = build(), build(constraints={})
    flagged = bound.trials[2]
    assert flagged.result is not None and flagged.result.details.masking_gap is not None
    assert flagged.result.details.masking_gap.flagged and not bound.feasible(flagged)
    assert flagged not in bound.front()
    assert {t.number for t in free.front()} - {2} <= {t.number for t in bound.front()}
    assert describe_infeasible(free) == []
    assert describe_infeasible(bound) == [
        "Left out of the front: trial 2, above the bound of masking_gap."
    ]


def test_where_no_trial_keeps_the_bounds_the_front_is_of_all_and_that_is_said():
    view = build(constraints={"params": 10.0})
    assert [t.number for t in view.front()] == [t.number for t in build().front()]
    [said] = describe_infeasible(view)
    assert said.startswith("No trial keeps the bounds (params, masking_gap)")


def test_parameters_are_known_before_a_net_is_trained():
    space = load("architecture")
    allowed = make_screen(space, {"params": 1e6}, 10, DEFAULT_SHAPE)
    verdicts = {allowed(point) for point in space.known}
    assert verdicts == {True, False}
    assert make_screen(space, {"latency": 1.0}, 10, DEFAULT_SHAPE)(space.known[0])


def test_wrong_gradients_are_infeasible_whatever_the_bound_on_the_gap():
    header = StudyHeader(constraints={"masking_gap": 0.5})
    for share, kept in ((0.0, True), (1 / 16, True), (0.5, False)):
        details = replace(RESULT.details, masking_gap=replace(GAP, wrong_gradients=share))
        assert feasible(replace(RESULT, details=details), header) == kept
