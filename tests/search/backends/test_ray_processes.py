"""Ray searches in processes of their own; drivers and workers are killed."""

import os
import random
import signal
import socket
import subprocess
import time

import pytest
from formula_runs import trained_epochs
from ray_driver import STOPPER
from ray_processes import (
    assert_each_once,
    assert_ends,
    open_gate,
    read_events,
    start,
    start_gated,
    wait_for_epochs,
)

from search.record.ledger import read
from search.record.trial import Rung
from search.record.view import View

pytestmark = pytest.mark.slow


def test_a_driver_killed_at_any_moment_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "run"
    chance = random.Random(time.time_ns())
    for low in (1, 9):
        moment = chance.randint(low, low + 8)
        driver = start(folder, epochs=4, pause=0.1)
        wait_for_epochs(folder, moment)
        driver.kill()
        driver.communicate()
    assert_ends(start(folder, epochs=4))
    assert_each_once(folder, trials=6, epochs=4)


def test_a_driver_killed_at_any_moment_decides_at_rungs_as_if_it_had_lived(tmp_path):
    """Each decision is what the rule decides from the ledger before it."""
    folder = tmp_path / "run"
    settings = {"trials": 14, "epochs": 4, "rung": 2}
    chance = random.Random(time.time_ns())
    for low in (10, 28):
        moment = chance.randint(low, low + 8)
        driver = start(folder, pause=0.05, **settings)
        wait_for_epochs(folder, moment)
        driver.kill()
        driver.communicate()
    assert_ends(start(folder, **settings))
    view, decided = View(), []
    for event in read_events(folder):
        if event["event"] == "rung":
            names = ("epoch", "strength", "objectives", "sds", "table")
            rung = Rung(*(event[name] for name in names))
            said = STOPPER.decide(view, event["trial"], rung)
            assert (said.action, said.reason) == (event["action"], event["reason"])
            decided.append(event["trial"])
        view.apply(event)
    assert sorted(decided) == list(range(14))  # once each
    for kinds in (("proposed",), ("finished", "stopped")):
        told = [event["trial"] for event in read_events(folder) if event["event"] in kinds]
        assert sorted(told) == list(range(14))
    assert {t.state for t in view.trials.values()} == {"finished", "stopped"}
    for trial in view.trials.values():
        stops = [d.action for d in trial.decisions.values()] == ["stop"]
        assert stops == (trial.state == "stopped")
        epochs = [1, 2, *([] if stops else [3, 4])]
        assert trained_epochs(folder / "trials" / trial.name) == sorted(trial.epochs) == epochs


def test_neither_signals_nor_a_killed_worker_cost_an_epoch(tmp_path):
    """Signals to all processes end the search in order, a second one at once."""
    settings = {"trials": 4, "epochs": 3}
    for number in (signal.SIGTERM, signal.SIGINT):
        driver = start_gated(tmp_path, **settings)
        os.killpg(driver.pid, number)
        assert_ends(driver, code=128 + number, seconds=30)
        assert [t.number for t in read(tmp_path / "ledger.jsonl").in_state("running")] == [0, 1]
        while group(driver.pid):
            time.sleep(0.05)
    driver = start_gated(tmp_path, **settings)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.01)  # two at once may arrive as one
    os.kill(driver.pid, signal.SIGINT)
    assert_ends(driver, code=130, seconds=10)
    driver = start_gated(tmp_path, **settings)
    killed, other = (tmp_path / "trials" / name / "pid" for name in ("0000", "0001"))
    os.kill(int(killed.read_text()), signal.SIGKILL)
    before = other.read_text()
    open_gate(tmp_path)
    assert_ends(driver)
    assert_each_once(tmp_path, trials=4, epochs=3)
    assert other.read_text() == before


def group(number):
    """Return the processes of a group that still run; zombies do not count."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [pid for pid, pgid, stat in rows if int(pgid) == number and "Z" not in stat]


def test_a_trial_that_fits_nowhere_is_refused(tmp_path):
    assert_ends(start(tmp_path, cpus=1000), code=1)
    assert "needs 1000 CPUs" in (tmp_path / "error").read_text()
    assert not read(tmp_path / "ledger.jsonl").trials


@pytest.mark.parametrize("silent", [False, True])
def test_an_address_where_no_cluster_answers(tmp_path, silent):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if silent:  # somebody takes the call, and says nothing
            listener.listen()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert_ends(start(tmp_path, address=address), code=1, seconds=40)  # for ever, once
    error = (tmp_path / "error").read_text()
    assert error.startswith(f"no Ray cluster at {address}") and "\n" not in error
