"""The view and the report of W&B, built and compared object for object without an account."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
from synthetic_studies import build, events, final_events, stopped_events

from search.finals.standings import compute_standings
from search.outcome.outcome import find_outcome
from search.record.view import View
from search.tracking import tracker, wandb_save
from search.tracking.wandb_report import build_report
from search.tracking.wandb_save import save_views
from search.tracking.wandb_sections import load_classes
from search.tracking.wandb_view import Place, build_workspace

PLACE = Place("me", "robustune", "rse_sigmas-1-5f2c9a")
RUNS = "Metric('Group') == 'rse_sigmas-1-5f2c9a'"
SECTIONS = [
    "Front",
    "Hyperparameters",
    "Robustness",
    "Finals",
    "Early stopping",
    "Failures",
    "All trials",
]


@pytest.fixture(scope="module")
def view():
    found = View()
    for event in (*events(9, 1, epochs=3), *stopped_events(9), *final_events()):
        found.apply(event)
    return found


DROPPED = ("__id__", "id", "ref", "layout")


def plain(model):
    """Return a model as plain data without ids, which are drawn anew, and without layouts.

    Reading a model gives its tables another layout.
    """

    def strip(value):
        if isinstance(value, dict):
            return {k: strip(v) for k, v in value.items() if k not in DROPPED}
        return [strip(one) for one in value] if isinstance(value, list) else value

    return strip(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)))


def test_the_workspace_holds_the_panels_in_reading_order(view):
    wr, _ = load_classes()
    workspace = build_workspace(view, compute_standings(view), PLACE)
    assert (workspace.entity, workspace.project, workspace.name) == (
        "me",
        "robustune",
        "rse_sigmas-1",
    )
    assert [section.name for section in workspace.sections] == SECTIONS
    front, knobs = workspace.sections[0].panels, workspace.sections[1].panels
    text, figure, area, seen, scatter = front
    assert "95 %" in text.markdown
    assert (figure.media_keys, seen.media_keys) == (["finals_front"], ["front"])
    assert (area.x, area.y) == (wr.Metric("finished"), [wr.Metric("hypervolume")])
    assert scatter.x == wr.SummaryMetric("natural_accuracy")
    assert scatter.y == wr.SummaryMetric("attacked_score")
    lines = next(panel for panel in knobs if isinstance(panel, wr.ParallelCoordinatesPlot))
    metrics = [column.metric for column in lines.columns]
    assert metrics[:-2] == [wr.Config(name) for name in view.header.knobs]
    assert metrics[-2:] == [wr.SummaryMetric(name) for name in view.header.aims]
    assert [column.log for column in lines.columns] == [None, True, None, None, None, None, None]
    bars = [p.with_respect_to for p in knobs if isinstance(p, wr.ParameterImportancePlot)]
    assert bars == ["natural_accuracy", "attacked_score"]


def test_the_workspace_survives_its_own_form(view):
    _, ws = load_classes()
    workspace = build_workspace(view, compute_standings(view), PLACE)
    model = workspace._to_model()
    read = ws.Workspace._from_model(model)
    assert workspace.runset_settings.filters == RUNS
    assert read.runset_settings.filters.replace('"', "'") == RUNS
    sent = plain(model)
    assert plain(read._to_model()) == sent
    assert plain(build_workspace(view, compute_standings(view), PLACE)._to_model()) == sent


def test_a_search_without_finals_stops_and_failures_has_no_such_sections():
    view = build(5, 0)
    workspace = build_workspace(view, compute_standings(view), PLACE)
    assert [section.name for section in workspace.sections] == [*SECTIONS[:3], "All trials"]


def test_a_search_without_a_result_has_a_view_too():
    view = build(0, 0)
    workspace = build_workspace(view, compute_standings(view), PLACE)
    assert workspace._to_model().display_name == "rse_sigmas-1"


def test_the_report_says_the_verdict_and_holds_the_same_panels(view, monkeypatch):
    wr, _ = load_classes()
    server = {"project": {"internalId": "1"}}
    module = "wandb_workspaces.reports.v2.interface"
    monkeypatch.setattr(f"{module}.execute_graphql", lambda *_: server)
    monkeypatch.setattr(f"{module}._get_api", MagicMock())
    standings, folder = compute_standings(view), Path("runs/x")
    report = build_report(view, standings, folder, PLACE)
    heads = [block.text for block in report.blocks if isinstance(block, wr.H2)]
    assert heads == ["Recommended nets", *SECTIONS, "How to repeat it"]
    code = [block.code for block in report.blocks if isinstance(block, wr.CodeBlock)]
    fetched = [line for text in code for line in text.splitlines() if "artifact get" in line]
    nets = {role.member.number for role in find_outcome(view, folder, standings).roles}
    assert len(fetched) == len(nets)
    assert f"wandb artifact get me/robustune/{PLACE.study}-" in fetched[0]
    grids = [block for block in report.blocks if isinstance(block, wr.PanelGrid)]
    workspace = build_workspace(view, standings, PLACE)
    shown = {type(panel) for grid in grids for panel in grid.panels}
    kept = {type(panel) for section in workspace.sections for panel in section.panels}
    assert shown == kept - {wr.MarkdownPanel}
    kinds = {grid.runsets[0].filters.rpartition(" and ")[2] for grid in grids}
    assert kinds == {
        f"Metric('JobType') {kind}" for kind in ("== 'study'", "== 'trial'", "!= 'study'")
    }
    sent = plain(report._to_model())
    assert sent == plain(build_report(view, standings, folder, PLACE)._to_model())
    read = wr.Report._from_model(report._to_model())
    read.width = report.width  # which reading leaves out
    assert sent == plain(read._to_model())


def test_saving_again_replaces_what_was_saved(view, tmp_path, monkeypatch):
    saved = []

    def build_fake(kind, **attributes):
        made = SimpleNamespace(url=f"https://{kind}", **attributes)
        made.save = lambda: saved.append((kind, dict(vars(made))))
        return made

    def workspace(*_):
        return build_fake("view", _internal_name="", _internal_id="")

    def report(*_):
        return build_fake("report", id="")

    monkeypatch.setattr(wandb_save, "build_workspace", workspace)
    monkeypatch.setattr(wandb_save, "build_report", report)
    assert save_views(view, PLACE, tmp_path) == ["https://view", "https://report"]
    note = tmp_path / "wandb" / "views.json"
    kept = json.loads(note.read_text()) | {"view": ["nw-1", "V1"], "report": "R1"}
    note.write_text(json.dumps(kept))
    save_views(view, PLACE, tmp_path)
    (_, first), (_, second), (_, third), (_, fourth) = saved
    assert (first["_internal_id"], second["id"]) == ("", "")
    assert (third["_internal_name"], third["_internal_id"], fourth["id"]) == ("nw-1", "V1", "R1")
    save_views(view, Place("you", "robustune", PLACE.study), tmp_path)
    assert saved[4][1]["_internal_id"] == ""


@pytest.mark.parametrize("broken", [False, True])
def test_an_online_search_ends_with_a_view_or_a_line(view, tmp_path, monkeypatch, broken):
    def save(view, place, folder):
        if broken:
            raise RuntimeError("no\nluck")
        return [f"https://{place.entity}/view", "https://report"]

    monkeypatch.setattr(tracker, "save_views", save)
    said: list[str] = []
    runs = SimpleNamespace(mode="online", url="", entity="me", project="robustune", open=str)
    runs.update = runs.log_study = runs.close = lambda *_, **__: None
    monkeypatch.setattr(tracker, "WandbRuns", lambda *_: runs)
    kept = tracker.Tracker(tmp_path, view.header, "online", "robustune", "me", say=said.append)
    kept.set_latest(view)
    kept.close(nets=True)
    if broken:
        assert said == ["W&B has no view and report of this search: RuntimeError: no luck"]
    else:
        assert said == ["W&B view: https://me/view", "W&B report: https://report"]
