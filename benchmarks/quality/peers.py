"""Other search libraries as methods of the simulator, each driven through its own classes.

All get the same as ours: space, workers, budget, epochs, and both objectives after each epoch. A
peer is told of a trial that it stopped in the way it tells itself: Ray's OptunaSearch takes the
last, partial values for those of a finished trial. Only fully trained trials count for the front
that is scored, which favours such a peer.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

import optuna
from optuna import samplers

from search.record.trial import EpochReport, Trial
from search.replay.simulator import Method
from spaces import OBJECTIVES, Choice, Float, Params, Space, exists

optuna.logging.set_verbosity(optuna.logging.ERROR)
Point = tuple[float, float]


class Engine(Protocol):
    """A search library behind one interface."""

    def ask(self, number: int) -> Params:
        """Return the configuration of trial `number`."""

    def epoch(self, number: int, epoch: int, point: Point) -> bool:
        """Take both objectives after an epoch before the last; return False to stop the trial."""

    def end(self, number: int, point: Point) -> None:
        """Take both objectives of a fully trained net."""


@dataclass
class Peer:
    """A peer as a `Method`, which numbers and seeds its trials as our study does."""

    engine: Engine
    seed: int
    trials: dict[int, Trial] = field(default_factory=dict)

    def ask(self) -> Trial:
        number = len(self.trials)
        params = self.engine.ask(number)
        self.trials[number] = Trial(number, params, self.seed + number, "peer")
        return self.trials[number]

    def tell(self, number: int, values: EpochReport) -> bool:
        if values.result is not None:
            self.engine.end(number, values.result.point)
            return False
        return self.engine.epoch(number, values.epoch, halfway(values))


def halfway(values: EpochReport) -> Point:
    """Return both objectives of a half-trained net, in the units of the final ones."""
    return values.metrics["watched_natural"], 100 * values.metrics["watched_robust"]


@dataclass
class Random:
    """Draws each hyperparameter uniformly on its own scale."""

    space: Space
    chance: random.Random

    def ask(self, number: int) -> Params:
        params: dict[str, Any] = {}
        for name, knob in self.space.knobs.items():
            if exists(knob, params):
                params[name] = knob.at(self.chance.random())
        return params

    def epoch(self, number: int, epoch: int, point: Point) -> bool:
        return True

    def end(self, number: int, point: Point) -> None:
        return


class Optuna:
    """Optuna by ask and tell, without early stopping."""

    def __init__(self, space: Space, sampler: optuna.samplers.BaseSampler) -> None:
        self.space = space
        self.study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
        self.open: dict[int, optuna.Trial] = {}

    def ask(self, number: int) -> Params:
        self.open[number] = self.study.ask()
        suggest(self.space, self.open[number])
        return dict(self.open[number].params)

    def epoch(self, number: int, epoch: int, point: Point) -> bool:
        return True

    def end(self, number: int, point: Point) -> None:
        self.study.tell(self.open.pop(number), point)


def suggest(space: Space, trial: optuna.Trial) -> None:
    """Suggest a configuration in Optuna's define-by-run form, conditional ones included."""
    for name, knob in space.knobs.items():
        if not exists(knob, trial.params):
            continue
        if isinstance(knob, Choice):
            trial.suggest_categorical(name, knob.options)
        elif isinstance(knob, Float):
            trial.suggest_float(name, knob.low, knob.high, log=knob.log)
        else:
            trial.suggest_int(name, knob.low, knob.high, log=knob.log)


class Ray:
    """Ray Tune's own OptunaSearch, with its ASHA on the robust objective or without a scheduler.

    Tune's controller tells a searcher that a stopped trial is complete, with its last result; the
    searcher tells Optuna COMPLETE with these values (`TuneController.stop_trial`).
    """

    def __init__(self, space: Space, seed: int, epochs: int, *, stops: bool) -> None:
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        self.names = list(OBJECTIVES)
        self.search = OptunaSearch(
            lambda trial: suggest(space, trial), metric=self.names, mode=["max", "max"], seed=seed
        )
        self.scheduler: Any = None
        if stops:
            self.scheduler = tune.schedulers.AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=OBJECTIVES[1],
                mode="max",
                max_t=epochs,
                grace_period=max(1, epochs // 9),
                reduction_factor=3,
            )
        self.trials: dict[int, Any] = {}

    def ask(self, number: int) -> Params:
        params = self.search.suggest(str(number))
        self.trials[number] = SimpleNamespace(trial_id=str(number), config=params)
        if self.scheduler:
            self.scheduler.on_trial_add(None, self.trials[number])
        return dict(params)

    def epoch(self, number: int, epoch: int, point: Point) -> bool:
        result = {**dict(zip(self.names, point, strict=True)), "epoch": epoch}
        self.search.on_trial_result(str(number), result)
        if not self.scheduler:
            return True
        goes_on = self.scheduler.on_trial_result(None, self.trials[number], result) == "CONTINUE"
        if not goes_on:
            self._complete(number, result)
        return goes_on

    def end(self, number: int, point: Point) -> None:
        self._complete(number, {**dict(zip(self.names, point, strict=True)), "epoch": 10**6})

    def _complete(self, number: int, result: Mapping[str, Any]) -> None:
        if self.scheduler:
            self.scheduler.on_trial_complete(None, self.trials[number], result)
        self.search.on_trial_complete(str(number), result=dict(result))


