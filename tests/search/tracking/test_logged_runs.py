"""However a search was interrupted, W&B ends up with the same runs."""

import json
from collections import defaultdict
from types import SimpleNamespace
from unittest.mock import MagicMock

import plotly.graph_objects as go
import pytest
from offline_tracking import STUDY
from synthetic_studies import events, final_events

from search.record.view import View
from search.tracking import wandb_runs
from search.tracking.logged_runs import FILE, LoggedRuns
from search.tracking.tracker import Tracker
from search.tracking.wandb_runs import WandbRuns

EVENTS = [*events(6, 1, epochs=3), *final_events()]


class FakeWandb:
    """Keeps what is logged to each run, as the server of W&B does."""

    def __init__(self):
        self.summaries: defaultdict[str, dict] = defaultdict(dict)
        self.rows: defaultdict[str, dict] = defaultdict(dict)
        self.tags: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        self.opened: list[str] = []
        self.sdk = self.Settings = self.Table = self.Plotly = MagicMock()
        self.setup = MagicMock()

    def init(self, *, id, **_):  # noqa: A002
        self.opened.append(id)

        def log(row):
            if "epoch" in row or "hypervolume" in row:
                self.rows[id][row.get("epoch", row.get("finished"))] = row
            plain = {name: value for name, value in row.items() if not isinstance(value, MagicMock)}
            self.summaries[id] |= plain

        run = SimpleNamespace(
            id=id,
            url="",
            entity="me",
            log=log,
            summary=self.summaries[id],
            config=MagicMock(),
            define_metric=lambda *_, **__: None,
            tags=self.tags[id],
        )
        run.finish = lambda **_: self.tags.update({id: run.tags})
        return run

    def state(self):
        return dict(self.summaries), dict(self.rows), dict(self.tags)


@pytest.fixture
def server(monkeypatch, tmp_path):
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))  # put back afterwards
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setattr("logging.raiseExceptions", True)
    front = go.Figure()  # figures take most time
    monkeypatch.setattr("search.tracking.wandb_panels.front_figure", lambda view: front)
    monkeypatch.setattr("search.tracking.wandb_panels.other_figures", lambda *_: {})
    servers = []

    def new():
        servers.append(FakeWandb())
        monkeypatch.setattr(wandb_runs, "_wandb", lambda: servers[-1])
        return servers[-1]

    return new


def track(folder, first, last, *, killed=False):
    """Log the events [first, last) in one session; a killed one does not close its runs."""
    folder.mkdir(exist_ok=True)
    view = View()
    for event in EVENTS[: max(1, first)]:
        view.apply(event)
    said: list[str] = []
    tracker = Tracker(folder, view.header, "offline", "robustune", say=said.append, every=0.01)
    if killed:
        setattr(tracker._runs, "close", lambda *_, **__: None)  # noqa: B010
    for event in EVENTS[max(1, first) : last]:
        view.apply(event)
        tracker(event, view)
    tracker.set_latest(view)  # as the event that ends a session does
    tracker.close()
    assert said == []


@pytest.fixture
def whole(server, tmp_path):
    kept = server()
    track(tmp_path / "whole", 0, 999)
    return kept.state()


@pytest.mark.parametrize("killed", [False, True])
def test_every_cut_of_a_search_ends_in_the_same_summaries(server, whole, tmp_path, killed):
    summaries, _, tags = whole
    assert {tag for held in tags.values() for tag in held} >= {"front", "flagged", "failed"}
    fronts = [s["on_front"] for s in summaries.values() if "on_front" in s]
    assert True in fronts and False in fronts
    for cut in range(2, len(EVENTS)):
        folder, kept = tmp_path / f"{cut}", server()
        track(folder, 0, cut, killed=killed)
        track(folder, cut, 999)
        assert kept.state() == whole, cut


def test_a_search_whose_runs_are_complete_opens_none_again(server, tmp_path):
    kept = server()
    track(tmp_path / "run", 0, 999)
    kept.opened.clear()
    view = View()
    for event in EVENTS:
        view.apply(event)
    runs = WandbRuns(tmp_path / "run", STUDY, view.header, "offline", "robustune", None)
    runs.open()
    runs.update(view)
    runs.close(view)
    assert kept.opened == []


def test_a_record_of_another_place_does_not_count(tmp_path):
    LoggedRuns(tmp_path, "offline//robustune").note("a", 3, {"state": "finished"})
    again = LoggedRuns(tmp_path, "offline//robustune")
    assert again.has("a", {"state": "finished"}) and again.rows("a") == 3
    assert not again.has("a", {"state": "failed"})
    other = LoggedRuns(tmp_path, "online/me/robustune")
    assert not other.has("a", {"state": "finished"}) and other.rows("a") == 0


def test_what_was_told_under_earlier_names_is_told_again(tmp_path):
    LoggedRuns(tmp_path, "here").note("a", 3, {"state": "finished"})
    told = json.loads((tmp_path / FILE).read_text())
    del told["names"]  # as earlier versions wrote it
    (tmp_path / FILE).write_text(json.dumps(told) + "\n")
    again = LoggedRuns(tmp_path, "here")
    assert not again.has("a", {"state": "finished"}) and again.rows("a") == 0


@pytest.mark.parametrize("cut", ['{"run": "b", "pla', "[]", '{"run": "b"}'])
def test_a_line_that_was_cut_off_counts_as_not_logged(tmp_path, cut):
    LoggedRuns(tmp_path, "here").note("a", 3, {})
    with (tmp_path / FILE).open("a") as file:
        file.write(cut)
    again = LoggedRuns(tmp_path, "here")
    assert again.rows("a") == 3 and again.rows("b") == 0


def test_what_is_noted_twice_is_written_once(tmp_path):
    record = LoggedRuns(tmp_path, "here")
    for _ in range(2):
        record.note("a", 3, {"state": "finished"})
    (line,) = (tmp_path / FILE).read_text().splitlines()
    assert json.loads(line)["run"] == "a"
