"""Stand-ins for the libraries that benchmarks run beside ours, with the calls that we make of them.

A test takes the fixture `torchattacks` and runs twice: with the stand-in, always, and with the
library where it is installed.
"""

from __future__ import annotations

import importlib.metadata
from types import ModuleType, SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PGD:
    """Projected gradient descent in Linf from the image itself."""

    def __init__(self, model: nn.Module, eps=8 / 255, alpha=2 / 255, steps=10, random_start=True):
        self.model, self.eps, self.alpha, self.steps = model, eps, alpha, steps

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        adv = images.clone()
        for _ in range(self.steps):
            leaf = adv.detach().requires_grad_()
            (slope,) = torch.autograd.grad(F.cross_entropy(self.model(leaf), labels), leaf)
            adv = (adv + self.alpha * slope.sign()).clamp(images - self.eps, images + self.eps)
            adv = adv.clamp(0, 1).detach()
        return adv


class APGD(PGD):
    def __init__(self, model, norm="Linf", eps=8 / 255, steps=10, seed=0, loss="ce"):
        super().__init__(model, eps, eps / 2, steps)


class APGDT(PGD):
    def __init__(self, model, norm="Linf", eps=8 / 255, steps=10, seed=0, n_classes=10):
        super().__init__(model, eps, eps / 2, steps)


class FAB(PGD):
    def __init__(
        self, model, norm="Linf", eps=8 / 255, steps=10, seed=0, multi_targeted=False, n_classes=10
    ):
        super().__init__(model, eps, eps / 2, steps)


class Square(PGD):
    def __init__(self, model, norm="Linf", eps=8 / 255, n_queries=5000, seed=0):
        super().__init__(model, eps, eps / 2, 1)
        self.n_queries = n_queries


class MultiAttack:
    def __init__(self, attacks):
        self.attacks = attacks

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        for attack in self.attacks:
            images = attack(images, labels)
        return images


class AutoAttack(PGD):
    def __init__(self, model, norm="Linf", eps=8 / 255, seed=None, n_classes=10):
        super().__init__(model, eps, eps / 2, 2)


ATTACKS = (PGD, APGD, APGDT, FAB, Square, MultiAttack, AutoAttack)


def make_torchattacks() -> ModuleType:
    """A module with the classes of torchattacks that benchmarks call."""
    module = ModuleType("torchattacks")
    vars(module).update({attack.__name__: attack for attack in ATTACKS})
    return module


def find_version(name: str) -> str:
    """A distribution's version, and 3.5.1 for the torchattacks that is not installed."""
    return "3.5.1" if name == "torchattacks" else importlib.metadata.version(name)


class MOASHA:
    """Syne Tune's scheduler: a trial goes on at a rung if no other there is better in both."""

    def __init__(
        self,
        config_space,
        *,
        metrics,
        do_minimize,
        time_attr,
        max_t,
        grace_period,
        reduction_factor,
        random_seed,
    ):
        assert config_space == {} and not do_minimize and time_attr == "epoch"
        self.metrics, self.max_t, self.rung = metrics, max_t, grace_period
        self.trials, self.met = [], []

    def on_trial_add(self, trial: SimpleNamespace) -> None:
        self.trials.append(trial.trial_id)

    def on_trial_result(self, trial: SimpleNamespace, result: dict) -> str:
        assert trial.trial_id in self.trials
        if result["epoch"] >= self.max_t:
            return "STOP"
        point = [result[metric] for metric in self.metrics]
        beaten = any(all(a > b for a, b in zip(other, point, strict=True)) for other in self.met)
        if result["epoch"] == self.rung:
            self.met.append(point)
        return "STOP" if beaten else "CONTINUE"

    def on_trial_complete(self, trial: SimpleNamespace, result: dict) -> None:
        assert set(result) == {*self.metrics, "epoch"}
        self.trials.remove(trial.trial_id)


def make_syne_tune() -> dict[str, ModuleType]:
    """The modules on the way to Syne Tune's MOASHA, by name."""
    path = ["syne_tune", "optimizer", "schedulers", "multiobjective", "moasha"]
    modules = {name: ModuleType(name) for name in map(".".join, (path[: i + 1] for i in range(5)))}
    vars(modules[".".join(path)])["MOASHA"] = MOASHA
    return modules
