"""Randomized smoothing against the closed form of a linear net, and against Cohen's arithmetic."""

from __future__ import annotations

import math
import sys
from statistics import NormalDist

import pytest
import torch
from scipy.stats import binom
from torch import nn

from adv import (
    PNI,
    RSE,
    BaseNet,
    Defence,
    MCDropout,
    Recipe,
    Split,
    TestNoise,
    build,
    certify,
    save,
)
from adv.__main__ import run
from adv.evaluation.randomized_smoothing import _lower_bound

NORMAL = NormalDist()


class Halves(nn.Module):
    """Two classes, split by a plane through the mean of all pixels at 1/2.

    A point at distance d of the plane is right in noise with probability Phi(d / sigma): its true
    radius is d, the largest that any certificate can give.
    """

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor(bias))

    def forward(self, x):
        far = (x.flatten(1) - 0.5).sum(1) / math.sqrt(x[0].numel()) + self.bias
        return torch.stack([-far, far], 1)


def grey(*levels: int, side: int = 4) -> Split:
    images = torch.tensor(levels, dtype=torch.uint8)[:, None, None, None]
    images = images.expand(-1, 3, side, side).contiguous()
    return Split(images, torch.ones(len(levels), dtype=torch.long))


def distance(level: int, side: int = 4) -> float:
    return (level / 255 - 0.5) * math.sqrt(3 * side * side)


def test_the_radius_of_a_linear_net_is_nearly_its_distance():
    levels = [110, 130, 140, 160, 200, 255]
    found = certify(Halves(), grey(*levels), 1.0, n=2000, batch=700, seed=3)
    far = torch.tensor([distance(level) for level in levels]).double()
    assert found.classes[0] == 0 and (found.classes[2:] == 1).all()
    assert (found.radii <= far.abs()).all()
    assert (found.radii[3:] > 0.8 * far[3:].clamp(max=found.largest)).all()
    assert found.radii.max() <= found.largest
    sure = certify(Halves(), grey(255), 0.5, n=200)  # seven sigmas away
    assert sure.radii.item() == sure.largest == 0.5 * NORMAL.inv_cdf(_lower_bound(200, 200, 0.001))
    assert _lower_bound(200, 200, 0.001) == pytest.approx(0.001 ** (1 / 200))


def test_a_radius_is_too_large_as_rarely_as_alpha_says():
    """For 400 images at one distance the error rate is known exactly; it is at most alpha."""
    found = certify(Halves(), grey(*[170] * 400), 1.0, n0=20, n=300, alpha=0.2, batch=300)
    right = found.classes == 1
    assert right.float().mean() > 0.95
    true = NORMAL.cdf(distance(170))
    hits = next(k for k in range(301) if _lower_bound(k, 300, 0.2) > true)
    often = float(binom.sf(hits - 1, 300, true))
    assert 0.15 < often <= 0.2
    wrong = (found.radii[right] > distance(170)).double().mean().item()
    assert wrong == pytest.approx(often, abs=4 * math.sqrt(often * (1 - often) / 400))


def test_uncertain_images_are_not_certified():
    """On the plane itself no class has more than half of the noise."""
    found = certify(Halves(-distance(128)), grey(*[128] * 50), 0.5, n=500)
    assert found.abstained >= 0.96 and found.accuracy <= 0.04
    assert (found.radii[found.classes < 0] == 0).all()


def test_the_lower_end_is_clopper_and_pearsons():
    for hits, draws in ((1, 10), (507, 1000), (999, 1000), (1000, 1000)):
        low = _lower_bound(hits, draws, 0.001)
        assert binom.sf(hits - 1, draws, low) == pytest.approx(0.001, rel=1e-6)
    assert _lower_bound(0, 10, 0.001) == 0
    # Cohen et al.: n = 100,000 and alpha = 0.001 certify at most 3.8 sigma.
    assert NORMAL.inv_cdf(_lower_bound(100_000, 100_000, 0.001)) == pytest.approx(3.81, abs=0.01)


