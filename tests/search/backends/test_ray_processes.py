"""Ray searches in processes of their own; drivers, workers and nodes are killed."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from formula_runs import trained_epochs
from ray_driver import STOPPER

from search.interrupt import NOTICE
from search.record.ledger import read
from search.record.trial import Rung
from search.record.view import View

HERE = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


def wait_until(done, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "this took too long"
        time.sleep(0.05)


def start(folder, **settings):
    environment = {**os.environ, "HOME": "/nonexistent"}  # as in many a container
    return subprocess.Popen(
        [sys.executable, str(HERE / "ray_driver.py"), str(folder), json.dumps(settings)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        cwd="/",
        text=True,
        start_new_session=True,
    )


def assert_ends(process, code=0, seconds=90.0):
    """Assert that the process ends with that status and prints at most the note on a signal."""
    output, _ = process.communicate(timeout=seconds)
    assert (process.returncode, output) == (code, NOTICE if code > 128 else "")


def count_epochs(folder):
    """Return how many epochs were trained, over all trials."""
    return sum(len(trained_epochs(trial)) for trial in folder.glob("trials/*"))


def assert_each_once(folder, trials, epochs):
    """Assert that every trial finished once and trained each epoch once, in order."""
    events = [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]
    for kind in ("proposed", "finished"):
        assert sorted(e["trial"] for e in events if e["event"] == kind) == list(range(trials))
    for trial in sorted(folder.glob("trials/*")):
        assert trained_epochs(trial) == list(range(1, epochs + 1))
    view = read(folder / "ledger.jsonl")
    assert all(sorted(t.epochs) == list(range(1, epochs + 1)) for t in view.trials.values())
    assert not view.in_state("running")


def test_a_driver_killed_at_any_moment_goes_on_where_it_was(tmp_path):
    folder = tmp_path / "run"
    chance = random.Random(time.time_ns())
    for low in (1, 9):
        moment = chance.randint(low, low + 8)
        driver = start(folder, epochs=4, pause=0.1)
        wait_until(lambda moment=moment: count_epochs(folder) >= moment)
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
        wait_until(lambda moment=moment: count_epochs(folder) >= moment)
        driver.kill()
        driver.communicate()
    assert_ends(start(folder, **settings))
    view, decided = View(), []
    for line in (folder / "ledger.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "rung":
            names = ("epoch", "strength", "objectives", "sds", "table")
            rung = Rung(*(event[name] for name in names))
            said = STOPPER.decide(view, event["trial"], rung)
            assert (said.action, said.reason) == (event["action"], event["reason"])
            decided.append(event["trial"])
        view.apply(event)
    assert sorted(decided) == list(range(14))  # once each
    assert {t.state for t in view.trials.values()} == {"finished", "stopped"}
    for trial in view.trials.values():
        stops = [d.action for d in trial.decisions.values()] == ["stop"]
        assert stops == (trial.state == "stopped")
        assert trained_epochs(folder / "trials" / trial.name) == [1, 2, *([] if stops else [3, 4])]


def test_a_killed_worker_costs_nobody_an_epoch(tmp_path):
    driver = start(tmp_path, trials=4, epochs=3, gate=True)
    wait_until(lambda: count_epochs(tmp_path) == 2)  # both stand before the gate
    os.kill(int((tmp_path / "trials/0000/pid").read_text()), signal.SIGKILL)
    other = (tmp_path / "trials/0001/pid").read_text()
    (tmp_path / "gate").touch()
    assert_ends(driver)
    assert_each_once(tmp_path, trials=4, epochs=3)
    assert (tmp_path / "trials/0001/pid").read_text() == other


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_ends_the_search_in_order(tmp_path, number):
    driver = start(tmp_path, trials=4, epochs=3, gate=True)
    wait_until(lambda: count_epochs(tmp_path) == 2)
    began = time.monotonic()
    os.killpg(driver.pid, number)
    assert_ends(driver, code=128 + number, seconds=30)
    assert time.monotonic() - began < 30
    assert [t.number for t in read(tmp_path / "ledger.jsonl").in_state("running")] == [0, 1]
    wait_until(lambda: not group(driver.pid))
    if number == signal.SIGINT:
        (tmp_path / "gate").touch()
        assert_ends(start(tmp_path, trials=4, epochs=3))
        assert_each_once(tmp_path, trials=4, epochs=3)


def group(number):
    """Return the processes of a group that still run; zombies do not count."""
    listed = subprocess.run(
        ["ps", "-eo", "pid=,pgid=,stat="], capture_output=True, text=True, check=True
    )
    rows = [line.split() for line in listed.stdout.splitlines()]
    return [pid for pid, pgid, stat in rows if int(pgid) == number and "Z" not in stat]


def test_a_second_signal_ends_it_at_once(tmp_path):
    driver = start(tmp_path, epochs=3, gate=True)
    wait_until(lambda: count_epochs(tmp_path) == 2)
    os.kill(driver.pid, signal.SIGINT)
    time.sleep(0.01)  # two at once may arrive as one
    os.kill(driver.pid, signal.SIGINT)
    assert_ends(driver, code=130, seconds=10)


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
        began = time.monotonic()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert_ends(start(tmp_path, address=address), code=1, seconds=40)
        assert time.monotonic() - began < 60  # for ever, once
    error = (tmp_path / "error").read_text()
    assert error.startswith(f"no Ray cluster at {address}") and "\n" not in error


@contextmanager
def two_nodes():
    process = subprocess.Popen(
        [sys.executable, str(HERE / "two_node_cluster.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        found = None
        assert process.stdout is not None
        while not found:
            found = re.match("ADDRESS (.*)", process.stdout.readline())
        yield process, found[1]
    finally:
        process.communicate(timeout=30)


def test_a_node_that_joins_is_used_within_half_a_minute(tmp_path):
    with two_nodes() as (nodes, address):
        driver = start(tmp_path, gate=True, trials=4, epochs=2, address=address, concurrent=None)
        wait_until(lambda: count_epochs(tmp_path) == 2)
        assert not (tmp_path / "trials/0002").exists()  # two nodes, two trials
        nodes.stdin.write("add\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline() == "ADDED\n"
        wait_until((tmp_path / "trials/0002/pid").exists, seconds=30.0)
        (tmp_path / "gate").touch()
        assert_ends(driver, seconds=120)
        assert_each_once(tmp_path, trials=4, epochs=2)


def test_two_nodes_one_interruption_and_one_loss(tmp_path):
    with two_nodes() as (nodes, address):
        settings = {"trials": 4, "epochs": 3, "address": address, "concurrent": None}
        driver = start(tmp_path, gate=True, **settings)
        wait_until(lambda: count_epochs(tmp_path) == 2)
        os.killpg(driver.pid, signal.SIGINT)
        assert_ends(driver, code=130, seconds=30)
        (tmp_path / "trials/0001/pid").unlink()
        driver = start(tmp_path, gate=True, **settings)  # no worker of the last one in its way
        wait_until((tmp_path / "trials/0001/pid").exists)
        nodes.stdin.write("remove one\n")
        nodes.stdin.flush()
        assert nodes.stdout.readline() == "REMOVED\n"
        (tmp_path / "gate").touch()
        assert_ends(driver, seconds=120)
        assert_each_once(tmp_path, trials=4, epochs=3)


def test_trials_that_meet_a_node_that_lacks_something_go_on_elsewhere(tmp_path):
    with two_nodes() as (_, address):
        driver = start(
            tmp_path, fire=True, trials=3, epochs=2, address=address, concurrent=None, gate=True
        )
        excused: list[dict] = []

        def is_excused():
            lines = (tmp_path / "ledger.jsonl").read_text().splitlines()
            excused[:] = [e for e in map(json.loads, lines) if e["event"] == "excused"]
            return excused

        wait_until((tmp_path / "ledger.jsonl").exists)
        wait_until(is_excused, seconds=120)
        (tmp_path / "gate").touch()
        assert_ends(driver, seconds=120)
    [reason] = [event["reason"] for event in excused if "reason" in event]
    assert re.fullmatch(r"node \S+ \(\S+\) is on fire; no trial runs there", reason)
    assert_each_once(tmp_path, trials=3, epochs=2)
