"""Train several BigNets with RSE at once: stacked weights, vmapped passes, own settings for each.

Used by `trials_per_hour.py`. Training is that of `adv.train` with the report's curriculum (PGD on
half of each batch, AdamW), except for what stacked nets cannot do: all of them see the same
batches, and noise comes from torch's global generator, with a different draw for each net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from adv import BigNet


@dataclass(frozen=True)
class Replica:
    """The settings of one net: noise, learning rate and attack radius."""

    sigma_init: float = 0.2
    sigma_inner: float = 0.1
    lr: float = 1e-3
    eps: float = 0.055


class NoisyBigNet(nn.Module):
    """BigNet with RSE whose two standard deviations are arguments of the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = BigNet()(10)
        self.inner = max(i for i, m in enumerate(self.net) if isinstance(m, nn.Conv2d))

    def forward(self, x: Tensor, sigma_init: Tensor, sigma_inner: Tensor) -> Tensor:
        x = x + sigma_init * torch.randn_like(x)
        for i, layer in enumerate(self.net):
            if i == self.inner:
                x = x + sigma_inner * torch.randn_like(x)
            x = layer(x)
        return x


class StackedTraining:
    """Train all `replicas` at once.

    Args:
      replicas: their settings.
      steps: of PGD, each a quarter of eps long.
      device: where.
      weight_decay: of AdamW.
    """

    def __init__(
        self, replicas: Sequence[Replica], steps: int, device: str, weight_decay: float = 0.01
    ) -> None:
        nets = []
        for seed in range(len(replicas)):
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(seed)
                nets.append(NoisyBigNet().to(device))
        self.base, self.steps, self.decay = nets[0], steps, weight_decay
        self.weights, self.buffers = stack_module_state(nets)
        self.weights = {name: w.detach() for name, w in self.weights.items()}
        columns = zip(*((r.sigma_init, r.sigma_inner, r.lr, r.eps) for r in replicas), strict=True)
        *self.sigmas, self.lr, self.eps = (torch.tensor(c, device=device) for c in columns)
        self.means = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.squares = {name: torch.zeros_like(w) for name, w in self.weights.items()}
        self.updates = 0
        in_dims = (0, 0, 0, None, 0, 0)
        self._images = vmap(grad(self._loss, argnums=2), in_dims, randomness="different")
        self._weights = vmap(grad(self._mean), in_dims, randomness="different")

    def step(self, x: Tensor, y: Tensor, starts: Tensor) -> None:
        """Update on images [n, 3, h, w]; attack the first half from `starts` [r, n/2, ...].

        The starts lie in [-1, 1], in units of eps.
        """
        half = starts.shape[1]
        eps = self.eps.view(-1, 1, 1, 1, 1)
        clean, labels = x[:half], y[:half]
        adv = (clean + eps * starts).clamp(0, 1)
        for _ in range(self.steps):
            slope = self._images(self.weights, self.buffers, adv, labels, *self.sigmas)
            adv = adv + eps / 4 * slope.sign()
            adv = (clean + (adv - clean).clamp(-eps, eps)).clamp(0, 1)
        batch = torch.cat([adv, x[half:].expand(len(adv), *x[half:].shape)], 1)
        self._update(self._weights(self.weights, self.buffers, batch, y, *self.sigmas))

    def _loss(
        self,
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        first: Tensor,
        inner: Tensor,
    ) -> Tensor:
        logits = functional_call(self.base, (weights, buffers), (x, first, inner))
        return F.cross_entropy(logits, y, reduction="sum")

    def _mean(
        self,
        weights: dict[str, Tensor],
        buffers: dict[str, Tensor],
        x: Tensor,
        y: Tensor,
        first: Tensor,
        inner: Tensor,
    ) -> Tensor:
        return self._loss(weights, buffers, x, y, first, inner) / len(y)

    def _update(self, gradients: dict[str, Tensor]) -> None:
        """Apply AdamW (Loshchilov and Hutter 2019), with a learning rate for each replica."""
        self.updates += 1
        for name, slope in gradients.items():
            weight, mean, square = self.weights[name], self.means[name], self.squares[name]
            lr = self.lr.view(-1, *[1] * (weight.dim() - 1))
            mean.lerp_(slope, 0.1)
            square.mul_(0.999).addcmul_(slope, slope, value=0.001)
            spread = (square / (1 - 0.999**self.updates)).sqrt_().add_(1e-8)
            weight.mul_(1 - lr * self.decay)
            weight.sub_(lr * (mean / (1 - 0.9**self.updates)) / spread)
