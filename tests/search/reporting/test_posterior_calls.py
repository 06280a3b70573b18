"""The posterior of the finalists is sampled once for all that is written after an event."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from rich.console import Console
from synthetic_studies import build, final_events

import spaces
from search.finals import standings
from search.finals.standings import compute_standings
from search.finals.true_values import sample_means
from search.record.ledger import Ledger
from search.record.run_folder import LEDGER
from search.record.view import View
from search.reporting.finals_terminal import FinalsLog
from search.session.job import Job
from search.session.options import Options
from search.session.outputs import ReportWriter, write_outputs
from search.session.summary import print_summary
from search.tracking.tracker import Tracker


@pytest.fixture
def calls(monkeypatch):
    counted = []

    def count(*values, **settings):
        counted.append(1)
        return sample_means(*values, **settings)

    monkeypatch.setattr(standings, "sample_means", count)
    return counted


def test_tables_and_page_share_one_posterior(tmp_path: Path, calls):
    """Four before: one for the tables, three for the sections and plots of the page."""
    view = _finished_finals()
    writer = ReportWriter(tmp_path)
    writer.due = float("-inf")
    writer({"event": "finished", "trial": 0}, view)
    assert {"finalists.csv", "finals.csv", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    assert len(calls) == 1


def test_all_readers_of_a_final_training_share_one_posterior(tmp_path: Path, calls):
    """Two before: one for the line in the terminal, one for the tables."""
    view = _finished_finals()
    part = next(e["part"] for e in final_events() if e.get("part", {}).get("event") == "finished")
    event = {"event": "final", "part": part}
    FinalsLog(Console(quiet=True))(event, view)
    writer = ReportWriter(tmp_path)
    writer.due = float("-inf")
    writer(event, view)
    assert len(calls) == 1


def test_a_session_that_ends_shares_one_posterior(tmp_path: Path, calls):
    """Nets that are lost are noted once the front is known, which is then computed again."""
    ledger = Ledger(tmp_path / LEDGER)
    ledger.view = _finished_finals()
    study = SimpleNamespace(
        ledger=ledger, view=ledger.view, exhausted=False, space=spaces.load("rse_sigmas")
    )
    job = cast(Job, SimpleNamespace(study=study, folder=tmp_path, options=Options()))
    tracker = cast(Tracker, SimpleNamespace(close=lambda **_: None))
    write_outputs(job, tracker, "", 0)
    print_summary(Console(quiet=True), job, "", "")
    ledger.close()
    assert len(calls) == 2


def test_the_posterior_is_sampled_again_after_an_event(calls):
    view = _finished_finals()
    first = compute_standings(view)
    first.clear()
    assert compute_standings(view) and len(calls) == 1
    view.apply({"event": "end", "time": 0.0})
    compute_standings(view)
    assert len(calls) == 2
    compute_standings(_finished_finals())
    assert len(calls) == 3


def _finished_finals() -> View:
    view = build(16, 3)
    for event in final_events():
        view.apply(event)
    return view
