"""The command of the page that repeats a search makes the same plan."""

from dataclasses import asdict

import pytest

import launch
from search.record.study_header import StudyHeader
from search.reporting.reproduce_html import list_flags
from search.session.options import Options, merge_battery
from search.session.plan import Machine, Plan, make_plan

MACHINE = Machine("this machine", 2.0, 0.0)


def plan_of(*words: str) -> Plan:
    """Return the plan of a command line."""
    context = launch.main.make_context("launch.py", list(words))
    given = {k: v for k, v in context.params.items() if k in Options.__dataclass_fields__}
    return make_plan(merge_battery(Options(**given)), MACHINE, "x")


def header_of(plan: Plan) -> StudyHeader:
    return StudyHeader(
        space=plan.space_name,
        data=plan.data,
        scale=asdict(plan.scale),
        trials=plan.trials,
        seed=plan.seed,
        sampler=plan.sampler,
        stopper=plan.stopper,
        audit=plan.audit,
        constraints=dict(plan.constraints),
        settings=plan.settings or None,
        objectives=plan.objectives,
    )


@pytest.mark.parametrize(
    "words",
    [
        "--space smoke",
        "--space rse_sigmas --trials 7 --epochs 3 --seed 5 --sampler tpe --stopper none",
        "--space architecture --battery l2-0.5 --battery-steps 4 --images 50 --audit 0.5",
        "--space rse_sigmas --battery autoattack --image-size 12 --scale laptop",
        "--space tradeoff --objectives worst_case,parameters --constrain params<5e6",
        "--space rse_sigmas --constrain worst_case>0.2 --score report --data mnist",
    ],
)
def test_its_flags_make_the_same_plan(words):
    plan = plan_of(*words.split())
    again = plan_of(*list_flags(header_of(plan)))
    assert header_of(again) == header_of(plan)
