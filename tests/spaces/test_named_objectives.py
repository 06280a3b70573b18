"""The figures that a search can trade or bound: names, directions, units."""

import re

import pytest

import spaces
from spaces import FIGURES, OBJECTIVES, Space, find_objective, parse_objectives


def test_the_usual_objectives_are_figures_too():
    assert parse_objectives(",".join(OBJECTIVES)) == OBJECTIVES
    assert all(FIGURES[name].larger and FIGURES[name].from_rungs for name in OBJECTIVES)


@pytest.mark.parametrize(
    ("name", "value", "text", "sign"),
    [
        ("natural_accuracy", 0.5, "50.0 %", 1),
        ("attacked_score", 312.34, "312.3", 1),
        ("worst_case", 0.123, "12.3 %", 1),
        ("certified_accuracy:0.5", 0.25, "25.0 %", 1),
        ("parameters", 244_962, "244,962", -1),
        ("latency", 1.2345, "1.23 ms", -1),
        ("training_seconds", 12.34, "12.3 s", -1),
    ],
)
def test_each_has_its_unit_and_direction(name, value, text, sign):
    one = find_objective(name)
    assert one.name == name and one.format(value) == text and one.sign == sign


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worst_case,worst_case", "the two objectives are both worst_case"),
        ("worst_case", "a search has two objectives, got 1: worst_case"),
        ("", "a search has two objectives, got 0"),
        ("latency,parameters,worst_case", "got 3"),
        ("worst,parameters", "no objective 'worst': did you mean 'worst_case'?"),
        ("certified_accuracy:0,latency", "no objective 'certified_accuracy:0'"),
        ("certified_accuracy:x,latency", "no objective 'certified_accuracy:x'"),
    ],
)
def test_names_that_are_no_two_objectives(text, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        parse_objectives(text)
    assert str(error.value).startswith("--objectives ") and "\n" not in str(error.value)


def test_a_space_may_name_its_objectives():
    space = spaces.load("smoke")
    named = Space("?", space.knobs, space.build, objectives=("worst_case", "latency"))
    assert named.objectives == ("worst_case", "latency")
    with pytest.raises(ValueError, match="both latency"):
        Space("?", space.knobs, space.build, objectives=("latency", "latency"))
