"""Finals and re-scoring as a user runs them: one command, killed, resumed, mistaken."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from flipped_bits import flip_in_file
from test_launch import LIMIT, launch, rows, start
from waiting import wait_until

from search.finals.standings import compute_standings
from search.record.event_lines import encode_line, read_lines
from search.record.ledger import Ledger, read

MISTAKES = {
    "no such run": (["--finalists", "runs/nobody"], "the folder of a run"),
    "no such run to re-score": (["--rescore", "runs/nobody"], "no search in runs/nobody"),
    "a word": (["--space", "smoke", "--finalists", "atuo"], "did you mean 'auto'"),
    "none at all": (["--space", "smoke", "--finalists", "0"], "1 or more"),
    "off and some": (["--space", "smoke", "--finalists", "off", "--final-trainings", "3"], "off"),
    "two numbers": (["--space", "smoke", "--finalists", "4", "--final-trainings", "3"], "4"),
    "two runs": (["--finalists", "runs/a", "--resume", "runs/b"], "give only one of them"),
    "another battery": (["--resume", "runs/a", "--battery-steps", "3"], "--rescore"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(name, tmp_path):
    arguments, said = MISTAKES[name]
    done = launch(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run whose driver was killed after the first of three finals, and what it had by then."""
    home = tmp_path_factory.mktemp("home")
    ledger = home / "runs" / "x" / "ledger.jsonl"
    search = ("--space", "smoke", "--serial", "--name", "x", "--score", "report")
    arguments = (*search, "--trials", 3, "--finalists", 3)
    running = start(*arguments, cwd=home)
    wait_until(lambda: ledger.exists() and _has_a_final(ledger), LIMIT)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    return home, read(ledger)


def _has_a_final(ledger):
    lines = ledger.read_text().splitlines()
    return any('"final"' in line and '"finished"' in line for line in lines)


