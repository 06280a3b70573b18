"""What the tests of evaluation share: a random conv net, images that it labels, a battery."""

from __future__ import annotations

import torch
from reproducibility import seeded_generator
from torch import nn

from adv import PGD, Battery, Linf, Split


def random_conv_net() -> nn.Module:
    """Return a random conv net with BatchNorm, five classes and larger weights than usual."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm = nn.BatchNorm2d(8)
        net = nn.Sequential(
            *(nn.Conv2d(3, 8, 3), norm, nn.GELU()),
            *(nn.Flatten(), nn.Linear(288, 5)),
        )
        assert norm.running_mean is not None
        norm.running_mean.uniform_(-0.1, 0.1)
        for weight in net.parameters():
            weight.data *= 2
    return net


def split_labelled_by(net: nn.Module, n: int = 60, wrong: int = 10) -> Split:
    """Return images labelled by the net's own predictions, the last `wrong` of them wrongly."""
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=seeded_generator(1), dtype=torch.uint8)
    modes = [module.training for module in net.modules()]
    with torch.no_grad():
        labels = net.eval()(images.float() / 255).argmax(1)
    for module, mode in zip(net.modules(), modes, strict=True):
        module.training = mode
    labels[n - wrong :] = (labels[n - wrong :] + 1) % 5
    return Split(images, labels)


def stand_by_hand(weak: torch.Tensor, strong: torch.Tensor) -> torch.Tensor:
    """Return which images stand if the strong attack begins in the largest ball withstood.

    Args:
      weak: [balls, n] booleans, which images stand under the weak attack alone, smaller balls
        first.
      strong: the same under the strong one.
    """
    balls, n = weak.shape
    found = torch.zeros(balls, n, dtype=torch.bool)
    for image in range(n):
        stands = next((k for k in range(balls) if not weak[k, image]), balls)
        while stands and not strong[stands - 1, image]:
            stands -= 1
        found[:stands, image] = True
    return found


def battery(*attacks, **settings) -> Battery:
    return Battery(tuple((f"a{i}", attack) for i, attack in enumerate(attacks)), **settings)


RADII = (0.005, 0.01, 0.02, 0.04)


RADII_BATTERY = battery(*(PGD(Linf(eps), steps=5) for eps in RADII))
