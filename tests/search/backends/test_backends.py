"""The contract of all backends: both serial ones and Ray pass the same tests."""

import math
import os
import signal
import threading

import pytest
from cluster_in_process import connect_in_process
from formula_runs import (
    CRASHES,
    GRID,
    HANGS,
    SPACE,
    Formula,
    SlowToEnd,
    TensorProbe,
    trained_epochs,
)
from waiting import is_running, wait_until

from search.backends import serial
from search.backends.trial_timeout import TrialTimeout
from search.backends.worker_process import WorkerProcess
from search.errors import StorageError
from search.interrupt import Interrupt, Interrupted
from search.record.ledger import Ledger
from search.study import Study

DEFAULT = TrialTimeout()


@pytest.fixture(scope="module")
def ray_search(project_root):
    from search.backends import ray_tune

    def one_at_a_time(study, run, interrupt, timeout=DEFAULT):
        ray_tune.search(study, run, interrupt, ray_tune.Resources(concurrent=1), timeout)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_API_KEY", "k" * 40)
        with connect_in_process(project_root):
            patch.delenv("WANDB_API_KEY")
            yield one_at_a_time


@pytest.fixture(scope="module")
def worker_search():
    """The search in a worker process; all tests use one, as a search and its finals do."""
    with WorkerProcess() as worker:

        def one_at_a_time(study, run, interrupt, timeout=DEFAULT):
            serial.search_in_worker(study, run, interrupt, worker, timeout)

        yield one_at_a_time


BY_NAME = {"worker": "worker_search", "cluster": "ray_search"}
CLUSTER = pytest.param("cluster", marks=pytest.mark.slow)


@pytest.fixture(params=["here", "worker", CLUSTER])
def search(request):
    """A search of each kind: in this process, in a worker process, on Ray."""
    if request.param == "here":
        return serial.search
    return request.getfixturevalue(BY_NAME[request.param])


@pytest.fixture(params=["worker", CLUSTER])
def safe_search(request):
    """A search of each kind that survives whatever a trial does."""
    return request.getfixturevalue(BY_NAME[request.param])


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    yield ledger
    ledger.close()


def events(ledger, kind):
    heard = []
    ledger.readers.append(lambda e, view: heard.append(e["trial"]) if e["event"] == kind else None)
    return heard


def wait_for_end(pid):
    """Wait until a process has ended: Ray kills workers, and does not wait for them."""
    wait_until(lambda: not is_running(pid), seconds=30)


def test_it_finds_the_front_of_a_grid(search, ledger):
    search(Study(GRID, ledger, trials=6, seed=0), Formula(2), Interrupt())
    assert {t.state for t in ledger.view.trials.values()} == {"finished"}
    assert [t.params["x"] for t in ledger.view.front()] == [1.0, 0.5, 0.0]
    assert {t.params["waste"] for t in ledger.view.front()} == {0.01}
    result = ledger.view.trials[0].result
    assert result.details.to_json() == {"steps": [1, 2, 3]}
    assert result.intervals["natural_accuracy"] == pytest.approx((-0.02, 0.0))


def test_with_one_worker_it_proposes_what_the_serial_search_does(search, ledger, tmp_path):
    (tmp_path / "twin").mkdir()
    twin = Ledger(tmp_path / "twin" / "ledger.jsonl")
    for way, book in ((serial.search, twin), (search, ledger)):
        study = Study(SPACE, book, trials=12, seed=3)
        way(study, Formula(2, mishaps={5: "raise", 9: "nan"}), Interrupt())
    twin.close()
    ours, theirs = ledger.view.trials, twin.view.trials
    assert {n: t.params for n, t in ours.items()} == {n: t.params for n, t in theirs.items()}
    assert {n: t.reason for n, t in ours.items()} == {n: t.reason for n, t in theirs.items()}
    assert {n: t.epochs for n, t in ours.items()} == {n: t.epochs for n, t in theirs.items()}


