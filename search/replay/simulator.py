"""Simulate a search: many workers, no waiting, the same code as in a real one.

The clock jumps from one epoch's end to the next, so a search of a thousand epochs takes as long as
its proposals do. Proposals, reports and decisions go through the real `Study`, over a ledger in
memory, so the simulation does what a real search would do. Searches of other libraries take part as
other `Method`s.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from search.record.derived_ledgers import MemoryLedger
from search.record.trial import EpochReport, Run, Trial
from search.record.trial_result import TrialResult
from search.study import Study
from spaces import Params, Space


class Method(Protocol):
    """A search method: proposes trials, and decides whether they continue."""

    def ask(self) -> Trial | None:
        """Return the next trial, None if there is none at the moment."""

    def tell(self, number: int, values: EpochReport) -> bool:
        """Take the report of an epoch; return False to end the trial, with or without a result."""


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that ended with a result.

    Args:
      number: of the trial.
      params: its configuration.
      seed: of its training.
      result: of the trial.
      spent: epochs of all trials until its end.
      clock: simulated time of its end, in seconds.
    """

    number: int
    params: Params
    seed: int
    result: TrialResult
    spent: int
    clock: float


@dataclass
class SearchHistory:
    """The course of a simulated search.

    Args:
      finished: trials with a result, in order of ending.
      started: how many trials were started.
      stopped: how many were stopped early.
      spent: epochs of all trials.
      clock: simulated time, in seconds.
    """

    finished: list[FinishedTrial] = field(default_factory=list)
    started: int = 0
    stopped: int = 0
    spent: int = 0
    clock: float = 0.0


def simulate(method: Method, run: Run, *, workers: int, budget: int) -> SearchHistory:
    """Let a method search until its budget is spent.

    Args:
      method: the search.
      run: trains a trial; an epoch takes the `seconds` that it reports.
      workers: how many trials run at the same time.
      budget: epochs of all trials together, those of stopped and unfinished trials included.

    Raises:
      ValueError: there is no worker, or the budget is below one epoch.
    """
    if workers < 1 or budget < 1:
        raise ValueError(f"at least one worker and one epoch, got {workers} and {budget}")
    history = SearchHistory()
    waiting: list[tuple[float, int, Trial, EpochReport, Iterator[EpochReport]]] = []
    free, order = workers, 0
    while True:
        while free and (trial := method.ask()) is not None:
            epochs = run(trial.params, trial.seed, Path())
            first = next(epochs)
            heapq.heappush(waiting, (history.clock + first.seconds, order, trial, first, epochs))
            free, order, history.started = free - 1, order + 1, history.started + 1
        if not waiting or history.spent >= budget:
            return history
        history.clock, _, trial, values, epochs = heapq.heappop(waiting)
        history.spent += 1
        goes_on = method.tell(trial.number, values)
        if values.result is not None:
            history.finished.append(
                FinishedTrial(
                    trial.number,
                    trial.params,
                    trial.seed,
                    values.result,
                    history.spent,
                    history.clock,
                )
            )
        elif goes_on:
            later = next(epochs)
            heapq.heappush(waiting, (history.clock + later.seconds, order, trial, later, epochs))
            order += 1
            continue
        else:
            history.stopped += 1
        free += 1


@dataclass
class StudyMethod:
    """The real study as a method."""

    study: Study

    def ask(self) -> Trial | None:
        """Return the trial that the study suggests."""
        return self.study.suggest()

    def tell(self, number: int, values: EpochReport) -> bool:
        """Update the study; return whether the trial continues."""
        return self.study.update(number, values)


def make_simulated_study(space: Space, *, trials: int, seed: int, **choices: Any) -> Study:
    """Return a study whose ledger is in memory; `choices` are `Study`'s sampler and stopper."""
    ledger = MemoryLedger()
    ledger.append("study", format=1, seed=seed)
    return Study(space, ledger, trials=trials, seed=seed, **choices)
