"""A search in two verbs, `suggest` and `update`, over the ledger of a run folder.

Every way to run (in this process, on Ray) asks the same object, so for one seed and one worker they
propose the same points.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from search.interrupt import Interrupted
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.ledger import Ledger
from search.record.trial import EpochReport, Rung, Trial
from search.record.view import View
from search.samplers.sampler import Sampler
from search.samplers.table import initial_design_size, make_sampler
from search.stopping.stopper import NoStopping, Stopper
from spaces import Space


class Study:
    """The state of a search: what runs, what is still to come.

    Args:
      space: what is searched.
      ledger: open; its view is the state, its file the record.
      trials: how many in all, those of earlier sessions included.
      seed: of the search; trial n is trained with `seed + n`.
      sampler: proposes; by default TPE after `start_points`.
      stopper: decides at each rung; by default nothing is stopped.
    """

    def __init__(
        self,
        space: Space,
        ledger: Ledger | MemoryLedger | FinalsLedger,
        *,
        trials: int,
        seed: int,
        sampler: Sampler | None = None,
        stopper: Stopper | None = None,
    ) -> None:
        self.space = space
        self.ledger = ledger
        self.trials = trials
        self.seed = seed
        self.sampler = sampler or default_sampler(space, seed, trials)
        self.stopper = stopper or NoStopping()
        self._unfinished = [trial.number for trial in ledger.view.in_state("running")]

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
        while self._unfinished:
            number = self._unfinished.pop(0)
            if not self._stopped(number):  # a driver may die between a decision and its event
                return self.view.trials[number]
        number = len(self.view.trials)
        if number >= self.trials:
            return None
        point = self.sampler.propose(self.view)
        if point is None:
            return None
        params, origin = point
        self.ledger.append(
            "proposed", trial=number, params=params, seed=self.seed + number, origin=origin
        )
        return self.view.trials[number]

    def update(self, number: int, values: EpochReport) -> bool:
        """Record what a trial says, and decide at a rung. Returns whether the trial goes on.

        Values that are not finite end it as failed. What has been told before changes nothing.
        """
        trial = self.view.trials[number]
        if trial.state != "running":
            return False
        if values.nonfinite:
            self.fail(number, f"epoch {values.epoch}: {values.nonfinite}")
            return False
        if values.epoch not in trial.epochs:
            self.ledger.append(
                "epoch",
                trial=number,
                epoch=values.epoch,
                epochs=values.epochs,
                seconds=values.seconds,
                metrics=dict(values.metrics),
            )
        if values.rung is not None and values.rung.key not in trial.rungs:
            self._decide(number, values.rung)
        if self._stopped(number):
            return False
        if values.result is not None:
            result = values.result
            self.ledger.append(
                "finished",
                trial=number,
                **result.to_json(),
            )
        return values.result is None

    def _decide(self, number: int, rung: Rung) -> None:
        reason = self.stopper.review(self.view)
        if reason:
            self.ledger.append("relaxed", level=1 + len(self.view.relaxed), reason=reason)
        decision = self.stopper.decide(self.view, number, rung)
        self.ledger.append("rung", trial=number, **asdict(rung), **asdict(decision))

    def _stopped(self, number: int) -> bool:
        """Whether a rung has decided to stop the trial; if so, that is recorded."""
        for decision in self.view.trials[number].decisions.values():
            if decision.action == "stop":
                self.ledger.append("stopped", trial=number, reason=decision.reason)
                return True
        return False

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


def default_sampler(space: Space, seed: int, trials: int) -> Sampler:
    """TPE after as many points as `start_points` says."""
    return make_sampler("tpe", space, seed=seed, start=initial_design_size(space, trials))


def why(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory: {error}"
    return f"{type(error).__name__}: {error}"