def test_what_goes_wrong_is_recorded_and_the_search_goes_on(search, ledger):
    mishaps = {
        0: ("raise", "RuntimeError: the net exploded"),
        1: ("nan", "epoch 2: robust is nan"),
        2: ("inf", "epoch 2: robust is inf"),
        3: ("memory", "out of memory: no room for 8 GiB"),
        4: ("nan result", "ValueError: natural_accuracy is nan, not a finite number"),
        5: ("silent", "the run ended without a result"),
        6: ("no text", r"ValueError: bad image caf\xe9 \ud800\x1b[2J"),
        7: (
            "name that is no text",
            "it sent an invalid report: key 'metrics' holds a key that is no text",
        ),
    }
    study = Study(SPACE, ledger, trials=9, seed=0)
    search(study, Formula(3, mishaps={n: kind for n, (kind, _) in mishaps.items()}), Interrupt())
    failed = {t.number: t.reason for t in ledger.view.in_state("failed")}
    assert failed == {n: reason for n, (_, reason) in mishaps.items()}
    assert [t.number for t in ledger.view.in_state("finished")] == [8]
    assert trained_epochs(study.trial_folder(1)) == [
        1,
        2,
    ]  # no epoch is spent on a net that is lost


def test_a_full_disk_ends_the_search_and_fails_no_trial(search, ledger):
    study, run = Study(SPACE, ledger, trials=3, seed=0), Formula(3, mishaps={1: "full disk once"})
    with pytest.raises(StorageError, match=r"^No space left on device: .*/trials/0001/state.pt"):
        search(study, run, Interrupt(60))
    assert [t.state for t in ledger.view.trials.values()] == ["finished", "running"]
    search(Study(SPACE, ledger, trials=3, seed=0), run, Interrupt(60))
    assert [t.state for t in ledger.view.trials.values()] == ["finished"] * 3
    for number in range(3):
        assert trained_epochs(study.trial_folder(number)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("proposed", StorageError("the disk is full")),
        ("epoch", KeyError("a bug")),
        ("finished", StorageError("the disk is full")),
    ],
)
def test_an_error_in_a_reader_of_the_ledger_fails_no_trial(search, ledger, kind, error):
    def read(event, view):
        if event["event"] == kind:
            ledger.readers.clear()
            raise error

    ledger.readers.append(read)
    with pytest.raises(type(error)):
        search(Study(SPACE, ledger, trials=2, seed=0), Formula(2), Interrupt(60))
    assert not ledger.view.in_state("failed")
    search(Study(SPACE, ledger, trials=2, seed=0), Formula(2), Interrupt(60))
    assert [t.state for t in ledger.view.trials.values()] == ["finished"] * 2


def test_a_trial_may_end_before_its_last_epoch(search, ledger):
    study = Study(SPACE, ledger, trials=3, seed=0)
    search(study, Formula(5, ends={0: 2, 2: 1}), Interrupt())
    trials = ledger.view.trials
    assert {t.state for t in trials.values()} == {"finished"}
    assert [list(trials[n].epochs) for n in range(3)] == [[1, 2], [1, 2, 3, 4, 5], [1]]
    assert [trials[n].epochs[1].epochs for n in range(3)] == [5, 5, 5]
    said = ("ended after 2 of 5 epochs",), (), ("ended after 1 of 5 epochs",)
    assert tuple(trials[n].remarks for n in range(3)) == said


def test_interrupted_it_goes_on_where_it_was(search, ledger):
    finished = events(ledger, "finished")
    told = events(ledger, "epoch")
    interrupt = Interrupt()
    ledger.readers.append(
        lambda e, view: setattr(interrupt, "signal", signal.SIGINT) if len(told) == 5 else None
    )
    study = Study(SPACE, ledger, trials=4, seed=0)
    with pytest.raises(Interrupted, match="interrupted") as info:
        search(study, Formula(3), interrupt)
    assert info.value.code == 130 and finished == [0]
    assert [t.number for t in ledger.view.in_state("running")] == [1]
    search(Study(SPACE, ledger, trials=4, seed=0), Formula(3), Interrupt())
    assert finished == [0, 1, 2, 3]
    for number in range(4):
        assert trained_epochs(study.trial_folder(number)) == [1, 2, 3]
        assert list(ledger.view.trials[number].epochs) == [1, 2, 3]


def test_a_budget_ends_it_within_an_epoch(search, ledger):
    study = Study(SPACE, ledger, trials=4, seed=0)
    with pytest.raises(Interrupted, match="budget") as info:
        search(study, Formula(1000, pause=0.02), Interrupt(seconds=1.0))
    assert info.value.code == 0 and ledger.view.in_state("running")


def test_nothing_to_do_is_done_at_once(search, ledger):
    search(Study(SPACE, ledger, trials=0, seed=0), Formula(), Interrupt())
    assert not ledger.view.trials


