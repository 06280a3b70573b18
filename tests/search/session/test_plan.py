"""What is decided before a search starts."""

from dataclasses import replace

import spaces
from search.record.provenance import PROJECT
from search.session.options import Options
from search.session.plan import Machine, make_plan

MACHINE = Machine("this machine", 2.0, 0.0)


def test_a_plan_loads_its_space_once(monkeypatch):
    plan = make_plan(Options(space="smoke"), MACHINE, "name")
    loads = []
    load = spaces.load

    def count(name):
        loads.append(name)
        return load(name)

    monkeypatch.setattr(spaces, "load", count)
    assert plan.space is plan.space and plan.points == plan.points
    assert len(loads) <= 1


def test_the_code_that_workers_are_sent_is_the_whole_program():
    for name in ("launch.py", "adv", "spaces", "search"):
        assert (PROJECT / name).exists()


def test_fewer_trials_than_a_space_plans_have_fewer_final_trainings(monkeypatch):
    small = replace(spaces.load("smoke"), scale={"trials": 12, "final_trainings": 16})
    monkeypatch.setattr(spaces, "load", lambda _: small)

    def planned(trials):
        return make_plan(Options(space="smoke", trials=trials), MACHINE, "name").scale

    assert [planned(n).final_trainings for n in (None, 12, 6, 2, 1, 48)] == [16, 16, 8, 3, 2, 16]
    assert "a size of its own" in make_plan(Options(space="smoke"), MACHINE, "name").reason
    small = replace(small, scale={"final_trainings": 16})
    assert "of its own" not in make_plan(Options(space="smoke"), MACHINE, "name").reason
