"""The study as a Searcher, a Scheduler and a Callback of Ray Tune."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.backends.messages import OutOfMemory, UnfitNodeError, decode, encode_trial
from search.backends.packing import Packer
from search.backends.ray_imports import ray, tune
from search.backends.ray_nodes import ClusterError
from search.backends.trial_timeout import Watchdog
from search.errors import StorageError, extract_last_line, find_storage_error
from search.interrupt import Interrupt, Interrupted
from search.study import Study

CHECK_EVERY = 10.0  # seconds between two checks of the nodes


class StudySearcher(tune.search.Searcher):
    """Suggests the trials of a study to Tune, only as many as can start at once.

    So no trial is proposed before it is needed, and each knows all results before it.

    Args:
      study: that suggests trials.
      capacity: returns how many trials the cluster can hold now.
      packer: chooses the share of each trial; None: all have the same.
      unfit: takes the ids of nodes on which no trial can run.
    """

    def __init__(
        self,
        study: Study,
        capacity: Callable[[], int],
        packer: Packer | None = None,
        unfit: set[str] | None = None,
    ) -> None:
        super().__init__(metric=None, mode=None)
        self.packer = packer
        self.unfit = set[str]() if unfit is None else unfit
        self.shares: dict[int, float] = {}  # of the trials that were started
        self.study = study
        self.capacity = capacity
        self.limit = capacity()
        self.numbers: dict[str, int] = {}  # of the trials that run, by Tune's id
        self.to_retry: list[int] = []
        self.storage_error: StorageError | None = None

    @contextmanager
    def keep_storage_error(self) -> Iterator[None]:
        """Keep the failure of a disk that is raised in the block; it ends the loop after this step.

        Tune would wrap it in an error of its own, and wait for the epoch of each worker.
        """
        try:
            yield
        except StorageError as error:
            self.storage_error = self.storage_error or error

    def suggest(self, trial_id: str) -> dict[str, Any] | Any:
        """Return the configuration of the next trial, or None while there is no room for one."""
        if not self._has_room():
            return None
        with self.keep_storage_error():
            return self._suggest(trial_id)
        return tune.search.Searcher.FINISHED  # while nothing runs, Tune would ask for ever

    def _has_room(self) -> bool:
        if self.packer is None:
            return len(self.numbers) < self.limit
        running = [self.shares[number] for number in self.numbers.values()]
        return not running or self.packer.has_room(running, self.limit)

    def _suggest(self, trial_id: str) -> dict[str, Any] | Any:
        if self.to_retry:
            trial = self.study.start(self.to_retry.pop(0))
        elif (suggestion := self.study.suggest()) is not None:
            trial = suggestion
        else:
            # A trial that still runs may lose its worker, and then has to be started again.
            return None if self.numbers else tune.search.Searcher.FINISHED
        self.numbers[trial_id] = trial.number
        share = self.packer.share(trial.number) if self.packer else 0.0
        self.shares[trial.number] = share
        on_gpu = share if self.packer and self.packer.on_gpu else 0.0
        task = encode_trial(trial, self.study.trial_folder(trial.number), on_gpu)
        return {"task": task, "share": share, "unfit": sorted(self.unfit)}

    def retry_with_more(self, trial_id: str, reason: str) -> bool:
        """Start a trial that ran out of memory again, with a larger share; return whether."""
        number = self.numbers[trial_id]
        if self.packer is None or not self.packer.squeeze(number, self.shares[number], reason):
            return False
        del self.numbers[trial_id]
        self.to_retry.append(number)
        return True

    def retry_elsewhere(self, trial_id: str, error: UnfitNodeError) -> None:
        """Start a trial again, for which its start does not count, on another node than its own."""
        number = self.numbers.pop(trial_id)
        self.to_retry.append(number)
        known = error.node in self.unfit
        self.unfit.add(error.node)
        reason = {} if known else {"reason": f"{error.reason}; no trial runs there"}
        self.study.ledger.append("excused", trial=number, **reason)
        self.limit = self.capacity()

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Fail a trial that has ended without a result."""
        if not error and trial_id in self.numbers:
            with self.keep_storage_error():
                self.study.fail(self.numbers.pop(trial_id), "the run ended without a result")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles this for its own restore, which is not used

    def save(self, checkpoint_path: str) -> None:
        """Write an empty file, which Tune expects."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Raise NotImplementedError: a search is restored from its ledger."""
        raise NotImplementedError("the ledger restores a search")


