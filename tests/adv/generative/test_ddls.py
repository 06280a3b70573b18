"""DDLS on a known density, and the calibration that it needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import DDLS
from adv.generative.calibration import Calibration, fit_calibration
from adv.generative.ddls import Energy, langevin, latent_energy

# The generator is the identity, so generated points are N(0, 1). The real ones are a mixture of
# two Gaussians in the plane, of weights 0.7 and 0.3.
CENTRES = torch.tensor([[1.2, 0.0], [-1.0, 0.5]])
WEIGHTS, DEVIATION = torch.tensor([0.7, 0.3]), 0.5


class Identity(nn.Module):
    def forward(self, z, y):
        return z


def build_energy(judge: Callable[[torch.Tensor, None], torch.Tensor]) -> Energy:
    """Return the energy of a function instead of a discriminator; labels do not matter."""
    discriminator: Any = judge
    labels: Any = None
    return latent_energy(Identity(), discriminator, labels, Calibration())


def log_real(x):
    squares = (x[:, None] - CENTRES).square().sum(2) / (2 * DEVIATION**2)
    return (WEIGHTS.log() - squares - math.log(2 * math.pi * DEVIATION**2)).logsumexp(1)


def log_made(x):
    return -x.square().sum(1) / 2 - math.log(2 * math.pi)


class Squeezed(nn.Module):
    """The best case of a hinge discriminator: the right order, on another scale."""

    slope, shift = 0.35, 0.8

    def forward(self, x, y):
        return self.slope * (log_real(x) - log_made(x)) + self.shift


def real_points(n, seed):
    draws = seeded_generator(seed)
    which = torch.multinomial(WEIGHTS, n, replacement=True, generator=draws)
    return CENTRES[which] + DEVIATION * torch.randn(n, 2, generator=draws)


def odds(n=4000):
    judge, z = Squeezed(), torch.randn(n, 2, generator=seeded_generator(2))
    return fit_calibration(judge(real_points(n, 1), None), judge(z, None))


MEAN = WEIGHTS @ CENTRES
COVARIANCE = DEVIATION**2 * torch.eye(2) + torch.einsum(
    "k,ki,kj->ij", WEIGHTS, CENTRES - MEAN, CENTRES - MEAN
)


def errors(calibration, ddls, n=4000):
    """Return the errors of mean, covariance and the weight of the first mode; and the trace."""
    y = torch.zeros(n, dtype=torch.int64)
    energy = latent_energy(Identity(), Squeezed(), y, calibration)
    z, trace = langevin(
        energy, torch.randn(n, 2, generator=seeded_generator(3)), ddls, seeded_generator(4)
    )
    at_first = (torch.cdist(z, CENTRES).argmin(1) == 0).float().mean()
    reference = real_points(200_000, 5)
    wanted = (torch.cdist(reference, CENTRES).argmin(1) == 0).float().mean()
    moments = float((z.mean(0) - MEAN).norm()), float((torch.cov(z.T) - COVARIANCE).norm())
    return *moments, abs(float(at_first - wanted)), trace


@pytest.mark.parametrize(
    "ddls", [DDLS(200, 0.2, metropolis=True), DDLS(400, 0.06, metropolis=False)], ids=repr
)
def test_calibrated_chains_have_the_real_density(ddls):
    mean, covariance, weight, trace = errors(odds(), ddls)
    assert mean < 0.08 and covariance < 0.1 and weight < 0.03
    assert len(trace.energy) == ddls.steps + 1 and len(trace.accepted) == ddls.steps
    assert 0.7 < trace.acceptance < 1 if ddls.metropolis else trace.acceptance == 1
    assert trace.energy[-1] < trace.energy[0]


def test_uncalibrated_chains_have_another_density():
    mean, covariance, weight, _ = errors(Calibration(), DDLS(200, 0.2))
    assert mean > 0.2 and covariance > 0.2 and weight > 0.05


def test_no_step_size_is_too_large_for_metropolis():
    """Step sizes for which ULA's stationary variance is far off (1 / (1 - eps / 4) of a normal)."""
    n = 20_000
    flat = build_energy(lambda x, y: 0 * x[:, 0])
    start = torch.randn(n, 1, generator=seeded_generator(0))
    for metropolis, variance in ((True, 1.0), (False, 1 / (1 - 1.0 / 4))):
        z, trace = langevin(flat, start, DDLS(60, 1.0, metropolis), seeded_generator(1))
        assert float(z.var()) == pytest.approx(variance, rel=0.04)
    assert trace.energy[0] == pytest.approx(0.5, rel=0.05)


