"""The moving average of a net's weights (Izmailov et al. 2018; Gowal et al. 2020, section 4.3)."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from adv.defences.input_noise import without_input_noise
from adv.runtime.random_streams import use_seed

WINDOW = 40
"""Batches at the end of an epoch from which an average takes its BatchNorm statistics."""


class Average:
    """A twin of a net that follows it, in evaluation mode.

    After the update counted t from 0, w_twin = d w_twin + (1 - d) w with d = min(tau, (1 + t) /
    (10 + t)): the untrained net is soon forgotten. Buffers are copied, but for the running
    statistics of BatchNorm. Those of the net belong to other weights, so the twin takes its own: it
    sees the last batches of each epoch as the net did, attacked images too, and averages over them.

    Args:
      net: on its device; left alone.
      tau: the decay, in (0, 1).
      seed: of what random layers draw while the twin looks at a batch.
    """

    def __init__(self, net: nn.Module, tau: float, seed: int) -> None:
        self.net = copy.deepcopy(net).eval()
        self.tau, self.seed = tau, seed
        self.updates = 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Follow `net` by one update."""
        decay = min(self.tau, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        mine: list[Tensor] = list(self.net.parameters())
        torch._foreach_lerp_(mine, list[Tensor](net.parameters()), 1 - decay)
        for buffer, other in zip(_copied(self.net), _copied(net), strict=True):
            buffer.copy_(other)

    @torch.no_grad()
    def look(self, at: Callable[[nn.Module], object], n: int) -> None:
        """Take the statistics of one more batch, the n-th from 0: `at` passes it through a net."""
        norms = _norms(self.net)
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train()
            norm.momentum = max(0.1, 1 / (n + 1))  # a plain mean holds on to old weights
        with (
            use_seed(self.net, self.seed + self.updates),
            without_input_noise(self.net, every=False),
        ):
            at(self.net)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval()
            norm.momentum = momentum

    def state(self) -> dict[str, Any]:
        """All that is needed to go on averaging; not a copy."""
        return {"net": self.net.state_dict(), "updates": self.updates}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from `state`, which is copied."""
        self.net.load_state_dict(state["net"])
        self.updates = state["updates"]


def _norms(net: nn.Module) -> list[_NormBase]:
    """The layers that keep running statistics."""
    layers = [module for module in net.modules() if isinstance(module, _NormBase)]
    return [layer for layer in layers if layer.running_mean is not None]


def _copied(net: nn.Module) -> list[Tensor]:
    own = {id(buffer) for norm in _norms(net) for buffer in norm.buffers()}
    return [buffer for buffer in net.buffers() if id(buffer) not in own]
