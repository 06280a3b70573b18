"""`launch.py --publish`: a run that exists is logged to W&B from its ledger."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from offline_tracking import read_offline_runs
from warm_process import run_warm

from search.record.ledger import Ledger

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "recorded" / "v0" / "finished"
MISTAKES = {
    "no such run": (["--publish", "runs/b"], "no search in runs/b"),
    "with flags": (["--publish", "runs/a", "--trials", "3", "--serial"], "--trials, --serial"),
    "off": (["--publish", "runs/a", "--wandb", "off"], "Choose --wandb online or offline"),
    "bad project": (["--publish", "runs/a", "--wandb-project", "a/b"], "contains /"),
}


def launch(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return run_warm(ROOT / "launch.py", arguments, cwd, {**kept, "HOME": str(cwd)}, 300)


@pytest.fixture
def run(tmp_path):
    return Path(shutil.copytree(OLD, tmp_path / "runs" / "a"))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(name, run, tmp_path):
    arguments, said = MISTAKES[name]
    before = sorted(run.rglob("*"))
    done = launch(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and done.stderr.count("\n") == 1
    assert sorted(run.rglob("*")) == before


def test_a_run_that_is_being_searched_is_left_alone(run, tmp_path):
    ledger = Ledger(run / "ledger.jsonl")
    done = launch(tmp_path, "--publish", "runs/a", "--wandb", "offline")
    ledger.close()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "is in use" in done.stderr and not (run / "wandb").exists()


@pytest.mark.slow
def test_a_run_is_published_once(run, tmp_path):
    counts = []
    for said in ("Logged 3 trials of runs/a to W&B", "runs/a has not changed since it was logged"):
        done = launch(tmp_path, "--publish", "runs/a", "--wandb", "offline")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"{said}: wandb sync" in done.stdout
        found = [part.run.job_type for part in read_offline_runs(run)]
        counts.append([found.count(job) for job in ("study", "trial", "finalist")])
    assert counts == [[1, 3, 2], [1, 3, 2]]  # nothing new leaves no folder
    for kind in ("table/trials", "table/finalists", "plotly/front"):  # no version without news
        assert len(list(run.glob(f"wandb/offline-run-*/files/media/{kind}_*.json"))) == 1