def test_it_leaves_signal_handlers_and_threads_as_they_were(search, ledger):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(n) for n in numbers]
    search(Study(SPACE, ledger, trials=1, seed=0), Formula(1), Interrupt())
    assert [signal.getsignal(n) for n in numbers] == before
    assert threading.current_thread() is threading.main_thread()


def test_whatever_a_trial_raises_fails_that_trial(search, ledger):
    mishaps = {
        0: ("exit", "SystemExit: 3"),
        1: ("exit in order", "SystemExit"),
        2: ("interrupt", "KeyboardInterrupt"),
        3: ("generator exit", "GeneratorExit"),
        4: ("mute", "MuteError: its message cannot be read"),
    }
    study, interrupt = Study(SPACE, ledger, trials=6, seed=0), Interrupt()
    with interrupt.handle_signals():  # as in a session; else Ctrl-C raises KeyboardInterrupt too
        search(study, Formula(3, mishaps={n: kind for n, (kind, _) in mishaps.items()}), interrupt)
    failed = {t.number: t.reason for t in ledger.view.in_state("failed")}
    assert failed == {n: reason for n, (_, reason) in mishaps.items()}
    assert [t.number for t in ledger.view.in_state("finished")] == [5]


def test_ctrl_c_ends_the_search_in_this_process_where_nothing_handles_it(ledger):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    study = Study(SPACE, ledger, trials=2, seed=0)
    with pytest.raises(KeyboardInterrupt):
        serial.search(study, Formula(3, mishaps={0: "interrupt"}), Interrupt())
    assert ledger.view.trials[0].state == "running"


def test_a_report_that_is_none_fails_the_trial(safe_search, ledger):
    safe_search(
        Study(SPACE, ledger, trials=2, seed=0), Formula(3, mishaps={0: "words"}), Interrupt()
    )
    [trial] = ledger.view.in_state("failed")
    assert trial.reason.startswith("it sent an invalid report: TypeError: ")


def check_crashes(search, ledger, kinds):
    mishaps = dict(enumerate(kinds))
    study = Study(SPACE, ledger, trials=len(mishaps) + 1, seed=0)
    search(study, Formula(3, mishaps=mishaps), Interrupt(500))
    failed = ledger.view.in_state("failed")
    assert [t.number for t in failed] == [*mishaps]
    for trial in failed:
        assert trial.reason.startswith("its worker died 3 times: "), trial.reason
        assert len(trial.reason) < 150
    assert [t.number for t in ledger.view.in_state("finished")] == [len(mishaps)]


def test_a_crash_is_tried_three_times_and_fails_that_trial(worker_search, ledger):
    check_crashes(worker_search, ledger, CRASHES)


@pytest.mark.slow
def test_a_crash_on_ray_is_tried_three_times_too(ray_search, ledger):
    """Two kinds of crashes only: a worker of Ray takes seconds to start."""
    check_crashes(ray_search, ledger, ("exit at once", "segfault"))


def test_the_reason_names_the_status_or_the_signal(worker_search, ledger):
    mishaps = {0: "exit at once", 1: "segfault", 2: "abort"}
    worker_search(Study(SPACE, ledger, trials=3, seed=0), Formula(3, mishaps=mishaps), Interrupt())
    assert [t.reason.split("times: ")[1] for t in ledger.view.in_state("failed")] == [
        "exit status 0",
        "signal SIGSEGV",
        "signal SIGABRT",
    ]


class TimeoutAfterAnEpoch(TrialTimeout):
    """A limit for trials that have reported an epoch: on a busy machine one takes long to start."""

    def limit(self, study, trial):
        return super().limit(study, trial) if trial.epochs else (math.inf, "not started yet")


def test_a_trial_that_hangs_is_ended_and_the_search_goes_on(safe_search, ledger):
    mishaps = dict(enumerate(HANGS))
    study = Study(SPACE, ledger, trials=len(mishaps) + 1, seed=0)
    safe_search(study, Formula(3, mishaps=mishaps), Interrupt(300), TimeoutAfterAnEpoch(5.0))
    reason = "silent for more than 5 s (set by --trial-timeout); --trial-timeout allows more"
    assert {t.number: t.reason for t in ledger.view.in_state("failed")} == dict.fromkeys(
        mishaps, reason
    )
    assert [t.number for t in ledger.view.in_state("finished")] == [len(mishaps)]
    for number in mishaps:
        wait_for_end(int((study.trial_folder(number) / "pid").read_text()))


