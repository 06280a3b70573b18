"""A reviewer finds the data of each panel of the view and the report in W&B's offline files."""

import json

import numpy as np
import pytest
from offline_tracking import STUDY, OfflineRun, read_offline_runs, track_study
from synthetic_studies import events, final_events, stopped_events

from search.finals.standings import compute_standings
from search.outcome.front import find_front
from search.record.view import View
from search.tracking.metric_names import UNITS
from search.tracking.run_records import STATE_TAGS, run_key
from search.tracking.standing import find_standing
from search.tracking.wandb_sections import build_parts

pytest.importorskip("wandb_workspaces", exc_type=ImportError)
pytestmark = pytest.mark.slow
FILES = "trials/{:04d}"
WEIGHTS = b"the weights of a net"


def write_nets(folder, numbers):
    """Write a checkpoint and examples for trials of a synthetic search."""
    images = np.stack([np.full((3, 8, 8), shade, np.uint8) for shade in (0, 9)])
    for number in numbers:
        trial = folder / FILES.format(number)
        trial.mkdir(parents=True)
        (trial / "best.safetensors").write_bytes(WEIGHTS)
        np.savez(
            trial / "examples.npz",
            images=images,
            attacked=images + 5,
            labels=np.array([0, 1]),
            predicted=np.array([0, 1]),
            predicted_attacked=np.array([1, 1]),
            classes=np.array(["cat", "dog"]),
            eps=np.array(8 / 255),
            norm=np.array("Linf"),
        )


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory):
    """The view of a search with finals, stops and failures, and its W&B records by run."""
    folder = tmp_path_factory.mktemp("reviewed") / "run"
    folder.mkdir()
    write_nets(folder, range(12))
    flags = {"STOPPED": "1", "FINALS": "1", "NETS": "1", "PATIENCE": "100"}
    track_study(folder, "offline", 0, 999, trials=9, **flags)
    view = View()
    for event in (*events(9, 1), *stopped_events(9), *final_events()):
        view.apply(event)
    runs: dict[str, list[OfflineRun]] = {}
    for part in read_offline_runs(folder):
        runs.setdefault(part.id, []).append(part)
    return view, runs


def keys_of(parts):
    """Return the keys that a run has logged: of its config, its history and its summary."""
    found: dict[str, set[str]] = {"config": set(), "history": set(), "summary": set()}
    for part in parts:
        found["config"] |= set(part.config)
        found["history"] |= {name.partition("/_")[0] for row in part.history for name in row}
        found["summary"] |= set(part.summary) | {name.rpartition("/")[0] for name in part.summary}
    return found


def test_each_panel_has_its_data(reviewed):
    view, runs = reviewed
    study = keys_of(runs[STUDY])
    trials = keys_of(p for key in runs for p in runs[key] if p.run.job_type == "trial")
    nets = keys_of(p for key in runs for p in runs[key] if p.run.job_type != "study")
    seen = []
    for part in build_parts(view, compute_standings(view)):
        for panels, held in ((part.panels, study), (part.trial_panels, trials)):
            for panel in panels:
                seen.append(type(panel).__name__)
                check_panel(panel, held)
        for panel in part.net_panels:
            check_panel(panel, nets)
    assert {"ScatterPlot", "ParallelCoordinatesPlot", "ParameterImportancePlot"} <= set(seen)
    assert seen.count("WeavePanelSummaryTable") == 4  # trials, finalists, failures, stopping


def check_panel(panel, held):
    """Assert that what a panel names has been logged."""
    kind = type(panel).__name__
    if kind == "MediaBrowser":
        assert set(panel.media_keys) <= held["summary"], panel
    elif kind == "WeavePanelSummaryTable":
        assert panel.table_name in held["summary"], panel
    elif kind == "LinePlot":
        assert {panel.x.name, *(y.name for y in panel.y)} <= held["history"], panel
    elif kind == "ScatterPlot":
        assert {panel.x.name, panel.y.name} <= held["summary"], panel
    elif kind == "ScalarChart":
        assert panel.metric.name in held["summary"], panel
    elif kind == "ParameterImportancePlot":
        assert panel.with_respect_to in held["summary"], panel
    else:
        for column in panel.columns:
            where = "config" if type(column.metric).__name__ == "Config" else "summary"
            assert column.metric.name in held[where], column


