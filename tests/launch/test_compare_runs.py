"""`launch.py --compare`: two runs in the terminal and on one page."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from warm_process import run_warm

ROOT = Path(__file__).resolve().parents[2]
OLD = ROOT / "tests" / "recorded" / "v0" / "finished"


def launch(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_warm(ROOT / "launch.py", arguments, cwd, os.environ, 100)


@pytest.fixture
def runs(tmp_path):
    for name in ("a", "b"):
        shutil.copytree(OLD, tmp_path / "runs" / name)
    return tmp_path


def test_two_runs_are_compared_and_a_page_is_written(runs):
    before = {path: path.read_bytes() for path in runs.rglob("ledger.jsonl")}
    done = launch(runs, "--compare", "runs/a", "runs/b")
    assert (done.returncode, done.stderr) == (0, "")
    assert "a and b cannot be told apart in hypervolume" in done.stdout
    page = (runs / "runs" / "compare-a-and-b.html").read_text()
    assert "id='figure-fronts'" in page and "cannot be told apart in hypervolume" in page
    assert {path: path.read_bytes() for path in runs.rglob("ledger.jsonl")} == before
    assert launch(runs, "--compare", "runs/a", "--compare", "runs/b", "--out", "x").returncode == 0
    assert [path.name for path in (runs / "x").iterdir()] == ["compare-a-and-b.html"]


def test_runs_on_other_data_are_refused_in_one_line(runs):
    ledger = runs / "runs" / "b" / "ledger.jsonl"
    first, *rest = ledger.read_text().splitlines()
    header = json.loads(first) | {"data": "cifar10"}
    ledger.write_text("\n".join([json.dumps(header), *rest]) + "\n")
    done = launch(runs, "--compare", "runs/a", "runs/b")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "a and b cannot be compared: they differ in their data (digits; cifar10)" in done.stderr
    assert not list((runs / "runs").glob("*.html"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare"], "--compare"),
        (["--compare", "runs/a"], "two different runs or more"),
        (["--compare", "runs/a", "runs/../runs/a"], "two different runs or more"),
        (["--compare", "runs/a", "runs/c"], "no search in runs/c"),
        (["--compare", "runs/a", "runs/b", "--trials", "3"], "leave out --trials"),
        (["runs/a", "runs/b"], "unexpected extra arguments (runs/a runs/b)"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(runs, arguments, said):
    done = launch(runs, *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr
