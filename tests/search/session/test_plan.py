"""What is decided before a search starts."""

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
