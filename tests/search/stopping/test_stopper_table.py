"""Every stopper of the table can be built, and adding one takes one file and one line."""

import sys
from types import ModuleType

import pytest

from search.record.trial import Rung, Trial
from search.record.view import View
from search.stopping import table
from search.stopping.moasha import MOASHA
from search.stopping.stopper import NoStopping, no_stopping
from search.stopping.table import STOPPER_HELP, STOPPERS, make_stopper

RUNG = Rung(2, 0.5, {"natural_accuracy": 0.5, "attacked_score": 50.0})


def first_decision(stopper):
    view = View(trials={0: Trial(0, {}, 0, "known")})
    assert stopper.review(view) == ""
    return stopper.decide(view, 0, RUNG).action


@pytest.mark.parametrize("name", STOPPERS)
def test_every_stopper_builds_decides_and_has_help(name):
    assert first_decision(make_stopper(name, seed=0)) == "go on"
    assert f"{name}: {STOPPERS[name][1]}" in STOPPER_HELP


def test_the_settings_arrive():
    assert make_stopper("moasha", seed=3, audit=0.25) == MOASHA(seed=3, audit=0.25)
    assert make_stopper("none", seed=3) == NoStopping()


def test_a_stopper_is_added_by_a_file_and_a_line(monkeypatch):
    toy = ModuleType("toy_stopper")  # the file
    vars(toy)["make"] = no_stopping
    monkeypatch.setitem(sys.modules, "toy_stopper", toy)
    monkeypatch.setattr(table, "STOPPERS", {**STOPPERS, "toy": ("toy_stopper:make", "a toy")})
    assert first_decision(make_stopper("toy", seed=0)) == "go on"