def test_each_number_has_a_documented_name(reviewed):
    view, runs = reviewed
    known = {*UNITS, *view.header.aims}
    known |= {f"final/{name}" for name in known}
    odd = set()
    for parts in runs.values():
        for part in parts:
            plain = {**part.summary, **{k: v for row in part.history for k, v in row.items()}}
            for name, value in plain.items():
                base = name.removesuffix("_low").removesuffix("_high")
                number = isinstance(value, bool | int | float) and not name.startswith("_")
                media = f"{name.rpartition('/')[0]}/_type" in plain
                if number and base not in known and not media:
                    odd.add(name)
    assert odd == {
        "final/claimed_natural_accuracy",
        "final/validation_natural_accuracy",
        "train/train_accuracy",  # of the synthetic search alone
    }


def test_tables_and_figures_are_written_once(reviewed):
    _, runs = reviewed
    (study,) = runs[STUDY]
    for kind in ("finalists", "failures", "stopping"):
        (path,) = study.folder.glob(f"files/media/table/{kind}_*.table.json")
        assert json.loads(path.read_text())["data"]
    for kind in ("robustness_curves", "importance", "finals_front", "selection_bias"):
        assert len(list(study.folder.glob(f"files/media/plotly/{kind}_*.json"))) == 1


def test_the_curves_are_those_of_the_nets_on_the_one_front(reviewed):
    view, runs = reviewed
    (study,) = runs[STUDY]
    members = find_front(view).members
    assert {member.is_final for member in members} == {True, False}
    named = [f"trial {m.number}{'' if m.is_final else ' (search)'}" for m in members]
    for kind in ("robustness_curves", "learning_curves"):
        (path,) = study.folder.glob(f"files/media/plotly/{kind}_*.json")
        assert [trace["name"] for trace in json.loads(path.read_text())["data"]] == named
    (path,) = study.folder.glob("files/media/plotly/robustness_curves_*.json")
    for member, trace in zip(members, json.loads(path.read_text())["data"], strict=True):
        assert member.net.result and member.net.result.details.curve
        shown = [100 * row[1] for row in sorted(map(tuple, member.net.result.details.curve))]
        assert trace["y"] == pytest.approx(shown)


def test_nets_of_the_front_are_outputs_of_the_runs_that_trained_them(reviewed):
    view, runs = reviewed
    standing = find_standing(view, roles=True)
    makers = {
        number: run_key(STUDY, net.training, final=net.is_final)
        for number, net in standing.front.items()
    }
    assert {net.is_final for net in standing.front.values()} == {True, False}
    logged = {name: a for key in runs for part in runs[key] for name, a in part.artifacts.items()}
    assert set(logged) == {f"{key}-net" for key in makers.values()}
    for number, key in makers.items():
        artifact = logged[f"{key}-net"]
        aliases = {"front", "latest", *standing.roles.get(number, ())}
        assert (artifact.type, set(artifact.aliases)) == ("model", aliases)
        assert artifact.run_id == key
        (entry,) = artifact.manifest.contents
        result = standing.front[number].training.result
        assert result is not None
        weights = result.details.weights
        assert entry.local_path.endswith(weights) and entry.size == len(WEIGHTS)


def test_pictures_show_image_attack_and_difference(reviewed):
    image = pytest.importorskip("PIL.Image")
    view, runs = reviewed
    front = find_standing(view, roles=False).front
    number = next(number for number, net in front.items() if not net.is_final)
    last = runs[f"{STUDY}-{number:04d}"][-1]
    captions = last.summary["attacked_images/captions"]
    assert captions[0] == "cat: predicted cat, under Linf(0.0314) dog; difference x10"
    pictures = sorted(last.folder.glob("files/media/images/attacked_images_*.png"))
    assert len(pictures) == 2
    shades = []
    for path in pictures:
        pixels = np.asarray(image.open(path))
        assert pixels.shape == (128, 3 * 128, 3)
        shades.append([int(pixels[0, x, 0]) for x in (0, 128, 256)])
    assert sorted(shades) == [[0, 5, 178], [9, 14, 178]]


def test_marks_and_places_are_tags(reviewed):
    view, runs = reviewed
    standing = find_standing(view, roles=False)
    for number, trial in view.trials.items():
        tags = set(runs[f"{STUDY}-{trial.name}"][-1].tags)
        assert ("front" in tags) == (number in standing.front)
        assert ("failed" in tags) == (trial.state == "failed")
        marks = set(filter(None, standing.list_marks(trial, view.header).split(", ")))
        assert tags & set(STATE_TAGS) - {"front", "failed"} == marks
