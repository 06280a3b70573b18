"""Random nets with their noise held fixed: a linear one that breaks, and a masked one."""

from __future__ import annotations

import pytest
import torch
from broken_nets import with_gradient
from reproducibility import seeded_generator
from torch import Tensor, nn

from adv import PGD, RSE, Battery, Linf, Split, TestNoise
from adv.auditing.context import AuditContext, audit_context
from adv.auditing.fixed_noise_checks import FixedNoise, check_fixed_noise
from adv.runtime.random_layers import Noise

EPS = 0.05
BATTERY = Battery((("pgd", PGD(Linf(EPS), 10)),))


class Plane(nn.Module):
    """Two classes on both sides of a plane, far enough apart to withstand EPS in part."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(192, generator=seeded_generator(0)))

    def forward(self, x: Tensor) -> Tensor:
        far = (x - 0.5).flatten(1) @ self.weight
        return torch.stack([-far, far], 1)


def noisy_plane(sigma: float, wrap=None) -> nn.Module:
    plane = Plane()
    return nn.Sequential(Noise(sigma), plane if wrap is None else wrap(plane))


def context_of(net: nn.Module, n: int = 60) -> AuditContext:
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=seeded_generator(1), dtype=torch.uint8)
    labels = Plane()(images.float() / 255).argmax(1)
    return audit_context(net, Split(images, labels), BATTERY, EPS)


def test_one_draw_of_a_linear_net_breaks():
    context = context_of(noisy_plane(0.02))
    known, broken = check_fixed_noise(context)
    assert known.passed and broken.passed and broken.figure == 0
    assert "rest on not knowing the draw" in known.observation


def test_a_draw_that_hides_its_gradient_fails():
    wrap = with_gradient(torch.zeros_like)
    _, broken = check_fixed_noise(context_of(noisy_plane(0.02, wrap), 200))
    assert not broken.passed


@pytest.mark.parametrize("defence", [RSE(), TestNoise(0.1)], ids=repr)
def test_fixed_noise_repeats_for_a_batch_and_leaves_the_stream(defence):
    net = defence(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))).eval()
    x = torch.rand(4, 3, 8, 8, generator=seeded_generator(2))
    fixed = FixedNoise(net, 3)
    assert torch.equal(fixed(x), fixed(x)) and not torch.equal(net(x), net(x))
    assert not torch.equal(fixed(x), FixedNoise(net, 4)(x))


def test_other_nets_have_no_such_findings():
    assert list(check_fixed_noise(context_of(Plane()))) == []
