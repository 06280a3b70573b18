"""One search of one problem by one method: its score, and the front after its finals."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from quality.peers import PEERS, make_peer
from search.finals.selection import choose_next, front_membership, select_candidates, select_front
from search.finals.true_values import sample_true_values
from search.record.pareto import front
from search.record.trial import EpochReport
from search.replay.search_quality import SearchScore, TrueFront, score_search
from search.replay.simulator import (
    Method,
    SearchHistory,
    StudyMethod,
    make_simulated_study,
    simulate,
)
from search.samplers.table import SAMPLERS, initial_design_size, make_sampler
from search.stopping.table import STOPPERS, make_stopper
from spaces import Params, Space

FINALS = 1 / 3  # trainings of the finals, as a share of the budget; they come on top


class Problem(Protocol):
    """A search problem: a `Run` whose true front is known."""

    @property
    def name(self) -> str: ...

    @property
    def group(self) -> str: ...

    @property
    def space(self) -> Space: ...

    @property
    def epochs(self) -> int: ...

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]: ...

    def true_front(self) -> TrueFront: ...


@dataclass(frozen=True)
class Setting:
    """The same for all methods.

    Args:
      workers: trials at a time.
      budget: in full trainings.
    """

    workers: int
    budget: int


def parse_own_method(name: str) -> tuple[str, str] | None:
    """Return sampler and stopper of a name SAMPLER+STOPPER, None for another name."""
    first, _, second = name.partition("+")
    return (first, second) if first in SAMPLERS and second in STOPPERS else None


def make_method(name: str, problem: Problem, seed: int, budget: int) -> Method:
    """Return a method ready to search: a peer, or our own as SAMPLER+STOPPER.

    Raises:
      KeyError: there is no method of that name.
    """
    pair = parse_own_method(name)
    if pair is None:
        return make_peer(name, problem.space, seed=seed, epochs=problem.epochs)
    start = initial_design_size(problem.space, budget)
    study = make_simulated_study(
        problem.space,
        trials=10**6,  # the budget of epochs ends it
        seed=seed,
        sampler=make_sampler(pair[0], problem.space, seed=seed, start=start),
        stopper=make_stopper(pair[1], seed=seed),
    )
    return StudyMethod(study)


def run_contest(name: str, problem: Problem, seed: int, setting: Setting) -> dict[str, Any]:
    """Search a problem once, and score it.

    Returns:
      The fields of `SearchScore` as plain data; `finals` and `recall`, precision and recall of the
      front that is reported after the finals; and `seconds` of processor time.
    """
    began = time.process_time()
    true_front = problem.true_front()
    searcher = make_method(name, problem, 1000 * seed, setting.budget)
    history = simulate(
        searcher, problem, workers=setting.workers, budget=setting.budget * problem.epochs
    )
    spent = time.process_time() - began
    score = score_search(history, true_front)
    after, recall = run_finals(history, problem, true_front, int(FINALS * setting.budget), seed)
    return {**_to_json(score), "finals": after, "recall": recall, "seconds": spent}


def _to_json(score: SearchScore) -> dict[str, Any]:
    """Return the score under the keys of the benchmark's rows."""
    reached = score.epochs_to_target != float("inf")
    return {
        "curve": [list(point) for point in score.curve],
        "share": score.share,
        "epochs": score.epochs_to_target if reached else None,
        "precision": score.precision,
        "shown": score.measured_share,
        "finished": score.finished,
        "stopped": score.stopped,
        "spent": score.spent,
    }


def run_finals(
    history: SearchHistory, problem: Problem, true_front: TrueFront, trainings: int, seed: int
) -> tuple[float, float]:
    """Return precision and recall of the front reported after so many trainings with fresh seeds.

    Recall is the share of the trials of the search that truly are on their front.
    """
    measured = np.array([finish.result.point for finish in history.finished])
    if len(measured) < 2:
        return 0.0, 0.0
    true = np.array([true_front.objectives(finish.params) for finish in history.finished])
    sd = np.maximum((measured - true).std(axis=0), 1e-9)  # as repeats would show
    candidates = select_candidates(measured, sd, max(1, trainings), seed=seed)
    values: dict[int, list[tuple[float, float]]] = {i: [] for i in candidates}

    def membership(draws: int) -> Any:
        fresh = {i: v for i, v in values.items() if v}
        sampled = sample_true_values(measured, fresh, sd, draws=draws, seed=seed)
        return front_membership(sampled)

    for number in range(trainings):
        chances = membership(250).mean(axis=0)[candidates]
        index = choose_next(chances, [len(v) for v in values.values()])
        if index is None:
            break
        fresh_seed = 10**6 + 1000 * seed + number
        params = history.finished[candidates[index]].params
        values[candidates[index]].append(_train_again(problem, params, fresh_seed))
    on = select_front(membership(1000))
    truly = front(true)
    return float(truly[on].mean()), float(on[truly].mean())


def _train_again(problem: Problem, params: Any, seed: int) -> tuple[float, float]:
    *_, last = problem(params, seed, Path())
    if last.result is None:
        raise ValueError("a training ended without a result")
    return last.result.point


def method_names() -> list[str]:
    """Return the names of all methods: peers, and our own in every combination."""
    return [*PEERS, *(f"{a}+{b}" for a in SAMPLERS for b in STOPPERS)]
