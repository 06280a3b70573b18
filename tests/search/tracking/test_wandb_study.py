"""How often the W&B run of a search gets another version of its table and its front."""

import time
from math import log
from unittest.mock import MagicMock

import pytest
from synthetic_studies import events

from search.record.view import View
from search.tracking import wandb_panels
from search.tracking.logged_runs import LoggedRuns
from search.tracking.standing import Standing
from search.tracking.wandb_study import GROWTH, StudyRun

TRIALS = 150


@pytest.fixture
def search(tmp_path):
    """The W&B module and the open run, both recorded, and what logs to them."""
    wandb, run = MagicMock(), MagicMock()
    logged = LoggedRuns(tmp_path, "offline robustune")
    return wandb, run, StudyRun(wandb, lambda: run, "study", logged, 0)


def table_sizes(wandb):
    """Return how many rows each table of trials had."""
    return [len(call.kwargs["data"]) for call in wandb.Table.call_args_list]


def follow(study, monkeypatch, seconds):
    """Log the state of a search after each event, so many seconds apart; return the last state."""
    now = [1e6]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(wandb_panels, "front_figure", MagicMock())
    view = View()
    for event in events(TRIALS, 1, epochs=1):
        view.apply(event)
        now[0] += seconds
        if event["event"] in ("finished", "failed"):
            study.log(view, Standing(), whole=False)
    return view


def test_the_rows_of_all_versions_grow_with_the_trials(search, monkeypatch):
    wandb, run, study = search
    view = follow(study, monkeypatch, seconds=0.01)
    sizes = table_sizes(wandb)
    assert len(sizes) < 1 / GROWTH + log(TRIALS * GROWTH) / log(1 + GROWTH) + 1
    assert sum(sizes) < (2 + 1 / GROWTH) * TRIALS
    rows = [call.args[0] for call in run.log.call_args_list]
    area = [row["hypervolume"] for row in rows if "hypervolume" in row]
    assert len(area) == len(view.scored())
    study.log(view, Standing(), whole=True)
    assert max(table_sizes(wandb)) == TRIALS


def test_a_slow_search_has_its_table_every_ten_minutes(search, monkeypatch):
    wandb, _, study = search
    follow(study, monkeypatch, seconds=700)
    assert len(table_sizes(wandb)) == TRIALS
