"""A search on a disk that becomes full: nothing is lost, and it can be resumed."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from warm_process import run_warm

from search.record.ledger import read

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 240  # seconds that any of these searches may take before the test gives up
SPACE = ("--space", "smoke", "--finalists", "off", "--wandb", "off", "--serial")


def launch(*arguments: object, python: Sequence[str] = ()) -> tuple[int, str, str]:
    words = [*map(str, arguments)]
    if python:
        done = subprocess.run(
            [*python, str(ROOT / "launch.py"), *words],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    else:
        done = run_warm(ROOT / "launch.py", words, Path.cwd(), os.environ, LIMIT)
    return done.returncode, done.stdout, done.stderr


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def values(run: Path) -> list[object]:
    """Return what each trial of a run has given, as far as two equal searches share it."""
    trials = read(run / "ledger.jsonl").trials.values()
    return [
        (
            trial.number,
            trial.state,
            trial.params,
            [*trial.epochs],
            trial.result and trial.result.objectives,
        )
        for trial in trials
    ]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """The values of the same search on a sound disk."""
    folder = tmp_path_factory.mktemp("runs")
    code, _, err = launch(*SPACE, "--out", folder, "--name", "twin")
    assert code == 0, err
    return values(folder / "twin")


def check_end(code: int, err: str, run: Path, reason: str) -> None:
    """Check that a search has ended in order: status 1, one line, no trial failed."""
    assert code == 1
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1 and reason in lines[0], err
    assert lines[0].endswith(f"resume with: python launch.py --resume {run}")
    assert not read(run / "ledger.jsonl").in_state("failed")
    partial = [path for path in run.rglob(".*") if path.is_file()]
    assert partial == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "reason"),  # kB: too few for two trials, and for the report
    [(700, "too little space: "), (4000, "No space left on device: ")],
)
def test_on_a_full_disk_a_search_ends_and_resumes(mount_disk, twin, size, reason):
    disk = mount_disk(size)
    run = disk / "full"
    code, _, err = launch(*SPACE, "--out", disk, "--name", "full")
    check_end(code, err, run, f"{reason}{run}")
    remount(disk, "size=50m")
    code, _, err = launch("--resume", run, "--serial", "--wandb", "off", "--finalists", "off")
    assert (code, err) == (0, "")
    assert values(run) == twin


@pytest.mark.slow
def test_where_no_state_can_be_written_a_search_ends_and_resumes(tmp_path, twin):
    """A limit on the size of files (`ulimit -f`) is not seen ahead, as a quota is not."""
    run = tmp_path / "limited"
    limited = ("bash", "-c", 'ulimit -f 150; exec "$@"', "bash", sys.executable)
    code, _, err = launch(*SPACE, "--out", tmp_path, "--name", run.name, python=limited)
    check_end(code, err, run, f"File too large: {run}/trials/0000/state.pt")
    code, _, err = launch("--resume", run, "--serial", "--wandb", "off", "--finalists", "off")
    assert (code, err) == (0, "")
    assert values(run) == twin
