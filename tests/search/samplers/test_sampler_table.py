"""Every sampler of the table can be built, and adding one takes one file and one line."""

import sys
from types import ModuleType

import pytest
from formula_runs import SPACE, no_recipe, propose

from search.record.trial import Trial
from search.record.view import View
from search.samplers import table
from search.samplers.initial_design import random_params
from search.samplers.strategy import Strategy
from search.samplers.table import SAMPLER_HELP, SAMPLERS, load_strategy, make_sampler
from spaces import Float, Space

FLAT = Space("flat", {"x": Float(0.0, 1.0)}, no_recipe)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_loads_builds_and_has_help(name):
    assert isinstance(load_strategy(name), Strategy)
    params, origin = propose(make_sampler(name, FLAT, seed=0, start=4), View())
    FLAT.check(params)
    assert origin in {"sobol", name}
    assert f"{name}: {SAMPLERS[name][1]}" in SAMPLER_HELP


def test_a_sampler_is_added_by_a_file_and_a_line(monkeypatch):
    toy = ModuleType("toy_sampler")  # the file
    vars(toy)["TOY"] = Strategy(
        lambda space, observed: lambda view, rng: random_params(space, rng),
        needs_initial_design=False,
        random_share=0.0,
    )
    monkeypatch.setitem(sys.modules, "toy_sampler", toy)
    monkeypatch.setattr(table, "SAMPLERS", {**SAMPLERS, "toy": ("toy_sampler:TOY", "a toy")})
    view = View(trials=dict.fromkeys(range(len(SPACE.known)), Trial(0, {}, 0, "known")))
    params, origin = propose(make_sampler("toy", SPACE, seed=0, start=9), view)
    SPACE.check(params)
    assert origin == "toy"
