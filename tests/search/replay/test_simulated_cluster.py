"""A simulated cluster: no trial is lost with its node, and the driver's work grows with the trials.

Work is counted in calls of Python functions, so nothing depends on the speed of a machine.
"""

import io
import math
import sys
from collections import Counter

import pytest
from formula_runs import SPACE, Formula

from adv.terminal.console import PlainConsole
from search.backends import serial
from search.interrupt import Interrupt, Interrupted
from search.record.derived_ledgers import MemoryLedger
from search.replay.simulated_cluster import SimulatedCluster
from search.reporting.terminal import LiveProgress
from search.samplers.table import make_sampler
from search.session import outputs
from search.session.disk_space import SpaceWatcher
from search.session.outputs import ReportWriter, StateCleaner
from search.stopping.predictive import Predictive
from search.study import Study


class CallCounter:
    """A reader of the ledger that counts the calls of functions while certain trials end.

    Args:
      windows: of the trials, by the order in which they end.
    """

    def __init__(self, *windows):
        self.windows, self.ended = windows, 0
        self.calls: list[Counter[str]] = [Counter() for _ in windows]

    def __call__(self, event, view):
        if event["event"] not in ("finished", "failed", "stopped"):
            return
        self.ended += 1
        sys.setprofile(None)
        for window, calls in zip(self.windows, self.calls, strict=True):
            if self.ended in window:
                sys.setprofile(self.counting(calls))

    def counting(self, calls):
        def count(frame, event, arg):
            if event == "call":
                calls[frame.f_code.co_qualname] += 1

        return count


class NoFiles(Formula):
    """A formula that leaves no file behind."""

    def _train(self, epoch, folder):
        pass


def search(study, run, cluster):
    return cluster.search(study, run, Interrupt())


def open_study(tmp_path, trials, space=SPACE, **choices):
    ledger = MemoryLedger()
    ledger.path = tmp_path / "ledger.jsonl"  # beside which the trials have their folders
    ledger.append("study", format=1, seed=0, knobs=space.describe())
    ledger.append("session")
    return Study(space, ledger, trials=trials, seed=0, **choices)


def test_no_trial_is_lost_with_the_nodes_that_are(tmp_path):
    study = open_study(tmp_path, 60)
    cluster = SimulatedCluster(nodes=6, slots=4, losses={0: 20, 3: 60, 5: 90})
    assert search(study, NoFiles(mishaps={7: "nan result", 11: "nan"}), cluster) == 24
    states = Counter(trial.state for trial in study.view.trials.values())
    assert states == {"finished": 58, "failed": 2} and sorted(study.view.trials) == list(range(60))
    assert study.view.trials[7].reason and study.view.trials[11].reason


def test_one_slot_proposes_what_a_serial_search_proposes(tmp_path):
    studies = [open_study(tmp_path / name, 8) for name in "ab"]
    search(studies[0], NoFiles(), SimulatedCluster(1, 1))
    serial.search(studies[1], NoFiles(), Interrupt())
    one, other = ([t.params for t in s.view.trials.values()] for s in studies)
    assert one == other


def test_an_interrupt_ends_the_loop(tmp_path):
    study, interrupt = open_study(tmp_path, 50), Interrupt()
    interrupt.limit_time(0.0)
    with pytest.raises(Interrupted):
        SimulatedCluster(2, 2).search(study, NoFiles(), interrupt)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2"])
def test_the_work_of_the_driver_for_a_trial_does_not_grow_with_their_number(
    tmp_path, monkeypatch, sampler
):
    # What is due by the clock would fall into either window: the report has a twentieth of it.
    monkeypatch.setattr(outputs, "REPORT_EVERY", math.inf)
    chosen = make_sampler(sampler, SPACE, seed=0, start=16)
    study = open_study(tmp_path, 160, sampler=chosen, stopper=Predictive())
    windows = range(60, 75), range(130, 145)
    counter, console = CallCounter(*windows), PlainConsole(file=io.StringIO(), width=120)
    readers = [
        LiveProgress(console, 160, study.view),
        ReportWriter(tmp_path),
        StateCleaner(tmp_path),
        SpaceWatcher(tmp_path, 1000),
        counter,
    ]
    study.ledger.readers += readers
    search(study, NoFiles(rung=2), SimulatedCluster(4, 8))
    early, late = counter.calls
    assert late.total() < 1.2 * early.total(), (late - early).most_common(5)
