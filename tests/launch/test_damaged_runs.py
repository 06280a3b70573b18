"""Damaged ledgers as a user meets them: refused by each command, repaired, and resumed."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_launch import ROOT, launch

from search.record.ledger import read

OLD = ROOT / "tests" / "recorded" / "v0" / "finished"
MISTAKES = {
    "no such run": (["--repair", "runs/nobody"], "no search in runs/nobody"),
    "a near name": (["--repair", "runs/ab d"], "did you mean runs/a b d"),
    "with another run": (["--repair", "runs/a", "--resume", "runs/b"], "leave out --resume"),
    "with flags": (["--repair", "runs/a", "--trials", "3", "--serial"], "--trials, --serial"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, tmp_path):
    arguments, said = MISTAKES[name]
    run = Path(shutil.copytree(OLD, tmp_path / "runs" / "a b d"))
    before = sorted(run.rglob("*"))
    done = launch(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
    assert sorted(run.rglob("*")) == before


READERS = {
    "resume": ["launch.py", "--resume", "runs/a b", "--serial"],
    "resume on a cluster": ["launch.py", "--resume", "runs/a b"],  # before one is started
    "finals": ["launch.py", "--finalists", "runs/a b", "--serial"],
    "re-scoring": ["launch.py", "--rescore", "runs/a b", "--serial"],
    "warm start": [
        *("launch.py", "--space", "smoke", "--serial", "--name", "new", "--warm-from", "runs/a b"),
    ],
    "replay": ["-m", "search.replay", "runs/a b"],
}


@pytest.mark.parametrize("name", READERS)
def test_no_command_goes_on_with_a_damaged_ledger(name, tmp_path):
    run = Path(shutil.copytree(OLD, tmp_path / "runs" / "a b"))
    lines = (run / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (run / "ledger.jsonl").write_bytes(b"".join([*lines[:4], b"\0\n", *lines[5:]]))
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    program, *arguments = READERS[name]
    if program == "launch.py":
        done = launch(*arguments, cwd=tmp_path)
    else:
        words = [sys.executable, program, *arguments]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"line 5, it is no JSON; {len(lines) - 5} whole events follow" in done.stderr
    assert "python launch.py --repair 'runs/a b'" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("header", [True, False])
def test_of_an_empty_ledger_the_remedy_is_named(header, tmp_path):
    run = Path(shutil.copytree(OLD, tmp_path / "runs" / "a b"))
    (run / "ledger.jsonl").write_bytes(b"")
    if not header:
        (run / "study.json").unlink()
    done = launch("--resume", "runs/a b", "--serial", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "is empty: start again with another --name" in done.stderr
    command = "study.json: python launch.py --repair 'runs/a b'"
    assert done.stderr.strip().endswith(command) == header
    done = launch("--repair", "runs/a b", cwd=tmp_path)
    assert done.returncode == (0 if header else 2)


@pytest.mark.slow
def test_a_damaged_run_is_repaired_and_goes_on(tmp_path):
    """The printed commands are run as they are; what was not lost is as it was."""
    flags = ("--serial", "--trials", 3, "--finalists", "off")
    done = launch("--space", "smoke", "--out", "my runs", "--name", "x", *flags, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ledger = tmp_path / "my runs" / "x" / "ledger.jsonl"
    before, lines = read(ledger), ledger.read_bytes().splitlines(keepends=True)
    kinds = [re.findall(rb'"event": "(\w+)"', line)[0] for line in lines]
    finished = [n for n, kind in enumerate(kinds) if kind == b"finished"]
    proposed = [n for n, kind in enumerate(kinds) if kind == b"proposed"]
    lines[proposed[1]] = lines[proposed[1]].replace(b'"seed": ', b'"seed":')
    del lines[finished[2]]
    ledger.write_bytes(b"".join(lines))
    done = launch("--repair", "my runs/x", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Trial 1: lost" in done.stdout and "Trial 2: not ended" in done.stdout
    move, resume = [line.strip() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert subprocess.run(move, shell=True, cwd=tmp_path, check=False).returncode == 0
    assert (ledger.parent / "ledger.damaged.jsonl").read_bytes() == b"".join(lines)
    python, program, *arguments = shlex.split(resume)
    assert (python, program) == ("python", "launch.py")
    done = launch(*arguments, "--serial", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    view = read(ledger)
    assert [t.number for t in view.in_state("finished")] == [0, 2, 3]
    assert view.trials[0] == before.trials[0]
    again, once = view.trials[2].result, before.trials[2].result
    assert again is not None and once is not None and again.objectives == once.objectives
    said = "The ledger was repaired, without"
    assert said in done.stdout and said in (ledger.parent / "report.html").read_text()
