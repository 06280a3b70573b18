"""The benchmark of faults: its verdicts are right, and each kind of damage is what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import faults
import pytest
from fault_kinds import damage, verdict
from fault_kinds.exact_resume import HOOKS
from fault_kinds.lab import Lab, StuckError, wait_for

from search.record.ledger import Ledger, read

FINISHED = {
    "objectives": {"natural_accuracy": 0.9, "attacked_score": 50.0},
    "intervals": {},
    "details": {"latency": 1.0, "best_epoch": 1},
}


def write(path: Path, *, loss: float = 1.0, latency: float = 1.0) -> Path:
    """Write a ledger of two trials, of which the second has failed."""
    path.parent.mkdir(exist_ok=True)
    ledger = Ledger(path)
    ledger.append("study", format=1)
    for n in (0, 1):
        ledger.append("proposed", trial=n, params={"x": n}, seed=n, origin="known")
        metrics = {"loss": loss}
        ledger.append("epoch", trial=n, epoch=1, epochs=1, seconds=1.0, metrics=metrics)
    details = {**FINISHED["details"], "latency": latency}
    ledger.append("finished", trial=0, **{**FINISHED, "details": details})
    ledger.append("failed", trial=1, reason="it exploded")
    ledger.close()
    return path


def test_there_are_25_kinds_and_more_each_described_once():
    assert len(faults.KINDS) >= 25
    assert len({kind.text for kind in faults.KINDS.values()}) == len(faults.KINDS)


def test_equal_searches_are_equal_however_fast_they_were(tmp_path):
    one, two = read(write(tmp_path / "a")), read(write(tmp_path / "b", latency=9.0))
    assert verdict.equals(one, two) and verdict.count_lost(one, two) == 0


def test_another_value_or_a_missing_trial_is_seen(tmp_path):
    twin = read(write(tmp_path / "a"))
    assert not verdict.equals(read(write(tmp_path / "b", loss=1.0000001)), twin)
    short = read(write(tmp_path / "c"))
    del short.trials[0]
    assert not verdict.equals(short, twin) and verdict.count_lost(short, twin) == 1
    short.trials[0] = replace(twin.trials[0], state="running")
    assert verdict.count_lost(short, twin) == 1


def test_an_epoch_that_was_lost_by_the_fault_itself_may_be_missing(tmp_path):
    twin, run = read(write(tmp_path / "a")), read(write(tmp_path / "b"))
    run.trials[0].epochs.clear()
    assert not verdict.equals(run, twin) and verdict.equals(run, twin, holes=True)
    assert not verdict.equals(twin, run, holes=True)


def test_a_bad_trial_has_to_fail_and_is_not_compared(tmp_path):
    twin, run = read(write(tmp_path / "a")), read(write(tmp_path / "b"))
    twin.trials[1].state = "finished"
    assert verdict.count_lost(run, twin) == 1 and not verdict.equals(run, twin)
    assert verdict.count_lost(run, twin, bad=[1]) == 0 and verdict.equals(run, twin, bad=[1])


def test_an_epoch_or_an_end_that_comes_twice_is_counted(tmp_path):
    path = write(tmp_path / "a")
    assert verdict.count_doubled(path) == 0
    lines = path.read_text().splitlines(keepends=True)
    twice = [line for line in lines if json.loads(line)["event"] in ("epoch", "failed")]
    path.write_text("".join([*lines, *twice]))
    assert verdict.count_doubled(path) == 3


@pytest.mark.parametrize(
    ("damager", "lines"),
    [
        (damage.damage_middle, 0),
        (damage.change_digit, 0),
        (damage.drop_middle, -1),
        (damage.double_middle, 1),
        (damage.cut_last_line, 0),
    ],
)
def test_a_damage_is_what_it_says(damager, lines, tmp_path):
    path = write(tmp_path / "a")
    before = path.read_bytes().splitlines()
    damager(path)
    after = path.read_bytes().splitlines()
    assert len(after) == len(before) + lines and after != before
    assert after[:2] == before[:2]


def test_statuses_are_short_and_a_row_has_all_columns(tmp_path):
    assert faults._statuses(["-9", "-9", "0"]) == "2 times killed, 0"
    done = verdict.Outcome(["143", "0"], 3.0)
    row = faults.run_kind(verdict.Kind("x", "nothing", lambda lab: done), 2, 0.1, tmp_path)
    assert row["verdict"] == "ok" and row["seconds"] == "3 to 3" and row["times"] == "2"
    lost = replace(done, lost=1)
    row = faults.run_kind(verdict.Kind("x", "nothing", lambda lab: lost), 1, 0.1, tmp_path)
    assert row["verdict"] == "not ok: see the row"
    assert faults.format_table([row]).count("\n") == 2


def test_rows_of_earlier_calls_stay_in_the_table_of_the_docs(tmp_path):
    done = verdict.Outcome(["143", "0"], 3.0)
    kinds = [faults.KINDS["driver"], faults.KINDS["output"]]  # whose text holds an escaped bar
    rows = [
        faults.run_kind(replace(kind, inject=lambda lab: done), 1, 0.1, tmp_path) for kind in kinds
    ]
    page = tmp_path / "page.md"
    page.write_text(f"| a | b |\n{faults.format_table(rows)}\nmore")
    assert faults._read_table(page) == dict(zip(("driver", "output"), rows, strict=True))
    assert faults._read_table(tmp_path / "none.md") == faults._read_table(None) == {}


def test_a_kind_that_is_stuck_or_raises_is_not_ok(tmp_path):
    def stick(lab: Lab) -> verdict.Outcome:
        raise StuckError("waited 3 s")

    outcome = faults.inject(verdict.Kind("x", "nothing", stick), 0.1, tmp_path)
    assert not outcome.ok and outcome.complaints == ["waited 3 s"]


def test_a_laboratory_ends_what_it_started_and_what_that_has_started(tmp_path):
    child = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]])"
    with Lab(tmp_path) as lab:
        launch = lab.start(tmp_path, "import time; time.sleep(600)", command=("-c", child))
        assert launch.wait(60) == 0
        wait_for(lab.find_processes, "the grandchild", limit=60)
        assert lab.find_processes("time.sleep(600)") == lab.find_processes()
    wait_for(lambda: not lab.find_processes(), "its end", limit=60)


def test_the_hooks_kill_at_the_chosen_moment(tmp_path):
    code = (
        "import os; open('new', 'w').close(); os.replace('new', 'state.pt'); "
        "open('new', 'w').close(); os.replace('new', 'state.pt'); print('alive')"
    )
    for moment, left in {"before-state": True, "before-event": False, "": False}.items():
        for path in (tmp_path / "new", tmp_path / "state.pt"):
            path.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(HOOKS),
                "FAULT_MOMENT": moment,
                "FAULT_PASSED": "1",
                "FAULT_COUNT": str(tmp_path / f"count-{moment}"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode == -9) == bool(moment), done.stderr
        assert ("alive" in done.stdout) == (not moment)
        assert (tmp_path / "new").exists() == left
