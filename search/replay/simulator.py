"""A search at simulated time: many workers, no waiting, the same verbs as a real one.

The clock jumps from one epoch's end to the next, so a search of a thousand epochs takes as long as
its proposals do. What is proposed, told and stopped goes through the real `Study` over a
ledger that nobody keeps, so what is simulated is what would run. A
search that is not ours joins as another `Method`.
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
    """A search: what it proposes, and whether a trial goes on after what it has said."""

    def ask(self) -> Trial | None:
        """The next trial, None where there is none."""

    def tell(self, number: int, values: EpochReport) -> bool:
        """Take in an epoch; False ends the trial here, with a result or without."""


@dataclass(frozen=True)
class Finish:
    """A trial that ended with a result: when, after how many epochs of all trials together."""

    number: int
    params: Params
    seed: int
    result: TrialResult
    spent: int
    clock: float


@dataclass
class History:
    """What a simulated search did: finished trials in order, and what was begun, stopped, spent."""

    finished: list[Finish] = field(default_factory=list)
    started: int = 0
    stopped: int = 0
    spent: int = 0
    clock: float = 0.0


def simulate(method: Method, run: Run, *, workers: int, budget: int) -> History:
    """Let `method` search with `workers` trials at once until `budget` epochs are spent.

    Every epoch of every trial counts, also those of trials that are stopped or still run at the
    end. A trial's epoch takes the `seconds` that its run says.

    Raises:
      ValueError: no worker, or a budget below one epoch.
    """
    if workers < 1 or budget < 1:
        raise ValueError(f"at least one worker and one epoch, got {workers} and {budget}")
    history = History()
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
                Finish(trial.number, trial.params, trial.seed, values.result, history.spent,
                       history.clock)
            )  # fmt: skip
        elif goes_on:
            later = next(epochs)
            heapq.heappush(waiting, (history.clock + later.seconds, order, trial, later, epochs))
            order += 1
            continue
        else:
            history.stopped += 1
        free += 1


@dataclass
class Ours:
    """The real study as a method: `suggest`, `update`, and the trial's state after it."""

    study: Study

    def ask(self) -> Trial | None:
        return self.study.suggest()

    def tell(self, number: int, values: EpochReport) -> bool:
        return self.study.update(number, values)


def draft(space: Space, *, trials: int, seed: int, **choices: Any) -> Study:
    """A study whose ledger nobody keeps; `choices` are `Study`'s sampler and stopper."""
    ledger = MemoryLedger()
    ledger.append("study", format=1, seed=seed)
    return Study(space, ledger, trials=trials, seed=seed, **choices)