class StudyScheduler(tune.schedulers.FIFOScheduler):
    """Passes the reports of Tune's trials to the study, and stops the trials that it stops."""

    def __init__(self, study: Study, searcher: StudySearcher, callback: StudyCallback) -> None:
        super().__init__()
        self.study = study
        self.searcher = searcher
        self.callback = callback

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Update the study by one report; return whether the trial continues."""
        number = self.searcher.numbers[trial.trial_id]
        self.callback.watchdog.hear(number)
        if self.searcher.storage_error:
            return str(self.CONTINUE)  # the loop ends after this step
        with self.callback.remember_error(), self.searcher.keep_storage_error():
            try:
                report = decode(result["message"])
            except UnfitNodeError as error:
                self.searcher.retry_elsewhere(trial.trial_id, error)
                return str(self.CONTINUE)
            if isinstance(report, OutOfMemory) and self.searcher.retry_with_more(
                trial.trial_id, report
            ):
                return str(self.CONTINUE)
            if isinstance(report, str):
                self.study.fail(number, report)
                return str(self.CONTINUE)  # the worker ends by itself
            goes_on = self.study.update(number, report) or report.result is not None
            return str(self.CONTINUE if goes_on else self.STOP)
        return str(self.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see StudySearcher


class StudyCallback(tune.Callback):
    """Restarts trials that lost their worker, ends silent ones, and all if `interrupt` asks for it.

    Attributes:
      error: the exception that ended Tune's loop; Tune wraps or drops it.
    """

    def __init__(
        self, study: Study, searcher: StudySearcher, interrupt: Interrupt, watchdog: Watchdog
    ) -> None:
        self.study = study
        self.searcher = searcher
        self.interrupt = interrupt
        self.watchdog = watchdog
        self.error: BaseException | None = None
        self.last_check = time.monotonic()

    def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Watch the silence of a trial from now on; until now it waited for its worker."""
        self.watchdog.hear(self.searcher.numbers[trial.trial_id])

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """Restart the trial of a lost worker; Tune's own retry loses trials between two reports."""
        number = self.searcher.numbers.pop(trial.trial_id, None)
        if number is None or self.study.view.trials[number].state != "running":
            return
        loss = _read_loss(trial.pickled_error_file)
        if loss and (storage := find_storage_error(loss)):
            self.searcher.storage_error = storage
            return
        with self.remember_error(), self.searcher.keep_storage_error():
            if self.study.lose_worker(number, _describe_loss(loss)):
                self.searcher.to_retry.append(number)

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        """End Tune's loop: `interrupt` asks for it, a disk failed, or no node can hold a trial."""
        try:
            if self.searcher.storage_error:
                raise self.searcher.storage_error
            self.interrupt.check()
            self._end_silent(trials)
            if time.monotonic() - self.last_check > CHECK_EVERY:
                self.last_check = time.monotonic()
                self.searcher.limit = self.searcher.capacity()
        except (Interrupted, ClusterError, StorageError) as error:
            self.error = error
            for trial in trials:
                if trial.temporary_state.ray_actor is not None:
                    ray.kill(trial.temporary_state.ray_actor)  # else Tune waits for its epoch
            raise RuntimeError("stop") from None  # Tune cleans up after an Exception only

    def _end_silent(self, trials: Any) -> None:
        """Fail trials that have been silent for too long, and kill their workers."""
        silent = self.watchdog.find_silent()
        for trial in trials if silent else ():
            number = self.searcher.numbers.get(trial.trial_id)
            actor = trial.temporary_state.ray_actor
            if number in silent and actor is not None:
                self.watchdog.forget(number)
                with self.remember_error():
                    self.study.fail(number, silent[number])
                ray.kill(actor)

    @contextmanager
    def remember_error(self) -> Iterator[None]:
        """Keep an exception that is raised in the block, before Tune wraps or drops it."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see StudySearcher


def _read_loss(path: str | None) -> BaseException | None:
    """Return the exception with which Tune lost a worker, None if it is not known."""
    if path is None:
        return None
    error = pickle.loads(Path(path).read_bytes())
    return error if isinstance(error, BaseException) else None


def _describe_loss(error: BaseException | None) -> str:
    """Return why a worker was lost, without the advice that Ray appends each time."""
    if error is None:
        return "of unknown cause"
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "out of memory, ended by Ray because its node ran low"
    line = extract_last_line(error)
    return line.split(" Some common causes")[0].split("Worker exit detail: ")[-1]