def test_the_acceptance_is_that_of_the_formula():
    """One step from 0 of a normal: log alpha = -z^2 / 2 + (z^2 - (z eps / 2 - z)^2) / 2 eps."""
    size, n = 1.5, 50_000
    energy = build_energy(lambda x, y: 0 * x[:, 0])
    z, trace = langevin(energy, torch.zeros(n, 1), DDLS(1, size), seeded_generator(1))
    ahead = math.sqrt(size) * torch.randn(n, 1, generator=seeded_generator(7)).squeeze(1)
    back = (0 - ahead + size / 2 * ahead) ** 2
    odds = -(ahead**2) / 2 + (ahead**2 - back) / (2 * size)
    assert trace.acceptance == pytest.approx(float(odds.exp().clamp(max=1).mean()), abs=0.01)
    assert float((z == 0).float().mean()) == pytest.approx(1 - trace.acceptance, abs=1e-6)


def test_no_graph_is_kept_and_the_generator_alone_decides():
    judge = Squeezed()
    scale = nn.Parameter(torch.ones(1))
    energy = build_energy(lambda x, y: scale * judge(x, y))
    before = torch.get_rng_state()
    runs = [langevin(energy, torch.zeros(9, 2), DDLS(5), seeded_generator(s))[0] for s in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])
    assert not runs[0].requires_grad and scale.grad is None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_chain_that_diverges():
    def steep(z):
        return z.square().square().sum(1)

    with pytest.raises(ValueError, match=r"a chain diverged: use a step size below 1\.0"):
        langevin(
            steep, torch.full((4, 1), 3.0), DDLS(50, 1.0, metropolis=False), seeded_generator(0)
        )
    z, trace = langevin(steep, torch.full((4, 1), 3.0), DDLS(50, 1.0), seeded_generator(0))
    assert torch.isfinite(z).all() and trace.acceptance < 0.5


# --- calibration ---


def test_the_calibration_undoes_what_the_discriminator_did():
    found = odds(20_000)
    assert found.slope == pytest.approx(1 / Squeezed.slope, rel=0.05)
    assert found.shift == pytest.approx(-Squeezed.shift / Squeezed.slope, abs=0.15)


def test_the_calibration_is_a_logistic_regression():
    """Against scikit-learn's without a penalty, on as many of each kind."""
    from sklearn.linear_model import LogisticRegression

    draws = seeded_generator(0)
    real = 1 + torch.randn(3000, generator=draws)
    made = 2 * torch.randn(3000, generator=draws)
    peer = LogisticRegression(C=1e9).fit(
        torch.cat([real, made])[:, None].numpy(), [1] * 3000 + [0] * 3000
    )
    found = fit_calibration(real, made)
    assert found.slope == pytest.approx(float(peer.coef_[0, 0]), rel=5e-3)
    assert found.shift == pytest.approx(float(peer.intercept_[0]), rel=5e-3, abs=5e-3)
    assert found.cross_entropy(real, made) < Calibration().cross_entropy(real, made)
    # How many there are of each is not evidence: odds are those of densities.
    few = fit_calibration(real, made[:300])
    assert few.shift == pytest.approx(found.shift, abs=0.3)


def test_an_uninformative_discriminator_is_ignored():
    draws = seeded_generator(0)
    assert fit_calibration(
        torch.randn(50, generator=draws) - 1, torch.randn(50, generator=draws)
    ) == Calibration(0, 0)
    perfect = fit_calibration(torch.linspace(1, 2, 20), -torch.ones(20))
    assert 0 < perfect.slope < 100 and math.isfinite(perfect.shift)
    assert fit_calibration(torch.ones(5), torch.ones(5)).slope == 0
    with pytest.raises(ValueError, match="needs real and generated"):
        fit_calibration(torch.ones(0), torch.ones(3))
    with pytest.raises(ValueError, match="its training has diverged"):
        fit_calibration(torch.tensor([math.nan]), torch.ones(3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "a chain must have 1 step or more, got 0"),
        ({"step_size": 0.0}, "the step size must be above 0"),
        ({"step_size": math.inf}, "the step size must be above 0"),
    ],
)
def test_invalid_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        replace(DDLS(), **settings)
