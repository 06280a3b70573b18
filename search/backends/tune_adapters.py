"""Tune's side of a search: a thin Searcher, Scheduler and Callback over the study."""

from __future__ import annotations

import pickle
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from search.backends.ray_imports import ray, tune
from search.backends.ray_nodes import ClusterError, one_line
from search.backends.ray_worker import heard, task
from search.interrupt import Interrupted, Stop
from search.study import Study

RETRIES = 2  # times that a trial may lose its worker and go on
CHECK_EVERY = 10.0  # seconds between two looks at the nodes


class Feed(tune.search.Searcher):
    """Tune's view of the study: one configuration for each free place, so none is drawn ahead."""

    def __init__(self, study: Study, places: Callable[[], int]) -> None:
        super().__init__(metric=None, mode=None)
        self.study = study
        self.places = places
        self.limit = places()
        self.numbers: dict[str, int] = {}  # of the trials that run, by Tune's id
        self.again: list[int] = []

    def suggest(self, trial_id: str) -> dict[str, Any] | Any:
        if len(self.numbers) >= self.limit:
            return None
        trial = self.study.view.trials[self.again.pop(0)] if self.again else self.study.suggest()
        if trial is None:
            # A trial that still runs may lose its worker and have to be given out again.
            return None if self.numbers else tune.search.Searcher.FINISHED
        self.numbers[trial_id] = trial.number
        return task(trial, self.study.folder(trial.number))

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error and trial_id in self.numbers:
            self.study.fail(self.numbers.pop(trial_id), "the run ended without a result")

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its parts for a restore that we never ask for

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("the ledger restores a search")


class Judge(tune.schedulers.FIFOScheduler):
    """Tells the study what Tune's trials say; a trial that is stopped there is stopped here."""

    def __init__(self, study: Study, feed: Feed, watch: Watch) -> None:
        super().__init__()
        self.study = study
        self.feed = feed
        self.watch = watch

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        number = self.feed.numbers[trial.trial_id]
        with self.watch.kept():
            said = heard(result)
            if isinstance(said, str):
                self.study.fail(number, said)
                return str(self.CONTINUE)  # the worker ends by itself
            goes_on = self.study.update(number, said) or said.result is not None
            return str(self.CONTINUE if goes_on else self.STOP)

    def __getstate__(self) -> dict[str, Any]:
        return {}  # see Feed


class Watch(tune.Callback):
    """Notes when a worker is lost, and ends Tune's loop when `stop` says so."""

    def __init__(self, study: Study, feed: Feed, stop: Stop) -> None:
        self.study = study
        self.feed = feed
        self.stop = stop
        self.lost: Counter[int] = Counter()
        self.error: BaseException | None = None  # what ended Tune's loop; Tune wraps or drops it
        self.handlers = _handlers()
        self.looked = time.monotonic()

    def setup(self, *_: Any, **info: Any) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)  # Tune has put its own on SIGUSR1

    def on_trial_error(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
        """The worker is gone. Tune's own retry loses trials whose worker dies between two."""
        number = self.feed.numbers.pop(trial.trial_id, None)
        if number is None or self.study.view.trials[number].state != "running":
            return
        self.lost[number] += 1
        if self.lost[number] <= RETRIES:
            self.feed.again.append(number)
            return
        with self.kept():
            cause = _cause(trial.pickled_error_file)
            self.study.fail(number, f"its worker died {self.lost[number]} times: {cause}")

    def on_step_end(self, iteration: int, trials: Any, **info: Any) -> None:
        try:
            self.stop.check()
            if time.monotonic() - self.looked > CHECK_EVERY:
                self.looked = time.monotonic()
                self.feed.limit = self.feed.places()
        except (Interrupted, ClusterError) as error:
            self.error = error
            for trial in trials:
                if trial.temporary_state.ray_actor is not None:
                    ray.kill(trial.temporary_state.ray_actor)  # or Tune waits for its epoch
            raise RuntimeError("stop") from None  # Tune cleans up after an Exception only

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep what goes wrong within: Tune wraps or drops it."""
        try:
            yield
        except Exception as error:
            self.error = error
            raise

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _cause(path: str | None) -> str:
    """What Ray has to say about a lost worker, without what it says every time."""
    if path is None:
        return "of unknown cause"
    error = pickle.loads(Path(path).read_bytes())
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "out of memory, ended by Ray because its node ran low"
    return one_line(error).split(" Some common causes")[0].split("Worker exit detail: ")[-1]


def _handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    names = ("SIGINT", "SIGTERM", "SIGUSR1")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return {number: signal.getsignal(number) for number in numbers}
