"""Discriminator driven latent sampling (Che et al. 2020, arXiv:2003.06060, algorithm 1).

A GAN with its discriminator is an energy-based model of z: E(z) = -log p0(z) - d(G(z, y)), where
d is the log-odds that an image is real. Langevin dynamics from the prior walk to its density.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.generative.calibration import Calibration

Energy = Callable[[Tensor], Tensor]
"""z [n, d] to energies [n], each of its own row alone."""


@dataclass(frozen=True)
class DDLS:
    """How long and how to walk.

    Args:
      steps: of each chain; its last place is the sample.
      step_size: epsilon of z <- z - epsilon / 2 grad E + sqrt(epsilon) n, n ~ N(0, 1).
      metropolis: accept or refuse each step (MALA, Roberts and Tweedie 1996), so that the density
        is exact whatever the step size; else all are taken (ULA), as published.

    Raises:
      ValueError: a setting outside its range.
    """

    steps: int = 100
    step_size: float = 0.1
    metropolis: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"a chain has 1 step or more, got {self.steps}")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"the size of a step is above 0, got {self.step_size}")


@dataclass(frozen=True)
class Trace:
    """How the chains went: mean energy [steps + 1] from the start on, share accepted [steps].

    Without Metropolis everything is accepted.
    """

    energy: tuple[float, ...]
    accepted: tuple[float, ...]

    @property
    def acceptance(self) -> float:
        """Over all steps."""
        return sum(self.accepted) / len(self.accepted)


def langevin(
    energy: Energy, z: Tensor, ddls: DDLS, generator: torch.Generator
) -> tuple[Tensor, Trace]:
    """Walk all chains at once; no graph outlives its step.

    Args:
      energy: of z; autograd gives its slope.
      z: [n, d], where the chains start.
      ddls: how.
      generator: on the CPU.

    Returns:
      z [n, d] after the last step, and the trace.

    Raises:
      ValueError: a chain without Metropolis ran away: the step size is too large.
    """
    here, slope = _value_and_grad(energy, z)
    energies, accepted = [float(here.mean())], []
    for _ in range(ddls.steps):
        noise = torch.randn(z.shape, generator=generator).to(z)
        ahead = z - ddls.step_size / 2 * slope + math.sqrt(ddls.step_size) * noise
        there, back = _value_and_grad(energy, ahead)
        take = torch.ones(len(z), dtype=torch.bool, device=z.device)
        if ddls.metropolis:
            odds = here - there + _log_proposal_ratio(z, ahead, slope, back, ddls.step_size)
            chance = torch.rand(len(z), generator=generator).to(z)
            take = chance.log() < odds  # false for NaN: a step into nowhere is refused
        z = torch.where(take[:, None], ahead, z)
        slope = torch.where(take[:, None], back, slope)
        here = torch.where(take, there, here)
        energies.append(float(here.mean()))
        accepted.append(float(take.float().mean()))
    if not torch.isfinite(z).all():
        raise ValueError(f"a chain ran away: take steps smaller than {ddls.step_size}")
    return z, Trace(tuple(energies), tuple(accepted))


def latent_energy(
    generator: nn.Module, discriminator: nn.Module, y: Tensor, odds: Calibration
) -> Energy:
    """E(z) for labels [n], the prior N(0, 1), both nets in evaluation mode, up to a constant."""

    def energy(z: Tensor) -> Tensor:
        return z.square().sum(1) / 2 - odds(discriminator(generator(z, y), y))

    return energy


def _value_and_grad(energy: Energy, z: Tensor) -> tuple[Tensor, Tensor]:
    """The energy [n] and its gradient [n, d]."""
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        value = energy(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def _log_proposal_ratio(
    z: Tensor, ahead: Tensor, slope: Tensor, back: Tensor, size: float
) -> Tensor:
    """How much likelier the way back is: log q(z | ahead) - log q(ahead | z)."""
    forth = (ahead - z + size / 2 * slope).square().sum(1)
    return (forth - (z - ahead + size / 2 * back).square().sum(1)) / (2 * size)
