"""A cluster without processes: nodes and slots that answer a search as Ray Tune would.

The loop calls the study's Searcher, Scheduler and Callback in Tune's order, with the same messages
as a worker sends. Only the time is simulated: an epoch ends after the `seconds` that it reports,
and a search of days takes as long as the driver's own work. Nodes can be lost while trials run.
"""

from __future__ import annotations

import heapq
import json
import pickle
import tempfile
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from search.backends.messages import run_trial
from search.backends.ray_imports import ray, tune
from search.backends.trial_timeout import OFF, TrialTimeout, Watchdog
from search.backends.tune_adapters import StudyCallback, StudyScheduler, StudySearcher
from search.interrupt import Interrupt
from search.record.trial import Run
from search.study import Study


@dataclass(frozen=True)
class SimulatedCluster:
    """A cluster of equal nodes.

    Args:
      nodes: how many there are.
      slots: trials that a node runs at once.
      losses: numbers of nodes by the report after which each is lost, for good.
    """

    nodes: int = 64
    slots: int = 8
    losses: Mapping[int, int] = field(default_factory=dict)

    def search(self, study: Study, run: Run, interrupt: Interrupt) -> int:
        """Run every trial that `study` suggests, as `search.backends.ray_tune.search` does.

        Returns:
          The largest number of trials that ran at the same time.

        Raises:
          Interrupted: `interrupt` asked for it.
        """
        with tempfile.TemporaryDirectory() as scratch:
            loop = _Loop(self, study, run, interrupt, Path(scratch))
            try:
                return loop.run_all()
            except Exception as error:
                raise loop.callback.error or error from None


@dataclass
class _Actor:
    """A trial of Tune in a simulated worker."""

    trial_id: str
    node: int
    messages: Generator[str, None, None]
    pickled_error_file: str | None = None
    temporary_state: Any = field(default_factory=lambda: SimpleNamespace(ray_actor=None))


class _Loop:
    """Tune's loop over one search."""

    def __init__(
        self, cluster: SimulatedCluster, study: Study, run: Run, interrupt: Interrupt, scratch: Path
    ) -> None:
        self.run, self.cluster, self.scratch = run, cluster, scratch
        self.free = dict.fromkeys(range(cluster.nodes), cluster.slots)
        self.searcher = StudySearcher(study, self._capacity)
        watchdog = Watchdog(study, TrialTimeout(OFF))  # its clock is real
        self.callback = StudyCallback(study, self.searcher, interrupt, watchdog)
        self.scheduler = StudyScheduler(study, self.searcher, self.callback)
        self.waiting: list[tuple[float, int, _Actor, str]] = []
        self.lost: set[int] = set()
        self.clock, self.order, self.reports, self.most = 0.0, 0, 0, 0

    def _capacity(self) -> int:
        return self.cluster.slots * (self.cluster.nodes - len(getattr(self, "lost", ())))

    def run_all(self) -> int:
        """Start trials and pass on their reports until the study has no more."""
        while self._start_trials() or self.waiting:
            self.clock, _, actor, message = heapq.heappop(self.waiting)
            if actor.node not in self.lost:
                self._report(actor, message)
            self.callback.on_step_end(self.reports, self._actors())
        return self.most

    def _start_trials(self) -> bool:
        """Start trials while there is room; return whether the study may have more."""
        while (node := next((n for n, slots in self.free.items() if slots), None)) is not None:
            self.order += 1
            trial_id = f"simulated-{self.order}"
            config = self.searcher.suggest(trial_id)
            if not isinstance(config, dict):
                return config is None and bool(self.waiting)
            actor = _Actor(trial_id, node, run_trial(self.run, config["task"]))
            self.free[node] -= 1
            self.callback.on_trial_start(self.reports, self._actors(), actor)
            self._wait(actor)
        return True

    def _wait(self, actor: _Actor) -> None:
        """Let the next report of a trial arrive after its epoch, or end the trial."""
        message = next(actor.messages, None)
        if message is None:
            self._end(actor)
            self.searcher.on_trial_complete(actor.trial_id)
            return
        seconds = json.loads(message).get("values", {}).get("seconds", 0.0)
        self.order += 1
        heapq.heappush(self.waiting, (self.clock + seconds, self.order, actor, message))
        self.most = max(self.most, len(self.waiting))

    def _report(self, actor: _Actor, message: str) -> None:
        self.reports += 1
        decision = self.scheduler.on_trial_result(None, actor, {"message": message})
        if decision == tune.schedulers.TrialScheduler.STOP:
            self._end(actor)
            self.searcher.on_trial_complete(actor.trial_id)
        else:
            self._wait(actor)
        for node, after in self.cluster.losses.items():
            if self.reports >= after and node not in self.lost:
                self._lose(node)

    def _lose(self, node: int) -> None:
        """End a node: each trial on it fails as when Ray loses the worker's node."""
        self.lost.add(node)
        self.free.pop(node)
        self.searcher.limit = self._capacity()
        error = self.scratch / "error.pkl"
        error.write_bytes(pickle.dumps(ray.exceptions.ActorDiedError()))
        for actor in self._actors():
            if actor.node == node:
                actor.messages.close()
                actor.pickled_error_file = str(error)
                self.callback.on_trial_error(self.reports, [], actor)

    def _end(self, actor: _Actor) -> None:
        actor.messages.close()
        if actor.node not in self.lost:
            self.free[actor.node] += 1

    def _actors(self) -> list[_Actor]:
        return [actor for *_, actor, _ in self.waiting]