def test_the_curve_counts_right_images_by_radius():
    found = certify(Halves(), grey(140, 160, 255, 20), 0.5, n=1000)
    shares = [share for _, share, _, _ in found.curve([0, 0.5, 1.2, 9])]
    assert shares == [0.75, 0.5, 0.25, 0] and found.accuracy == 0.75
    for radius, share, low, high in found.curve([0.3]):
        assert radius == 0.3 and low < share < high


def test_the_radii_of_wrong_answers_do_not_count():
    split = grey(20, 255, 128)
    found = certify(Halves(-distance(128)), split, 0.5, n=500)
    swapped = certify(Halves(-distance(128)), Split(split.images, 1 - split.labels), 0.5, n=500)
    assert found.classes[:2].tolist() == swapped.classes[:2].tolist() == [0, 1]
    assert found.radii[0] == 0 < found.radii[1] and swapped.radii[1] == 0 < swapped.radii[0]
    assert found.wrong == swapped.wrong == pytest.approx(1 / 3)
    assert found.certified(0.1) == pytest.approx(1 / 3)


def test_noise_depends_only_on_the_image_and_the_seed():
    split = grey(160, 170, 180)
    whole, head = (certify(Halves(), s, 1.0, n=300, seed=1) for s in (split, split.head(2)))
    assert torch.equal(whole.radii[:2], head.radii)
    again, other = (certify(Halves(), split, 1.0, n=300, seed=seed) for seed in (1, 2))
    assert torch.equal(whole.radii, again.radii) and not torch.equal(whole.radii, other.radii)


def test_the_nets_own_test_noise_is_off_meanwhile_and_nothing_else_changes():
    plain, noisy = (
        build(Recipe(net=BaseNet(), defences=defences), 10, 0).train()
        for defences in ((), (TestNoise(0.9, training=True),))
    )
    split = grey(30, 130, 230, side=32)
    before = torch.get_rng_state()
    a, b = (certify(net, split, 0.1, n=50) for net in (plain, noisy))
    assert torch.equal(a.radii, b.radii) and torch.equal(a.classes, b.classes)
    assert plain.training and torch.equal(before, torch.get_rng_state())
    x = torch.rand(1, 3, 32, 32)
    assert not torch.equal(noisy(x), noisy(x))


@pytest.mark.parametrize("defence", [PNI(), RSE(), MCDropout(0.1)], ids=repr)
def test_other_noise_is_rejected(defence):
    net = build(Recipe(net=BaseNet(), defences=(defence, TestNoise(0.1))), 10, 0)
    with pytest.raises(ValueError, match=r"adds the noise itself: (Weight|Noise|Drop)"):
        certify(net, grey(3), 0.1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sigma": 0.0}, "above 0, got 0"),
        ({"sigma": math.nan}, "above 0"),
        ({"sigma": 1.0, "n": 0}, "need draws"),
        ({"sigma": 1.0, "alpha": 1.0}, r"alpha in \(0, 1\)"),
    ],
)
def test_invalid_certify_settings_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        certify(Halves(), grey(3), **settings)
    with pytest.raises(ValueError, match="no image to certify"):
        certify(Halves(), grey(3).head(0), 1.0)


def test_the_command_prints_the_table_and_warns_of_unseen_noise(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.safetensors"

    def said(*defences: Defence) -> str:
        recipe = Recipe(net=BaseNet(), defences=defences)
        names = tuple(str(label) for label in range(10))
        save(path, build(recipe, 10, 0), recipe, classes=names, data="digits")
        argv = ["adv", "certify", str(path), "--images", "3", "--draws", "100"]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit):
            run()
        return "".join(capsys.readouterr())

    untrained = said(TestNoise(0.25))
    assert "3 validation images" in untrained
    assert "sigma 0.25, 100 draws, alpha 0.001" in untrained
    assert "right and certified" in untrained and "counts right classes only" in untrained
    assert "trained without noise" in untrained
    assert "the net was trained" not in said(TestNoise(0.25, training=True))
    assert said() == "adv: --sigma is missing: the net has no TestNoise of its own\n"