@pytest.mark.slow
def test_finals_that_were_killed_resume_and_lose_nothing(killed):
    home, before = killed
    folder = home / "runs" / "x"
    assert len(before.in_state("finished")) == 3 and before.finals.in_state("finished")
    done = launch("--finalists", "runs/x", "--serial", cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The front of the finals: means over" in done.stdout
    after = read(folder / "ledger.jsonl")
    assert after.finals is not None
    for number, run in before.finals.trials.items():
        if run.result:
            assert after.finals.trials[number].result == run.result
        for epoch, values in run.epochs.items():
            assert after.finals.trials[number].epochs[epoch] == values
    assert 1 <= len(after.finals.trials) <= 3
    assert {run.state for run in after.finals.trials.values()} == {"finished"}
    events = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    ends = [
        e["part"]["trial"]
        for e in events
        if e["event"] == "final" and e["part"]["event"] == "finished"
    ]
    assert len(ends) == len(set(ends))
    field = [f for f in compute_standings(after) if f.known]
    assert [int(row["trial"]) for row in rows(folder / "finalists.csv") if row["p_on_front"]] == [
        f.trial.number for f in field
    ]
    assert len(rows(folder / "finals.csv")) == len(after.finals.trials)
    for run in after.finals.trials.values():
        assert run.result is not None and run.result.details.weights is not None
        assert run.result.details.images == 30  # test images: 30 at this scale
        assert (folder / run.result.details.weights).is_file()
        if run.number not in before.finals.trials:  # the kill may come before the tidying
            assert not (folder / "finals" / "trials" / run.name / "state.pt").exists()
        gap = run.result.details.masking_gap
        assert gap is not None and (gap.gap >= 0 or run.result.details.random)


@pytest.mark.slow
def test_another_battery_rebuilds_the_front(killed):
    home, _ = killed
    folder = home / "runs" / "again"
    shutil.copytree(home / "runs" / "x", folder)
    before = read(folder / "ledger.jsonl")
    kept = (folder / "trials" / "0000" / "best.safetensors").read_bytes()
    (folder / "trials" / "0000" / "best.safetensors").unlink()
    (folder / "front" / "0000.safetensors").unlink(missing_ok=True)
    done = launch("--rescore", "runs/again", "--battery-steps", 3, "--serial", cwd=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not re-scored: trial 0: no weights at" in done.stdout
    after = read(folder / "ledger.jsonl")
    assert "Finished, but without a result under this battery: trial 0" in done.stdout
    assert [t.number for t in after.in_state("finished")] == [0, 1, 2]
    assert [t.number for t in after.scored()] == [1, 2]
    for trial in after.scored():
        old = before.trials[trial.number].result
        assert old is not None and trial.result is not None
        assert trial.result.objectives["natural_accuracy"] == old.objectives["natural_accuracy"]
        assert trial.result.objectives["attacked_score"] <= old.objectives["attacked_score"] + 30
        assert trial.result.details.table is not None
        assert trial.result.details.table["names"][0] == "pgd3-0.01"
    assert {row["trial"] for row in rows(folder / "front.csv")} <= {"1", "2"}
    more = launch(
        "--resume", "runs/again", "--trials", 4, "--finalists", "off", "--serial", cwd=home
    )
    assert more.returncode == 0, more.stdout + more.stderr
    last = read(folder / "ledger.jsonl").trials[3]
    assert last.result is not None and last.result.details.table is not None
    assert last.result.details.table["names"][0] == "pgd3-0.01"
    (folder / "trials" / "0000" / "best.safetensors").write_bytes(kept)
    back = launch("--rescore", "runs/again", "--battery-steps", 3, "--serial", cwd=home)
    assert back.returncode == 0, back.stdout + back.stderr
    assert [t.number for t in read(folder / "ledger.jsonl").scored()] == [0, 1, 2, 3]


@pytest.mark.slow
def test_changed_nets_are_refused_and_nothing_is_lost(killed):
    home, before = killed
    folder = Path(shutil.copytree(home / "runs" / "x", home / "runs" / "changed"))
    shutil.rmtree(folder / "front", ignore_errors=True)
    for number, path in enumerate(sorted(folder.glob("**/trials/*/best.safetensors"))):
        flip_in_file(path, 400_000 + number)
    done = launch("--rescore", "runs/changed", "--battery-steps", 3, "--serial", cwd=home)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "nothing was replaced" in done.stderr and done.stderr.count("\n") == 1
    assert "has changed since it was written" in done.stderr
    assert "has lost its net, so it is not in front/" in done.stdout
    after = read(folder / "ledger.jsonl")
    assert {t.number: t.result for t in after.scored()} == {
        t.number: t.result for t in before.scored()
    }
    assert after.header.battery == before.header.battery
    assert list((folder / "front").iterdir()) == []
    page = (folder / "report.html").read_text()
    assert "lost</b>" in page


@pytest.mark.slow
def test_a_mistake_about_a_run_is_one_line(killed):
    home, _ = killed
    source = home / "runs" / "x" / "ledger.jsonl"
    empty = home / "runs" / "empty" / "ledger.jsonl"
    empty.parent.mkdir()
    empty.write_text(source.read_text().splitlines()[0] + "\n")
    for flag, said in (("--finalists", "no finished trial"), ("--rescore", "nothing to re-score")):
        done = launch(flag, "runs/empty", "--serial", cwd=home)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert said in done.stderr
    held = Ledger(source)
    try:
        for flag in ("--finalists", "--rescore"):
            done = launch(flag, "runs/x", "--serial", cwd=home)
            assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
            assert "in use" in done.stderr
    finally:
        held.close()
    weak = home / "runs" / "weak"
    weak.mkdir()
    events = [line.event for line in read_lines(source)]
    for attack in events[0]["battery"]:
        attack["steps"] = 2
    lines = [encode_line(event, number) for number, event in enumerate(events)]
    (weak / "ledger.jsonl").write_bytes(b"".join(lines))
    done = launch("--resume", "runs/weak", "--trials", 9, "--serial", cwd=home)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--rescore" in done.stderr
    done = launch("--rescore", "runs/weak", "--serial", cwd=home)
    assert done.returncode == 2 and "no weights" in done.stderr
