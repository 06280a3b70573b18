"""What a killed driver or server leaves behind, and what reaches a worker."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from formula_runs import SPACE, Formula, ImportsLate, KillsParent
from waiting import wait_until

from search.backends import worker_process
from search.backends.messages import WorkerError
from search.backends.serial import search_in_worker
from search.backends.trial_server import LATE_IMPORTS
from search.backends.worker_process import WorkerProcess
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.work_mark import MARK, take_mark
from search.study import Study

DRIVER = """
import sys
from pathlib import Path
from formula_runs import SPACE, Formula
from search.backends.serial import search_in_worker
from search.backends.worker_process import WorkerProcess
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.study import Study

study = Study(SPACE, Ledger(Path(sys.argv[1]) / "ledger.jsonl"), trials=1, seed=0)
with WorkerProcess() as worker:
    search_in_worker(study, Formula(3, mishaps={0: sys.argv[2]}), Interrupt(), worker)
"""


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", ["hang", "hang in C", "stop"])
def test_nothing_outlives_a_driver_that_is_killed(tmp_path, kind):
    told = tmp_path / "trials" / "0000" / "trained"
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), kind]) as driver:
        wait_until(lambda: told.exists() and told.read_text() == "1\n")
        trial = int(told.with_name("pid").read_text())
        server = parent_of(trial)
        assert told.with_name(MARK).exists()
        driver.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (trial, server)))
    assert not take_mark(told.parent)  # it was alive when the driver died


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_trial_that_died_with_all_the_others_is_marked(tmp_path):
    told = tmp_path / "trials" / "0000" / "trained"
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), "hang"]) as driver:
        wait_until(lambda: told.exists() and told.read_text() == "1\n")
        server = parent_of(int(told.with_name("pid").read_text()))
        driver.send_signal(signal.SIGSTOP)  # else it would start another server
        os.kill(server, signal.SIGKILL)
        driver.kill()
    assert take_mark(told.parent)
    assert not take_mark(told.parent)


def test_a_trial_ends_with_its_server_and_a_new_server_is_started(tmp_path):
    """Whatever may kill the server: the trial is started again."""
    study = Study(SPACE, MemoryLedger(), trials=1, seed=0)
    study.trial_folder = lambda number: tmp_path  # type: ignore[method-assign]
    killed: list[int] = []

    def kill_server(event, view):
        if event["event"] == "epoch" and not killed:
            killed.append(parent_of(int((tmp_path / "pid").read_text())))
            os.kill(killed[0], signal.SIGKILL)

    study.ledger.readers.append(kill_server)
    with WorkerProcess() as worker:
        search_in_worker(study, Formula(3), Interrupt(60), worker)
    assert study.view.trials[0].state == "finished" and killed


def test_a_run_that_cannot_be_sent_ends_the_search_and_fails_no_trial():
    def run(params, seed, folder):
        yield from ()

    study = Study(SPACE, MemoryLedger(), trials=1, seed=0)
    with WorkerProcess() as worker, pytest.raises(WorkerError, match="cannot be sent"):
        search_in_worker(study, run, Interrupt(), worker)
    assert study.view.trials[0].state == "running"


def test_what_one_trial_imports_late_the_next_ones_find(tmp_path):
    study = Study(SPACE, MemoryLedger(), trials=3, seed=0)
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    study.trial_folder = lambda number: folders[number]  # type: ignore[method-assign]
    with WorkerProcess() as worker:
        search_in_worker(study, ImportsLate(1), Interrupt(), worker)
    found = [set((folder / "found").read_text().split()) for folder in folders]
    assert found == [set(), set(LATE_IMPORTS), set(LATE_IMPORTS)]


def test_workers_inherit_no_keys(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    study = Study(SPACE, MemoryLedger(), trials=1, seed=0)
    study.trial_folder = lambda number: tmp_path  # type: ignore[method-assign]
    seen = []

    def look(event, view):
        if event["event"] == "epoch":
            pid = (tmp_path / "pid").read_text()
            seen.append(b"k" * 40 in Path(f"/proc/{pid}/environ").read_bytes())

    study.ledger.readers.append(look)
    with WorkerProcess() as worker:
        search_in_worker(study, Formula(1), Interrupt(), worker)
    assert seen == [False]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_trial_that_kills_its_server_is_failed_and_the_search_goes_on(tmp_path):
    study = Study(SPACE, MemoryLedger(), trials=2, seed=0)
    study.trial_folder = lambda number: tmp_path / str(number)  # type: ignore[method-assign]
    with WorkerProcess() as worker:
        search_in_worker(study, KillsParent(), Interrupt(60), worker)
    assert [t.state for t in study.view.trials.values()] == ["failed", "finished"]
    assert study.view.trials[0].reason.startswith(
        "its worker died 3 times: the process that starts trials was killed with it: signal SIGKILL"
    )


def test_a_server_that_can_start_no_trial_ends_the_search(monkeypatch):
    monkeypatch.setattr(worker_process, "_CODE", "raise SystemExit(7)")
    study = Study(SPACE, MemoryLedger(), trials=1, seed=0)
    with WorkerProcess() as worker, pytest.raises(WorkerError, match="at its start, with status 7"):
        search_in_worker(study, Formula(1), Interrupt(60), worker)
    assert study.view.trials[0].state == "running"
