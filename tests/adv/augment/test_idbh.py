"""IDBH: its parts, beside torchvision's."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from reproducibility import seeded_generator
from scipy import stats
from torchvision.transforms.v2 import functional as tv

from adv.augment import Augment, augment_images, colour, flip_crop, idbh


def test_cropshift_loses_a_border_and_puts_the_rest_down_anywhere():
    """Pixels that say where they come from; 0 to 10 rows and columns lost, each sum as likely."""
    place = (torch.arange(1024).reshape(32, 32) + 1) / 2048
    images = place.expand(3300, 3, 32, 32)
    out = idbh._crop_shift(images, seeded_generator())
    lost: Counter[int] = Counter()
    shifts = set()
    for image in out:
        seen = image[0].nonzero()
        (top, left), (bottom, right) = seen[0].tolist(), (seen[-1] + 1).tolist()
        rest = image[:, top:bottom, left:right]
        assert (rest > 0).all() and image.count_nonzero() == rest.numel()
        row, column = divmod(round(float(rest[0, 0, 0]) * 2048) - 1, 32)
        assert torch.equal(
            rest, images[0, :, row : row + bottom - top, column : column + right - left]
        )
        lost[64 - (bottom - top) - (right - left)] += 1
        shifts.add((top - row, left - column))
    assert stats.chisquare([lost[k] for k in range(11)]).pvalue > 1e-3
    assert len(shifts) > 60 and all(abs(y) + abs(x) <= 10 for y, x in shifts)


def test_one_of_eight_changes_each_as_likely_and_put_back_in_its_place(monkeypatch, images):
    changes = [lambda x, strength, side, k=k: x + k for k in range(8)]
    monkeypatch.setattr(idbh, "_CHANGES", changes)
    many = images[:1, :, :1, :1] + torch.arange(8000)[:, None, None, None] * 16.0
    added = (idbh._colour_shape(many, seeded_generator()) - many)[:, 0, 0, 0].round()
    assert stats.chisquare([int((added == k).sum()) for k in range(8)]).pvalue > 1e-3


BLENDS = [
    (tv.adjust_saturation, colour.grey, 0.1),
    (tv.adjust_brightness, colour.black, 0.5),
    (tv.adjust_contrast, colour.flat_grey, 0.5),
    (tv.adjust_sharpness, lambda images: tv.adjust_sharpness(images, 0.0), 0.1),
]


@pytest.mark.parametrize(("adjust", "plain", "low"), BLENDS)
def test_blends_are_torchvisions_with_a_factor_for_each_image(adjust, plain, low, images):
    factor = torch.linspace(low, 1.9, len(images))
    theirs = torch.stack([adjust(x, float(f)) for x, f in zip(images, factor, strict=True)])
    assert torch.allclose(colour.blend(images, plain, factor), theirs, atol=1e-5)
    change = idbh._CHANGES[BLENDS.index((adjust, plain, low))]
    ends = [change(images, torch.full((64,), end), torch.zeros(64)) for end in (0.0, 1.0)]
    for end, at in zip(ends, (low, 1.9), strict=True):
        theirs = torch.stack([adjust(x, at) for x in images])
        assert torch.allclose(end, theirs, atol=1e-5)


@pytest.mark.parametrize(("number", "alone"), [(4, tv.autocontrast), (5, tv.equalize)])
def test_contrast_is_spread_within_each_image(number, alone, images):
    pale = 0.3 + images * torch.linspace(0.05, 0.6, 64)[:, None, None, None]
    out = idbh._CHANGES[number](pale, torch.zeros(64), torch.zeros(64))
    assert torch.equal(out, torch.stack([alone(x) for x in pale]))
    low, high = out.flatten(1).aminmax(dim=1)
    assert (high - low > 0.99).all()


def agreement(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Share of the pixels that agree: at ties, "nearest" may be either neighbour."""
    return float((ours == theirs).float().mean())


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_turns_are_torchvisions(shape):
    images = torch.rand(20, 3, *shape, generator=seeded_generator())
    strength = (torch.arange(20) % 10 + 0.5) / 10  # the middles of its ten whole degrees
    side = (torch.arange(20) >= 10).float()
    ours = idbh._rotate(images, strength, side)
    degrees = [sign * d for sign in (1, -1) for d in range(1, 11)]
    theirs = torch.stack([tv.rotate(x, d) for x, d in zip(images, degrees, strict=True)])
    assert agreement(ours, theirs) > 0.995


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_shears_are_torchvisions(shape):
    """All four of its directions, each by ten strengths."""
    images = torch.rand(40, 3, *shape, generator=seeded_generator())
    strength = (torch.arange(40) % 10) / 9
    side = (torch.arange(40) // 10) / 4 + 0.1
    ours = idbh._shear(images, strength, side)
    found = set()
    for i, x in enumerate(images):
        degrees = math.degrees(0.05 + 0.1 * float(strength[i]))
        ways = [(degrees, 0.0), (-degrees, 0.0), (0.0, degrees), (0.0, -degrees)]
        theirs = [tv.affine(x, 0.0, [0, 0], 1.0, list(way)) for way in ways]
        fit = [k for k in range(4) if agreement(ours[i], theirs[k]) > 0.99]
        assert len(fit) == 1
        found.add((i // 10, fit[0]))
    assert len(found) == 4 and {way for _, way in found} == {0, 1, 2, 3}


def test_a_warp_by_nothing_changes_nothing(images):
    assert torch.equal(flip_crop.warp(images, torch.eye(2).repeat(64, 1, 1)), images)


def test_idbh_flips_half_of_the_images(monkeypatch, images):
    for step in ("_crop_shift", "_colour_shape"):
        monkeypatch.setattr(idbh, step, lambda images, generator: images)
    out = idbh.apply_idbh(images, 0.0, seeded_generator())
    flipped = (out == images.flip(-1)).all(dim=(1, 2, 3))
    assert (flipped ^ (out == images).all(dim=(1, 2, 3))).all()
    assert 16 < flipped.sum() < 48  # 64 fair coins: outside with probability 3e-5; seed is fixed


def test_strong_idbh_is_weak_idbh_with_every_image_erased(images):
    weak, strong = (
        augment_images(Augment(idbh=form), images, seeded_generator(3))
        for form in ("weak", "strong")
    )
    same = (weak == strong).flatten(1).all(dim=1)
    assert 16 < same.sum() < 48  # 64 fair coins: outside with probability 3e-5; seed is fixed
    assert torch.equal(strong[~same], strong[~same].minimum(weak[~same]))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_idbh_of_an_image_without_any_contrast(level):
    out = augment_images(
        Augment(idbh="strong"), torch.full((64, 3, 32, 32), level), seeded_generator()
    )
    assert torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    assert level == 0 or out.max() > 0
