"""Discriminator-driven latent sampling (Che et al. 2020, arXiv:2003.06060, algorithm 1).

A GAN and its discriminator define an energy-based model of z, E(z) = -log p0(z) - d(G(z, y)), where
d is the log-odds that an image is real. Langevin dynamics, started from the prior, sample from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.generative.calibration import Calibration

Energy = Callable[[Tensor], Tensor]
"""Maps z [n, d] to energies [n], each of which depends on its own row only."""


@dataclass(frozen=True)
class DDLS:
    """Settings of the Langevin chains.

    Args:
      steps: length of each chain; its last state is the sample.
      step_size: epsilon in z <- z - epsilon / 2 grad E + sqrt(epsilon) n, n ~ N(0, 1).
      metropolis: accept or reject each step (MALA, Roberts and Tweedie 1996), so that the density
        is exact for any step size; if False, accept every step (ULA), as published.

    Raises:
      ValueError: a setting outside its range.
    """

    steps: int = 100
    step_size: float = 0.1
    metropolis: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise ValueError(f"a chain must have 1 step or more, got {self.steps}")
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"the step size must be above 0, got {self.step_size}")


@dataclass(frozen=True)
class Trace:
    """The chains' mean energy [steps + 1], from the start on, and acceptance rate [steps].

    Without Metropolis the acceptance rate is 1.
    """

    energy: tuple[float, ...]
    accepted: tuple[float, ...]

    @property
    def acceptance(self) -> float:
        """The mean acceptance rate over all steps."""
        return sum(self.accepted) / len(self.accepted)


def langevin(
    energy: Energy, z: Tensor, ddls: DDLS, generator: torch.Generator
) -> tuple[Tensor, Trace]:
    """Run all chains in parallel; no autograd graph outlives its step.

    Args:
      energy: the energy as a function of z, differentiated by autograd.
      z: the starting points [n, d].
      ddls: the settings.
      generator: on the CPU.

    Returns:
      z [n, d] after the last step, and the trace.

    Raises:
      ValueError: a chain without Metropolis diverged: the step size is too large.
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
            take = chance.log() < odds  # false for NaN: a step out of range is rejected
        z = torch.where(take[:, None], ahead, z)
        slope = torch.where(take[:, None], back, slope)
        here = torch.where(take, there, here)
        energies.append(float(here.mean()))
        accepted.append(float(take.float().mean()))
    if not torch.isfinite(z).all():
        raise ValueError(f"a chain diverged: use a step size below {ddls.step_size}")
    return z, Trace(tuple(energies), tuple(accepted))


def latent_energy(
    generator: nn.Module, discriminator: nn.Module, y: Tensor, odds: Calibration
) -> Energy:
    """Return E(z), up to a constant, for labels [n] and the prior N(0, 1).

    Both nets are expected in evaluation mode.
    """

    def energy(z: Tensor) -> Tensor:
        return z.square().sum(1) / 2 - odds(discriminator(generator(z, y), y))

    return energy


def _value_and_grad(energy: Energy, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return the energy [n] and its gradient [n, d]."""
    with torch.enable_grad():
        z = z.detach().requires_grad_(True)
        value = energy(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), slope


def _log_proposal_ratio(
    z: Tensor, ahead: Tensor, slope: Tensor, back: Tensor, size: float
) -> Tensor:
    """Return log q(z | ahead) - log q(ahead | z) [n], the asymmetry of the proposals."""
    forth = (ahead - z + size / 2 * slope).square().sum(1)
    return (forth - (z - ahead + size / 2 * back).square().sum(1)) / (2 * size)
