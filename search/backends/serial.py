"""Run trials one after the other: in a worker process, or in this process for tests and debuggers.

For one seed both propose the same trials as `search.backends.ray_tune` with one trial at a time.
"""

from __future__ import annotations

from search.backends.messages import decode, encode_trial
from search.backends.trial_timeout import TrialTimeout, Watchdog
from search.backends.worker_process import WorkerProcess
from search.interrupt import Interrupt
from search.record.trial import Run, Trial
from search.study import Study

CHECK_EVERY = 0.2  # seconds between two looks at signals, the budget and the silence of a trial


def search(study: Study, run: Run, interrupt: Interrupt) -> None:
    """Run every trial that `study` suggests in this process, one after the other.

    A trial that hangs or crashes takes this process with it.

    Raises:
      Interrupted: `interrupt` asked for it; the current trial resumes from its last epoch.
      StorageError: a disk or mount failed; the same holds.
    """
    while trial := study.suggest():
        interrupt.check()
        for report in study.train(trial, run):
            goes_on = study.update(trial.number, report)
            interrupt.check()
            if not goes_on:
                break


def search_in_worker(
    study: Study,
    run: Run,
    interrupt: Interrupt,
    worker: WorkerProcess,
    timeout: TrialTimeout = TrialTimeout(),  # noqa: B008  # a frozen value
) -> None:
    """Run every trial that `study` suggests in a worker process, one after the other.

    Args:
      study: the search.
      run: that trains its trials; it can be pickled.
      interrupt: says when to end early.
      worker: to run the trials.
      timeout: how long a trial may be silent.

    Raises:
      Interrupted: `interrupt` asked for it; the current trial resumes from its last epoch.
      StorageError: a disk or mount has failed; the current trial resumes from its last epoch.
      WorkerError: the worker can run no trial.
    """
    watchdog = Watchdog(study, timeout)
    try:
        while trial := study.suggest():
            _run_trial(study, run, trial, interrupt, worker, watchdog)
    except BaseException:
        worker.end()
        raise


def _run_trial(
    study: Study,
    run: Run,
    trial: Trial,
    interrupt: Interrupt,
    worker: WorkerProcess,
    watchdog: Watchdog,
) -> None:
    """Run one trial; if its worker dies, start it again."""
    while True:
        interrupt.check()
        worker.start(run, encode_trial(trial, study.trial_folder(trial.number)))
        watchdog.hear(trial.number)
        cause = _follow(study, trial.number, interrupt, worker, watchdog)
        if not cause or not study.lose_worker(trial.number, cause):
            break
        study.start(trial.number)
    watchdog.forget(trial.number)
    study.fail(trial.number, "the run ended without a result")  # if it still runs


def _follow(
    study: Study, number: int, interrupt: Interrupt, worker: WorkerProcess, watchdog: Watchdog
) -> str:
    """Record what a trial reports until it ends; return why its worker died, "" if it did not."""
    while True:
        interrupt.check()
        if reason := watchdog.find_silent().get(number):
            worker.end()
            study.fail(number, reason)
            return ""
        received = worker.receive(CHECK_EVERY)
        if received is None:
            continue
        kind, text = received
        if kind == "ended":
            return text
        watchdog.hear(number)
        report = decode(text)
        if isinstance(report, str):
            study.fail(number, report)
            worker.answer(False)
            continue
        goes_on = study.update(number, report)
        interrupt.check()
        worker.answer(goes_on)
