"""A search in two verbs, `suggest` and `update`, over the ledger of a run folder.

Every way to run (in this process, on Ray) asks the same object, so for one seed and one worker they
propose the same points.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from search.ledger import Ledger, View
from search.sampler import propose
from search.stop import Interrupted
from search.trial import Trial, Values
from spaces import Space


class Study:
    """The state of a search: what runs, what is still to come.

    Args:
      space: what is searched.
      ledger: open; its view is the state, its file the record.
      trials: how many in all, those of earlier sessions included.
      seed: of the search; trial n is trained with `seed + n`.
      start: how many points come before the estimator, see `start_points`.
    """

    def __init__(
        self, space: Space, ledger: Ledger, *, trials: int, seed: int, start: int | None = None
    ) -> None:
        self.space = space
        self.ledger = ledger
        self.trials = trials
        self.seed = seed
        self.start = start_points(space, trials) if start is None else start
        self._unfinished = [trial.number for trial in ledger.view.having("running")]

    @property
    def view(self) -> View:
        """All that has happened so far."""
        return self.ledger.view

    @property
    def open(self) -> int:
        """How many trials are still to be suggested."""
        return len(self._unfinished) + max(0, self.trials - len(self.view.trials))

    def folder(self, number: int) -> Path:
        """Where a trial keeps its state and its weights."""
        return self.ledger.path.parent.absolute() / "trials" / f"{number:04d}"

    def suggest(self) -> Trial | None:
        """The next trial to run, or None where all have been given out.

        The trials that an earlier session left unfinished come first.
        """
        if self._unfinished:
            return self.view.trials[self._unfinished.pop(0)]
        number = len(self.view.trials)
        if number >= self.trials:
            return None
        params, origin = propose(self.space, self.view, seed=self.seed, start=self.start)
        self.ledger.append(
            "proposed", trial=number, params=params, seed=self.seed + number, origin=origin
        )
        return self.view.trials[number]

    def update(self, number: int, values: Values) -> None:
        """Record what a trial says. Values that are not finite end it as failed."""
        trial = self.view.trials[number]
        if trial.state != "running":
            return
        if values.faults:
            self.fail(number, f"epoch {values.epoch}: {values.faults}")
            return
        if values.epoch not in trial.epochs:
            self.ledger.append(
                "epoch",
                trial=number,
                epoch=values.epoch,
                epochs=values.epochs,
                seconds=values.seconds,
                metrics=dict(values.metrics),
            )
        if values.result is not None:
            result = values.result
            self.ledger.append(
                "finished",
                trial=number,
                objectives=dict(result.objectives),
                intervals=dict(result.intervals),
                details=dict(result.details),
            )

    def fail(self, number: int, reason: str) -> None:
        """Record that a trial ended without a usable result, and why (one line)."""
        if self.view.trials[number].state == "running":
            self.ledger.append("failed", trial=number, reason=" ".join(reason.split())[:500])

    @contextmanager
    def failing(self, number: int) -> Iterator[None]:
        """Turn what a run raises into a failed trial; the search goes on."""
        try:
            yield
        except Interrupted:
            raise
        except Exception as error:  # a trial may raise anything
            self.fail(number, why(error))
        else:
            self.fail(number, "the run ended without a result")


def start_points(space: Space, trials: int) -> int:
    """How many points are tried before the estimator: a third, 4 to 16, all known ones at least."""
    return max(min(16, max(4, trials // 3)), len(space.known))


def why(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: {error}"
    return f"{type(error).__name__}: {error}"
