"""NSGA-II's offspring, one at a time: crossover and mutation of the best trials so far.

Deb et al. 2002, in its steady-state form without generations, which would hardly turn over with a
hundred asynchronous trials. Trials that still run are not waited for.
"""

from __future__ import annotations

import random
from functools import partial

from search.record.trial import Trial
from search.record.view import View
from search.samplers.finite_space import configuration_key, tried_keys
from search.samplers.initial_design import random_params
from search.samplers.strategy import Strategy
from search.stopping.nondominated_sort import select_best
from spaces import Choice, Knob, Params, Space, Value, exists

POPULATION = 24  # the best trials, from which parents are drawn
CROSSOVER_SHARE = 0.9  # of the offspring; the others have one parent
ETA = 20.0  # distribution index of the mutation: larger stays nearer (Deb and Goyal 1996)


def propose_offspring(space: Space, view: View, rng: random.Random) -> Params:
    """Return an untried offspring of two good configurations.

    Returns a random configuration while fewer than two trials are feasible.
    """
    done = [trial for trial in view.scored() if view.feasible(trial)]
    if len(done) < 2:
        return random_params(space, rng)
    best = select_best([trial.result.point for trial in done if trial.result], POPULATION)
    parents = [done[i] for i in best]
    tried = tried_keys(view)
    for _ in range(100):
        offspring = _cross(space, _select(parents, rng), _select(parents, rng), rng)
        if configuration_key(offspring) not in tried:
            return offspring
    return random_params(space, rng)


def _select(parents: list[Trial], rng: random.Random) -> Params:
    """Binary tournament: return the better of two random parents, which are sorted best first."""
    return parents[min(rng.randrange(len(parents)) for _ in range(2))].params


def _cross(space: Space, one: Params, other: Params, rng: random.Random) -> Params:
    """Take each hyperparameter from one of the parents that has it; mutate about one of them."""
    if rng.random() > CROSSOVER_SHARE:
        other = one
    fresh = random_params(space, rng)
    offspring: dict[str, Value] = {}
    for name, knob in space.knobs.items():
        if not exists(knob, offspring):
            continue
        inherited = [parent[name] for parent in (one, other) if name in parent]
        value = rng.choice(inherited) if inherited else fresh.get(name, knob.at(rng.random()))
        if rng.random() < 1 / len(space.knobs):
            value = _mutate(knob, value, rng)
        offspring[name] = value
    return offspring


def _mutate(knob: Knob, value: Value, rng: random.Random) -> Value:
    """Return another option, or a number near by (polynomial mutation on the knob's own scale)."""
    if isinstance(knob, Choice):
        others = [option for option in knob.options if option != value]
        return rng.choice(others or list(knob.options))
    step = rng.choice((-1, 1)) * (1 - rng.random() ** (1 / (ETA + 1)))
    return knob.at(min(1 - 1e-12, max(0.0, knob.position(value) + step)))


NSGA2 = Strategy(lambda space, _: partial(propose_offspring, space))
