"""What is logged to W&B, read back from its offline files."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from unittest.mock import MagicMock

import pytest
from offline_tracking import SCRIPT, STUDY, OfflineRun, environment, read_offline_runs, track_study
from synthetic_studies import events, header
from waiting import wait_until

from search.record.study_header import StudyHeader
from search.record.view import View
from search.tracking import wandb_runs
from search.tracking.tracker import study_id
from search.tracking.wandb_runs import WandbRuns

ABOUT = {
    "space": "rse_sigmas",
    "data": "digits",
    "scale": "laptop",
    "battery": "report",
    "commit": "c0ffee1",
}


def later_tags(first, later):
    """Return the tags that the last record of a run leaves."""
    return [first, *later][-1].tags


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The W&B runs of an offline search of 6 trials, and what its process printed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    folder.mkdir()
    printed = track_study(folder, "offline", 0, 999, trials=6)
    return folder, printed, read_offline_runs(folder)


@pytest.mark.slow
def test_each_trial_is_a_run_with_its_config_curves_and_summary(whole):
    view = View()
    for event in events(6, 1):
        view.apply(event)
    best = {trial.number for trial in view.front()}
    found: dict[str, list[OfflineRun]] = {}
    for part in (part for part in whole[2] if part.run.job_type == "trial"):
        found.setdefault(part.id, []).append(part)
    assert sorted(found) == [f"{STUDY}-{n:04d}" for n in range(6)]
    for number, trial in view.trials.items():
        first, *later = found[f"{STUDY}-{trial.name}"]
        assert (first.run.display_name, first.run.run_group) == (f"trial {trial.name}", STUDY)
        assert {k: first.config[k] for k in trial.params} == trial.params
        assert first.config["seed"] == trial.seed
        assert first.column("epoch") == sorted(trial.epochs)
        losses = [values.metrics["loss"] for _, values in sorted(trial.epochs.items())]
        assert first.column("train/loss") == pytest.approx(losses)
        watched = [values.metrics["watched_natural"] for _, values in sorted(trial.epochs.items())]
        assert first.column("validation/natural_accuracy") == pytest.approx(watched)
        assert first.config | ABOUT == first.config
        assert first.tags[:2] == ["rse_sigmas", "laptop"]
        assert ("failed" in first.tags) == (trial.state == "failed")
        assert first.metrics["*"].step_metric == "epoch"
        summary = first.summary | {k: v for part in later for k, v in part.summary.items()}
        assert summary["state"] == trial.state
        assert first.exit == (trial.state == "failed")
        if trial.result:
            assert summary["on_front"] == (number in best)
            assert summary["attacked_score"] == trial.result.objectives["attacked_score"]
            gap = trial.result.details.masking_gap
            assert gap is not None and summary["masking_gap"] == gap.gap
            assert summary["flagged"] == (number == 2) == ("flagged" in later_tags(first, later))
            assert ("front" in later_tags(first, later)) == (number in best)
            assert summary["natural_accuracy_low"] == trial.result.intervals["natural_accuracy"][0]
        else:
            assert summary["reason"] == trial.reason


@pytest.mark.slow
def test_the_study_run_holds_the_table_the_chart_and_the_hypervolume(whole):
    (study,) = (part for part in whole[2] if part.run.job_type == "study")
    assert (study.id, study.run.run_group, study.exit) == (STUDY, STUDY, 0)
    assert (study.config["space"], study.config["score"]) == ("rse_sigmas", "report")
    area = study.column("hypervolume")
    assert len(area) == 5 and area == sorted(area)
    assert study.metrics["*"].step_metric == "finished"
    assert "hypervolume" not in study.metrics  # no largest one: an earlier battery's may be larger
    assert (study.column("front_size")[-1], study.column("failed")[-1]) == (5, 1)
    tables = sorted(study.folder.glob("files/media/table/trials_*.json"), key=os.path.getmtime)
    table = json.loads(tables[-1].read_text())
    assert table["columns"][:3] == ["trial", "state", "seed"]
    assert len(table["data"]) == 6
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert (sum(row["on_front"] for row in rows), rows[2]["marks"]) == (5, "flagged")
    charts = sorted(study.folder.glob("files/media/plotly/front_*.json"), key=os.path.getmtime)
    traces = json.loads(charts[-1].read_text())["data"]
    assert {trace["name"] for trace in traces} >= {"front"}


def test_a_search_that_is_scored_again_gets_the_config_of_its_new_score(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb_runs, "_wandb", MagicMock())
    view = View()
    for event in events(6, 1):
        view.apply(event)
    runs = WandbRuns(tmp_path, STUDY, view.header, "offline", "robustune", None)
    runs.open()
    runs._runs[STUDY] = run = MagicMock()
    runs.log_study(view)
    run.config.update.assert_not_called()
    scale = {**view.header.scale, "score": "margin"}
    view.header = view.header.merge({"scale": scale})
    runs.log_study(view)
    (config,), _ = run.config.update.call_args
    assert config["score"] == "margin" and config["scale"] == scale
    runs.log_study(view)
    assert run.config.update.call_count == 1


@pytest.mark.slow
def test_the_search_neither_waits_nor_hears_of_it(whole):
    folder, printed, _ = whole
    assert "SAY" not in printed
    assert f"WHERE wandb sync {folder}/wandb/offline-run-*" in printed


@pytest.mark.slow
def test_nothing_is_written_outside_the_run_folder(whole):
    folder = whole[0]
    assert list((folder.parent / "home").rglob("*")) == []
    assert [path.name for path in folder.iterdir()] == ["wandb"]


@pytest.mark.slow
def test_a_resumed_search_goes_on_in_the_same_runs(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    track_study(folder, "offline", 0, 22, trials=16)  # trial 1 is at epoch 5 of 12
    track_study(folder, "offline", 22, 999, trials=16)
    found: dict[str, list[OfflineRun]] = {}
    for part in read_offline_runs(folder):
        found.setdefault(part.id, []).append(part)
    assert [len(part.column("hypervolume")) for part in found[STUDY]] == [1, 12]
    first, second, *_ = found[f"{STUDY}-0001"]
    assert first.column("epoch") + second.column("epoch") == list(range(1, 13))
    assert (first.summary["state"], second.summary["state"]) == ("interrupted", "finished")
    first, *later = found[f"{STUDY}-0000"]  # opened again only for its roles and its place
    assert (len(first.history), sum(len(part.history) for part in later)) == (12, 0)
    assert (first.summary["on_front"], later[-1].summary["on_front"]) == (True, False)


@pytest.mark.slow
def test_finalists_are_runs_of_their_own_kind(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    track_study(folder, "offline", 0, 999, trials=2, FINALS="1", PATIENCE="100")
    found = {part.id: part for part in read_offline_runs(folder)}
    for number, of in ((0, 0), (1, 1), (2, 0)):
        part = found[f"{STUDY}-final-{number:04d}"]
        assert (part.run.job_type, part.run.run_group) == ("finalist", STUDY)
        assert part.run.display_name == f"finalist {number:04d}"
        assert (part.config["trial"], part.config["seed"]) == (of, 5000 + number)
        assert part.column("epoch") == [1, 2, 3]
        assert part.exit == (number == 2)
        if number < 2:
            attacked = part.summary["final/attacked_score"]
            assert part.summary["final/claimed_attacked_score"] == attacked
            assert "attacked_score" not in part.summary  # it is a figure of the search
        else:
            assert part.summary["reason"] == "it broke"
    assert found[f"{STUDY}-0000"].run.job_type == "trial"
    tables = sorted(found[STUDY].folder.glob("files/media/table/finalists*.json"))
    table = json.loads(tables[-1].read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {row["trial"]: row["seeds"] for row in rows} == {0: 1, 1: 1}
    assert list(found[STUDY].folder.glob("files/media/plotly/finals_front*.json"))


@pytest.mark.slow
def test_ctrl_c_to_the_whole_process_group_loses_nothing(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), str(folder), "offline", "0", "22", "4", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path / "home"),
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "FED\n"
    wait_until(lambda: list(folder.glob("wandb/offline-run-*-0001/*.wandb")))
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert "SAY" not in out
    found = {part.id: part for part in read_offline_runs(folder)}
    assert [found[f"{STUDY}{end}"].exit for end in ("", "-0000", "-0001")] == [0, 0, 0]
    assert found[f"{STUDY}-0001"].column("epoch") == [1, 2, 3, 4, 5]


def test_two_studies_of_one_name_have_different_ids():
    one = StudyHeader.from_json(header())
    assert study_id(one) == study_id(StudyHeader.from_json(header())) == STUDY
    assert study_id(one) != study_id(replace(one, id="000000"))
    bare = StudyHeader(name="a/b c", time=1.0)
    assert study_id(bare).startswith("a-b-c-")
    assert study_id(bare) != study_id(replace(bare, time=2.0))
