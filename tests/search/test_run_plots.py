"""Plots of a run, whichever way it is named."""

from pathlib import Path

import pytest
from synthetic_studies import build, events, final_events

import search
from search.record.view import View

OLD = Path(__file__).resolve().parents[1] / "recorded" / "v0" / "finished"
NAMES = [name for name in dir(search) if name.startswith("plot_")]


def test_there_are_five():
    assert [
        *("plot_front", "plot_hypervolume", "plot_importance"),
        *("plot_learning_curves", "plot_robustness_curves"),
    ] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_draws_a_study(name):
    figure = getattr(search, name)(build(16, 3))
    assert figure.data and figure.layout.xaxis.title.text


def test_a_run_is_named_by_its_folder():
    for folder in (OLD, str(OLD)):
        assert search.plot_hypervolume(folder).data[0].y[-1] > 0
    with pytest.raises(ValueError, match="no search in"):
        search.plot_front(OLD / "nowhere")


def test_the_front_is_that_of_the_finals_where_there_are_any():
    view = View()
    for event in (*events(3, 0), *final_events()):
        view.apply(event)
    names = [trace.name for trace in search.plot_front(view).data]
    assert "reported front" in names
    assert "reported front" not in [trace.name for trace in search.plot_front(build(3, 0)).data]


def test_what_cannot_be_computed_is_said():
    with pytest.raises(ValueError, match=r"Importance needs \d+ finished trials, there are 2"):
        search.plot_importance(build(2, 0))
