"""What the search prints to be pasted does what it says, whatever the run folder is called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from warm_process import run_warm

from search.record.ledger import read

ROOT = Path(__file__).resolve().parents[2]
NASTY = "it's  $(touch hit) `touch hit`; touch hit\n:cat: \u202e-é"


def launch(flags: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "WANDB_MODE": "disabled"}
    return run_warm(ROOT / "launch.py", flags, cwd, environment, 180)


def paste(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={**os.environ, "PATH": path, "WANDB_MODE": "disabled"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.slow
def test_the_command_for_finals_runs_them(tmp_path):
    out = tmp_path / NASTY
    flags = ["--space", "smoke", "--serial", "--trials", "1", "--finalists", "off"]
    first = launch([*flags, "--name", "x", "--out", str(out)], tmp_path)
    assert first.returncode == 0, first.stderr
    (line,) = [line for line in first.stdout.splitlines() if line.startswith("  python launch.py")]
    pasted = line.replace("launch.py", str(ROOT / "launch.py"), 1)
    second = paste(f"{pasted} --serial --final-trainings 1", tmp_path)
    assert second.returncode == 0, second.stderr
    finals = read(out / "x" / "ledger.jsonl").finals
    assert finals and finals.in_state("finished")
    assert [path.name for path in tmp_path.iterdir()] == [NASTY]


@pytest.mark.slow
def test_a_name_that_begins_with_a_dash_is_no_flag(tmp_path):
    flags = ["--space", "smoke", "--serial", "--trials", "1", "--finalists", "off", "--out", "-x"]
    first = launch([*flags, "--name", "x"], tmp_path)
    assert first.returncode == 0, first.stderr
    assert "  python launch.py --finalists ./-x/x\n" in first.stdout
    assert "/./-x/" not in first.stdout


def test_a_taken_name_is_answered_with_a_flag_that_can_be_pasted(tmp_path):
    (tmp_path / "a b" / "x").mkdir(parents=True)
    flags = ["--space", "smoke", "--serial", "--name", "x", "--out", "a b"]
    done = launch(flags, tmp_path)
    assert done.returncode == 2
    assert "continue it with --resume 'a b/x'" in done.stderr