class Syne:
    """Syne Tune's MOASHA, which proposes at random and stops by both objectives."""

    def __init__(self, space: Space, seed: int, epochs: int) -> None:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        self.points = Random(space, random.Random(seed))
        self.epochs = epochs
        self.scheduler = MOASHA(
            {},
            metrics=list(OBJECTIVES),
            do_minimize=False,
            time_attr="epoch",
            max_t=epochs,
            grace_period=max(1, epochs // 9),
            reduction_factor=3,
            random_seed=seed,
        )

    def ask(self, number: int) -> Params:
        self.scheduler.on_trial_add(SimpleNamespace(trial_id=number))
        return self.points.ask(number)

    def epoch(self, number: int, epoch: int, point: Point) -> bool:
        decision = self.scheduler.on_trial_result(
            SimpleNamespace(trial_id=number), self._result(epoch, point)
        )
        return decision == "CONTINUE"

    def end(self, number: int, point: Point) -> None:
        trial = SimpleNamespace(trial_id=number)
        self.scheduler.on_trial_complete(trial, self._result(self.epochs, point))

    def _result(self, epoch: int, point: Point) -> dict[str, Any]:
        return {**dict(zip(OBJECTIVES, point, strict=True)), "epoch": epoch}


class Ax:
    """Ax with its own choice of BoTorch model: Sobol first, then noisy expected improvement.

    Inactive hyperparameters are proposed all the same and dropped, as Ax's flat spaces need.
    """

    def __init__(self, space: Space, seed: int) -> None:
        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        self.space = space
        self.client = Client(random_seed=seed)
        parameters: list[Any] = []
        for name, knob in space.knobs.items():
            if isinstance(knob, Choice):
                kind = "str" if isinstance(knob.options[0], str) else "float"
                parameters.append(
                    ChoiceParameterConfig(
                        name=name, values=list(knob.options), parameter_type=kind, is_ordered=False
                    )
                )
                continue
            parameters.append(
                RangeParameterConfig(
                    name=name,
                    bounds=(knob.low, knob.high),
                    parameter_type="float" if isinstance(knob, Float) else "int",
                    scaling="log" if knob.log else "linear",
                )
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.client.configure_experiment(parameters=parameters)
            self.client.configure_optimization(objective=", ".join(OBJECTIVES))
            self.client.configure_generation_strategy(
                method="fast",
                initialization_budget=10,
                initialization_random_seed=seed,
                allow_exceeding_initialization_budget=True,
            )
        self.open: dict[int, int] = {}

    def ask(self, number: int) -> Params:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ((index, point),) = self.client.get_next_trials(max_trials=1).items()
        self.open[number] = index
        params: dict[str, Any] = {}
        for name, knob in self.space.knobs.items():
            if exists(knob, params):
                params[name] = point[name]
        return params

    def epoch(self, number: int, epoch: int, point: Point) -> bool:
        return True

    def end(self, number: int, point: Point) -> None:
        raw = dict(zip(OBJECTIVES, point, strict=True))
        self.client.complete_trial(trial_index=self.open.pop(number), raw_data=raw)


Maker = Callable[[Space, int, int], Engine]
PEERS: Mapping[str, Maker] = {
    "random": lambda space, seed, _: Random(space, random.Random(seed)),
    "ray-optuna": lambda space, seed, epochs: Ray(space, seed, epochs, stops=False),
    "ray-optuna-asha": lambda space, seed, epochs: Ray(space, seed, epochs, stops=True),
    "optuna-tpe": lambda space, seed, _: Optuna(space, samplers.TPESampler(seed=seed)),
    "optuna-tpe-multivariate": lambda space, seed, _: Optuna(
        space,
        samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    ),
    "optuna-nsga2": lambda space, seed, _: Optuna(space, samplers.NSGAIISampler(seed=seed)),
    "optuna-gp": lambda space, seed, _: Optuna(space, samplers.GPSampler(seed=seed)),
    "syne-moasha": Syne,
    "ax": lambda space, seed, _: Ax(space, seed),
}


def make_peer(name: str, space: Space, *, seed: int, epochs: int) -> Method:
    """Return the peer `name`, ready to search."""
    return Peer(PEERS[name](space, seed, epochs), seed)
