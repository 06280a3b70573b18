"""A search on a disk that becomes full or read-only: nothing is lost, and it can be resumed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from search.record.ledger import read

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 240  # seconds that any of these searches may take before the test gives up
SPACE = ("--space", "smoke", "--finalists", "off", "--wandb", "off", "--serial")


def start(*arguments: object, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), *map(str, arguments)],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(*arguments: object) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=LIMIT)
    return process.returncode, out, err


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
    [(1700, "too little space: "), (4000, "No space left on device: ")],
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
def test_on_a_disk_that_becomes_read_only_a_search_ends_and_resumes(mount_disk, twin):
    disk = mount_disk(50_000)
    run = disk / "ro"
    process = start(*SPACE, "--out", disk, "--name", "ro")
    deadline = time.monotonic() + LIMIT
    while not (run / "ledger.jsonl").exists() or not read(run / "ledger.jsonl").in_state(
        "finished"
    ):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    while subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=False).returncode:
        assert time.monotonic() < deadline  # it is busy while a file is being written
        time.sleep(0.01)
    _, err = process.communicate(timeout=LIMIT)
    check_end(process.returncode, err, run, "Read-only file system: ")
    remount(disk, "rw")
    code, _, err = launch("--resume", run, "--serial", "--wandb", "off", "--finalists", "off")
    assert (code, err) == (0, "")
    assert values(run) == twin
