"""Attacks of other libraries, each called as its documentation says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor, nn

from adv.runtime.devices import device_of

Attack = Callable[[Tensor, Tensor], Tensor]

PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")
MODULES = {"adversarial-robustness-toolbox": "art"}  # where it is not the distribution's name


def import_peer(name: str) -> ModuleType:
    """Import a library that is run beside ours, by the name of its distribution.

    Raises:
      SystemExit: it is not installed.
    """
    module = MODULES.get(name, name)
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != module:
            raise
        raise SystemExit(f"{name} is not installed: see benchmarks/README.md") from None


def pgd_of_peers(
    net: nn.Module, eps: float, size: float, steps: int, names: Iterable[str]
) -> dict[str, Attack]:
    """Return Linf PGD with a random start by each of these libraries."""
    made: dict[str, Attack] = {}
    if "torchattacks" in names:
        torchattacks = import_peer("torchattacks")
        made["torchattacks"] = torchattacks.PGD(net, eps=eps, alpha=size, steps=steps)
    if "foolbox" in names:
        foolbox = import_peer("foolbox")
        fool = foolbox.PyTorchModel(net, bounds=(0, 1))
        attack = foolbox.attacks.LinfPGD(abs_stepsize=size, steps=steps)
        made["foolbox"] = lambda x, y: attack.run(fool, x, y, epsilon=eps)
    if "adversarial-robustness-toolbox" in names:
        made["adversarial-robustness-toolbox"] = _art(net, eps, size, steps)
    return made


def _art(net: nn.Module, eps: float, size: float, steps: int) -> Attack:
    import_peer("adversarial-robustness-toolbox")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    device = "gpu" if device_of(net).type == "cuda" else "cpu"
    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0, 1), device_type=device
    )

    def attack(x: Tensor, y: Tensor) -> Tensor:
        made = ProjectedGradientDescentPyTorch(
            classifier,
            eps=eps,
            eps_step=size,
            max_iter=steps,
            num_random_init=1,
            batch_size=len(x),
            verbose=False,
        ).generate(x.cpu().numpy(), y.cpu().numpy())
        return torch.from_numpy(made).to(x.device)

    return attack
