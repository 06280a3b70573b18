"""NSGA-II's offspring, one at a time: parents from the best trials so far, crossed and mutated.

Deb et al. 2002, in its steady-state form: no generations, which with a hundred asynchronous trials
would hardly turn over. The children of a trial that still runs are not waited for.
"""

from __future__ import annotations

import math
import random

from search.record.trial import Trial
from search.record.view import View
from search.samplers.initial_design import random_point
from search.stopping import leading
from spaces import Choice, Knob, Params, Space, Value, exists

POPULATION = 24  # the best trials, of which parents are drawn
CROSSED = 0.9  # share of the children that have two parents
SPREAD = 20.0  # of a mutation: larger is nearer to the parent (Deb and Goyal 1996)


def child(space: Space, view: View, chance: random.Random) -> Params:
    """A point made of two good ones, or a random one while fewer than two trials are feasible."""
    done = [trial for trial in view.in_state("finished") if trial.result and view.feasible(trial)]
    if len(done) < 2:
        return random_point(space, chance)
    best = leading([trial.result.point for trial in done if trial.result], POPULATION)
    parents = [done[i] for i in best]
    tried = {tuple(trial.params.items()) for trial in view.trials.values()}
    for _ in range(100):
        made = _cross(space, _chosen(parents, chance), _chosen(parents, chance), chance)
        if tuple(made.items()) not in tried:
            return made
    return random_point(space, chance)


def _chosen(parents: list[Trial], chance: random.Random) -> Params:
    """The better of two; parents are sorted from the best."""
    return parents[min(chance.randrange(len(parents)) for _ in range(2))].params


def _cross(space: Space, one: Params, other: Params, chance: random.Random) -> Params:
    """Each knob from one of the parents that has it, about one of them mutated."""
    if chance.random() > CROSSED:
        other = one
    fresh = random_point(space, chance)
    made: dict[str, Value] = {}
    for name, knob in space.knobs.items():
        if not exists(knob, made):
            continue
        have = [parent[name] for parent in (one, other) if name in parent]
        value = chance.choice(have) if have else fresh.get(name, knob.at(chance.random()))
        if chance.random() < 1 / len(space.knobs):
            value = _mutated(knob, value, chance)
        made[name] = value
    return made


def _mutated(knob: Knob, value: Value, chance: random.Random) -> Value:
    """Another option; of a number one near by (polynomial mutation, on the knob's own scale)."""
    if isinstance(knob, Choice):
        others = [option for option in knob.options if option != value]
        return chance.choice(others or list(knob.options))
    step = chance.choice((-1, 1)) * (1 - chance.random() ** (1 / (SPREAD + 1)))
    return knob.at(min(1 - 1e-12, max(0.0, position(knob, float(value)) + step)))


def position(knob: Knob, value: float) -> float:
    """Where in [0, 1) of its range a number lies: what `knob.at` takes back."""
    assert not isinstance(knob, Choice)
    low, high = float(knob.low), float(knob.high)
    if not isinstance(knob.low, float):
        value, high = value + 0.5, high + 1.0
    if knob.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)
