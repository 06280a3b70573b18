"""One search of one problem by one method, judged; and its front after finalists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quality.peers import PEERS, peer
from search.finals.selection import choose_next, front_probability, select_candidates
from search.finals.selection import select_front as believed
from search.finals.true_values import sample_true_values
from search.record.trial import EpochReport
from search.replay.search_quality import Verdict, Yardstick, judge, precision
from search.replay.simulator import History, Method, Ours, draft, simulate
from search.samplers.table import SAMPLERS, initial_design_size, make_sampler
from search.stopping.table import STOPPERS, make_stopper
from spaces import Params, Space

FINALS = 0.25  # of the search's budget, for finalists; it comes on top


class Problem(Protocol):
    """What is searched: a `Run` that knows the truth."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def space(self) -> Space: ...

    @property
    def epochs(self) -> int: ...

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]: ...

    def yardstick(self) -> Yardstick: ...


@dataclass(frozen=True)
class Setting:
    """What all methods get: workers at once, and a budget in whole trainings."""

    workers: int
    budget: int


def ours(name: str) -> tuple[str, str] | None:
    """The sampler and the stopper that `SAMPLER+STOPPER` names; None where it is no such name."""
    first, _, second = name.partition("+")
    return (first, second) if first in SAMPLERS and second in STOPPERS else None


def method(name: str, problem: Problem, seed: int, budget: int) -> Method:
    """A peer, or ours as SAMPLER+STOPPER.

    Raises:
      KeyError: there is none of that name.
    """
    pair = ours(name)
    if pair is None:
        return peer(name, problem.space, seed=seed, epochs=problem.epochs)
    start = initial_design_size(problem.space, budget)
    study = draft(
        problem.space,
        trials=10**6,  # the budget of epochs ends it
        seed=seed,
        sampler=make_sampler(pair[0], problem.space, seed=seed, start=start),
        stopper=make_stopper(pair[1], seed=seed),
    )
    return Ours(study)


def contest(name: str, problem: Problem, seed: int, setting: Setting) -> dict[str, Any]:
    """Search and judge.

    Returns:
      What `Verdict` holds as plain data, `finals` (the precision of the front that is reported
      after finalists) and `seconds` of processor time.
    """
    began = time.process_time()
    yardstick = problem.yardstick()
    searcher = method(name, problem, 1000 * seed, setting.budget)
    history = simulate(
        searcher, problem, workers=setting.workers, budget=setting.budget * problem.epochs
    )
    spent = time.process_time() - began
    verdict = judge(history, yardstick)
    after = finals(history, problem, yardstick, int(FINALS * setting.budget), seed)
    return {**_plain(verdict), "finals": after, "seconds": spent}


def _plain(verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = dict(vars(verdict))
    reached = verdict.epochs != float("inf")
    return {**told, "curve": [list(p) for p in verdict.curve],
            "epochs": verdict.epochs if reached else None}  # fmt: skip


def finals(history: History, problem: Problem, yardstick: Yardstick, trainings: int,
           seed: int) -> float:  # fmt: skip
    """The precision of the reported front after so many trainings with fresh seeds."""
    seen = np.array([finish.result.point for finish in history.finished])
    if len(seen) < 2:
        return 0.0
    true = np.array([yardstick.truth(finish.params) for finish in history.finished])
    sd = np.maximum((seen - true).std(axis=0), 1e-9)  # as repeats would show
    chosen = select_candidates(seen, sd, max(1, trainings // 2), seed=seed)
    values: dict[int, list[tuple[float, float]]] = {i: [] for i in chosen}

    def chances() -> Any:
        fresh = {i: v for i, v in values.items() if v}
        return front_probability(sample_true_values(seen, fresh, sd, draws=1000, seed=seed))[chosen]

    for number in range(trainings):
        which = choose_next(chances(), [len(v) for v in values.values()])
        if which is None:
            break
        again = 10**6 + 1000 * seed + number
        params = history.finished[chosen[which]].params
        values[chosen[which]].append(_again(problem, params, again))
    on = np.zeros(len(seen), dtype=bool)
    on[np.array(chosen)[believed(chances())]] = True
    return precision(on, [(float(a), float(b)) for a, b in true])


def _again(problem: Problem, params: Any, seed: int) -> tuple[float, float]:
    *_, last = problem(params, seed, Path())
    if last.result is None:
        raise ValueError("a training ended without a result")
    return last.result.point


def names() -> list[str]:
    """All methods: peers, and ours in every combination."""
    return [*PEERS, *(f"{a}+{b}" for a in SAMPLERS for b in STOPPERS)]
