"""The posterior of the finalists is sampled once for all that is written after an event."""

from pathlib import Path

import pytest
from synthetic_studies import build, final_events

from search.finals import standings
from search.finals.true_values import sample_means
from search.session.outputs import ReportWriter


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
    view = build(16, 3)
    for event in final_events():
        view.apply(event)
    writer = ReportWriter(tmp_path)
    writer.last_report = float("-inf")
    writer({"event": "finished", "trial": 0}, view)
    assert {"finalists.csv", "finals.csv", "report.html"} <= {p.name for p in tmp_path.iterdir()}
    assert len(calls) == 1
