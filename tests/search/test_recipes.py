"""What the code of a space raises ends no search that is being prepared."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from formula_runs import SPACE
from rich.console import Console

import spaces
from adv.data.summary import summarize
from adv.shape import DEFAULT_SHAPE
from search.interrupt import Interrupt, Interrupted
from search.recipes import RecipeError, catch_recipe_errors, count_parameters
from search.record.constraints import make_screen
from search.reporting.plan_table import print_plan
from search.session.disk_space import estimate_trial
from search.session.rescore import rescore_net

RAISED = [SystemExit(0), KeyboardInterrupt(), ValueError("long " * 20_000), GeneratorExit()]


@pytest.fixture(params=RAISED, ids=lambda error: type(error).__name__)
def broken(request):
    """A space whose recipes raise."""

    def build(**params: Any) -> Any:
        raise request.param

    with Interrupt().handle_signals():  # as in a session; else Ctrl-C raises KeyboardInterrupt too
        yield replace(SPACE, build=build)


def test_an_estimate_does_without_the_nets_that_cannot_be_built(broken):
    def build(params):
        return broken.build(**params) if params["x"] else spaces.load("architecture").build(**good)

    good = spaces.load("architecture").known[0]
    assert len(count_parameters(build, SPACE.known, 10, DEFAULT_SHAPE)) == 1
    assert make_screen(broken, {"params": 1.0}, 10, DEFAULT_SHAPE)(
        SPACE.known[0]
    )  # its trial says why it fails
    run = SimpleNamespace(
        data=SimpleNamespace(classes=[0, 1], shape=DEFAULT_SHAPE),
        recipe=lambda p: broken.build(**p),
    )
    job: Any = SimpleNamespace(study=SimpleNamespace(space=broken), run=run)
    assert estimate_trial(job) == 0


def test_a_plan_that_needs_a_net_names_the_space_and_the_configuration(broken, capsys):
    plan: Any = SimpleNamespace(
        space_name="mine", space=broken, scale=spaces.scale("laptop"), points=broken.known
    )
    said = r"^space mine: the net of x=0.0, waste=0.001, kind=plain cannot be built: \w+"
    summary = summarize("digits")
    assert summary
    with pytest.raises(RecipeError, match=said) as info:
        print_plan(Console(), plan, summary, {})
    assert len(str(info.value)) < 400 and "\n" not in str(info.value)
    assert not capsys.readouterr().out


def test_a_signal_that_arrives_meanwhile_is_no_error_of_the_recipe():
    with pytest.raises(Interrupted), catch_recipe_errors({}):
        raise Interrupted("terminated", 143)


def test_a_net_whose_recipe_raises_is_not_scored_again_and_the_next_is(broken):
    run: Any = lambda net: broken.build()  # noqa: E731
    net: Any = None
    assert isinstance(rescore_net(run, net), str)