@pytest.mark.parametrize("kind", ["hang", "hang in C"])
def test_an_interrupt_ends_a_trial_that_hangs(safe_search, ledger, kind):
    interrupt = Interrupt()
    ledger.readers.append(
        lambda e, view: (
            setattr(interrupt, "signal", signal.SIGINT) if e["event"] == "epoch" else None
        )
    )
    study = Study(SPACE, ledger, trials=1, seed=0)
    with pytest.raises(Interrupted):
        safe_search(study, Formula(3, mishaps={0: kind}), interrupt)
    wait_for_end(int((study.trial_folder(0) / "pid").read_text()))
    assert ledger.view.trials[0].state == "running"


def test_what_a_trial_prints_is_not_shown(safe_search, ledger, capfd):
    study = Study(SPACE, ledger, trials=2, seed=0)
    safe_search(study, Formula(2, mishaps={0: "loud"}), Interrupt(300))
    assert {t.state for t in ledger.view.trials.values()} == {"finished"}
    assert capfd.readouterr() == ("", "")


def test_what_a_trial_leaves_behind_ends_with_it(safe_search, ledger):
    study = Study(SPACE, ledger, trials=2, seed=0)
    seen = []

    def look(event, view):
        if event["event"] == "epoch" and event["trial"] == 1:
            pids = (study.trial_folder(0) / "children").read_text().split()
            seen.append([pid for pid in map(int, pids) if is_running(pid)])

    ledger.readers.append(look)
    safe_search(study, Formula(2, mishaps={0: "messy"}), Interrupt(300))
    assert {t.state for t in ledger.view.trials.values()} == {"finished"}
    assert seen == [[], []]
    assert (study.trial_folder(1) / "place").read_text() == f"{os.getcwd()} "


def test_a_worker_that_dies_is_given_two_more_chances(safe_search, ledger):
    study = Study(SPACE, ledger, trials=3, seed=0)
    safe_search(study, Formula(3, mishaps={0: "dies once", 1: "dies"}), Interrupt())
    assert [t.state for t in ledger.view.trials.values()] == ["finished", "failed", "finished"]
    assert trained_epochs(study.trial_folder(0)) == [1, 2, 3]
    reason = ledger.view.trials[1].reason
    assert reason.startswith("its worker died 3 times: ") and len(reason) < 150


@pytest.mark.slow
def test_a_worker_that_is_slow_to_end_a_trial_loses_no_other(ray_search, ledger):
    """Tune silently drops a worker that does not end in time, and the next trial with it."""
    study = Study(SPACE, ledger, trials=3, seed=0)
    ray_search(study, SlowToEnd(3, mishaps={0: "nan"}), Interrupt(60))
    assert [t.state for t in ledger.view.trials.values()] == ["failed", "finished", "finished"]


@pytest.mark.slow
def test_workers_share_images_and_have_the_threads_that_they_may_use(ray_search, ledger):
    torch = pytest.importorskip("torch")
    run = TensorProbe(torch.arange(20_000_000, dtype=torch.int32).view(torch.uint8), torch.ones(3))
    ray_search(Study(SPACE, ledger, trials=1, seed=0), run, Interrupt())
    [trial] = ledger.view.in_state("finished")
    assert trial.result.details.to_json() == {
        "threads": "1",
        "sum": 3.0,
        "shared": True,
        "last_value": 19_999_999,
        "gpus": "",
    }


@pytest.mark.slow
def test_places_are_counted_from_the_nodes(ray_search):
    from search.backends import ray_tune

    assert ray_tune.Resources(cpus=0.1, concurrent=3).capacity() == 3
    with pytest.raises(ray_tune.ClusterError, match=r"needs 1 CPUs and 1 GPUs.*0 GPUs"):
        ray_tune.Resources(gpus=1).capacity()


@pytest.mark.slow
def test_the_key_of_the_tracker_stays_on_the_driver(ray_search):
    import os

    from search.backends.ray_imports import ray

    look = ray.remote(lambda: (os.getpid(), os.environ.get("WANDB_API_KEY")))
    pid, key = ray.get(look.remote(), timeout=60)
    assert pid != os.getpid() and key is None
