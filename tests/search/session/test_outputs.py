"""The files of a session that follow from its ledger, on a disk that fails."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from formula_runs import GRID, Formula, no_recipe

from adv.terminal.console import open_console
from search.backends import serial
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.record.trial import EpochReport
from search.record.trial_result import ResultDetails, TrialResult
from search.session.options import Options
from search.session.outputs import copy_front, write_outputs
from search.session.summary import print_summary
from search.study import Study
from spaces import Choice, Int, Space

WEIGHTS = 20_000  # bytes


class FormulaWithWeights(Formula):
    """A formula that writes a file of weights."""

    def __call__(self, params, seed, folder):
        for report in super().__call__(params, seed, folder):
            path = folder / "best.safetensors"
            path.write_bytes(bytes([seed]) * WEIGHTS)
            details = ResultDetails(weights=str(Path("trials", folder.name, path.name)))
            result = report.result and replace(report.result, details=details)
            yield replace(report, result=result)


def search(folder, trials):
    ledger = Ledger(folder / "ledger.jsonl")
    serial.search(Study(GRID, ledger, trials=trials, seed=0), FormulaWithWeights(1), Interrupt())
    ledger.close()
    return ledger.view


def content(folder):
    return {path.name: path.read_bytes() for path in (folder / "front").iterdir()}


def test_the_front_is_copied_and_what_left_it_is_removed(tmp_path):
    view = search(tmp_path, 6)
    (tmp_path / "front").mkdir()
    for name in ("0099.safetensors", ".0001.safetensors.123", "mine.txt"):
        (tmp_path / "front" / name).write_text("old")
    copy_front(view, tmp_path)
    copy_front(view, tmp_path)
    members = {f"{t.name}.safetensors": bytes([t.number]) * WEIGHTS for t in view.front()}
    assert len(members) == 3 and content(tmp_path) == members


def test_a_full_disk_costs_no_file_of_the_front(mount_disk):
    folder = mount_disk(300)
    view = search(folder, 6)
    copy_front(view, folder)
    before = content(folder)
    (folder / "other").write_bytes(bytes(shutil.disk_usage(folder).free))
    with pytest.raises(OSError, match=r"No space left on device.*front/"):
        copy_front(view, folder)
    assert content(folder) == before


def test_a_disk_that_becomes_read_only_costs_no_file_of_the_front(mount_disk):
    folder = mount_disk(1000)
    view = search(folder, 6)
    copy_front(view, folder)
    before = content(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(OSError, match="Read-only file system"):
        copy_front(view, folder)
    assert content(folder) == before


def test_nothing_is_written_where_a_run_folder_was_before_it_went_away(tmp_path):
    """It would lie under the mount, or in the way, when the folder comes back."""
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    study = Study(GRID, Ledger(folder / "ledger.jsonl"), trials=2, seed=0)
    serial.search(study, FormulaWithWeights(1), Interrupt())
    folder.rename(tmp_path / "away")
    job: Any = SimpleNamespace(study=study, folder=folder)
    closed: list[bool] = []
    tracker: Any = SimpleNamespace(close=lambda **_: closed.append(True))
    assert "ledger.jsonl" in write_outputs(job, tracker, "the storage is away", 1)
    assert closed and not folder.exists()
    study.ledger.close()


def test_on_a_full_disk_the_summary_names_no_file_that_is_not_there(mount_disk, capfd):
    folder = mount_disk(20_000)
    study = Study(GRID, Ledger(folder / "ledger.jsonl"), trials=6, seed=0)
    serial.search(study, FormulaWithWeights(1), Interrupt())
    full, tracker = folder / "other", SimpleNamespace(close=lambda **_: None)
    full.write_bytes(bytes(shutil.disk_usage(folder).free))
    job: Any = SimpleNamespace(study=study, folder=folder, options=Options(), mirror=None)
    for room in (False, True):
        if room:
            full.unlink()
        problem = write_outputs(job, cast(Any, tracker), "", 0)
        print_summary(open_console(), job, "", problem)
        said = capfd.readouterr().out.splitlines()
        assert bool(problem) is not room
        assert (f"report   {folder}/report.html" in said) is room
        assert (f"weights  {folder}/front/" in said) is room
    study.ledger.close()


def test_a_space_of_six_ends_the_search_in_one_line_and_a_constant_is_named(tmp_path, capfd):
    """Fifty trials are asked for; each configuration is trained once."""
    space = Space("?", {"a": Choice(("x", "y", "z")), "b": Int(1, 2)}, no_recipe)

    def run(params, seed, folder):
        objectives = {"natural_accuracy": 0.5, "attacked_score": 10.0 * params["b"]}
        yield EpochReport(1, 1, 1.0, {}, TrialResult(objectives))

    study = Study(space, Ledger(tmp_path / "ledger.jsonl"), trials=50, seed=0)
    serial.search(study, run, Interrupt())
    job: Any = SimpleNamespace(study=study, folder=tmp_path, options=Options())
    print_summary(open_console(), job, "", "")
    said = " ".join(capfd.readouterr().out.split())
    assert said.count("has been tried, 6 of 50 trials: the search has ended.") == 1
    assert said.count("natural_accuracy was 0.5 in all 6 finished trials") == 1
    assert "attacked_score was" not in said
    study.ledger.close()
