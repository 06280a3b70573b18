"""Augmentation: each image its own draw, exact shifts, and no generator touched but the given."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import RandomErasing
from torchvision.transforms.v2 import functional as tv

from adv import (
    AWP,
    MART,
    TRADES,
    BaseNet,
    Batch,
    Curriculum,
    Madry,
    Mixed,
    Paired,
    Recipe,
    build,
    train,
)
from adv.augment import Augment, augmented, colour, idbh, mixed, move
from adv.data import Split
from adv.randomness import part

ALL = Augment(flip=0.5, crop=4, jitter=0.4, cutout=8, erasing=0.5, idbh="weak")
EACH = [
    Augment(flip=0.5),
    Augment(crop=4),
    Augment(jitter=0.4),
    Augment(cutout=16),
    Augment(erasing=0.5),
    Augment(idbh="weak"),
    Augment(idbh="strong"),
    ALL,
]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(64, 3, 32, 32, generator=seeded(99))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("flip", value) for value in (-0.1, 1.1, math.nan)),
        *(("jitter", value) for value in (-0.1, 2, math.nan)),
        *(("crop", value) for value in (-1, 17, 2.5, 4.0)),
        *(("cutout", value) for value in (-1, 17, 8.0)),
        *(("erasing", value) for value in (-0.1, 1.1, math.nan)),
        *(("cutmix", value) for value in (-0.1, 1.1, math.nan)),
    ],
)
def test_settings_outside_their_range(name, value):
    with pytest.raises(ValueError, match=f"^{name} is .*, not {value}$"):
        Augment(**{name: value})


def test_settings_at_the_ends_of_their_range():
    for made in (Augment(0, 0, 0), Augment(1, 16, 1, 16, 1, 1, "strong")):
        assert made == Augment(**vars(made))
    assert not Augment()
    assert all(EACH) and Augment(cutmix=0.1)


@pytest.mark.parametrize(
    ("name", "hint"), [("week", ": did you mean 'weak'?"), (None, ""), (1, "")]
)
def test_a_form_of_idbh_that_does_not_exist(name, hint):
    with pytest.raises(ValueError, match="idbh") as error:
        Augment(idbh=name)
    assert str(error.value) == f"idbh is off, weak or strong, not {name!r}{hint}"


def test_nothing_to_vary_gives_the_same_tensor_and_draws_nothing(images):
    generator = seeded()
    before = generator.get_state()
    for nothing in (Augment(), Augment(cutmix=1)):
        assert augmented(nothing, images, generator) is images
    labels = torch.arange(64) % 10
    same, sure = mixed(Augment(), images, labels, 10, generator)
    assert same is images
    assert torch.equal(sure, torch.eye(10)[labels])
    assert torch.equal(generator.get_state(), before)


def test_flip_always_is_a_flip(images):
    assert torch.equal(augmented(Augment(flip=1), images, seeded()), images.flip(-1))


def test_flip_is_drawn_for_each_image(images):
    out = augmented(Augment(flip=0.5), images, seeded())
    flipped = (out == images.flip(-1)).all(dim=(1, 2, 3))
    kept = (out == images).all(dim=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 16 < flipped.sum() < 48  # 64 fair coins: outside with probability 3e-5; seed is fixed


@pytest.mark.parametrize("most", [1, 4, 16])
def test_crop_is_an_exact_shift_drawn_for_each_image(images, most):
    images = images[:24]
    out = augmented(Augment(crop=most), images, seeded())
    canvas = torch.nn.functional.pad(images, (most,) * 4)
    found = []
    for i in range(len(images)):
        matches = [
            (y, x)
            for y in range(2 * most + 1)
            for x in range(2 * most + 1)
            if torch.equal(canvas[i, :, y : y + 32, x : x + 32], out[i])
        ]
        assert len(matches) == 1
        found += matches
    assert len(set(found)) > (2 if most == 1 else 12)
    for axis in zip(*found, strict=True):
        assert 0 <= min(axis) <= most <= max(axis) <= 2 * most


def test_all_crops_are_equally_likely():
    """10,000 crops with a border of 1: chi-squared over the nine shifts, seed fixed."""
    dot = torch.zeros(10_000, 3, 4, 4)
    dot[:, :, 1, 1] = 1
    out = augmented(Augment(crop=1), dot, seeded())[:, 0].reshape(-1, 16)
    counts = torch.bincount(out.argmax(dim=1), minlength=16)
    counts = counts.reshape(4, 4)[:3, :3]
    assert counts.sum() == 10_000
    assert ((counts - 10_000 / 9) ** 2 / (10_000 / 9)).sum() < 26.1  # 99.9 % for 8 degrees


def test_jitter_is_drawn_for_each_image_and_stays_in_range():
    grey = torch.full((64, 3, 8, 8), 0.5)  # contrast and saturation leave a grey image alone
    out = augmented(Augment(jitter=0.4), grey, seeded())
    levels = out.mean(dim=(1, 2, 3))
    assert torch.allclose(out, levels[:, None, None, None].expand_as(out), atol=1e-5)
    assert len(levels.unique()) == 64
    assert 0.3 - 1e-5 <= levels.min() < 0.35
    assert 0.65 < levels.max() <= 0.7 + 1e-5


def test_jitter_is_torchvisions_three_changes_of_each_image(images):
    out = augmented(Augment(jitter=0.4), images, seeded(2))
    generator = seeded(2)
    factors = 1 + 0.4 * (2 * torch.rand(3, 64, generator=generator) - 1)
    changes = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation]
    order = torch.randperm(3, generator=generator).tolist()
    for i, image in enumerate(images):
        for k in order:
            image = changes[k](image, float(factors[k, i]))
        assert torch.allclose(out[i], image, atol=1e-5)


def test_jitter_changes_contrast_and_saturation_too(images):
    out = augmented(Augment(jitter=0.9), images, seeded())
    assert out.min() >= 0 and out.max() <= 1
    ratio = out / images.clamp_min(0.05)
    assert (ratio.flatten(1).std(dim=1) > 0.01).all()  # more than one factor for the whole image


@pytest.mark.parametrize("augment", EACH)
def test_the_generator_alone_decides(augment, images):
    torch.manual_seed(1)
    first = augmented(augment, images, seeded(5))
    torch.manual_seed(2)
    assert torch.equal(augmented(augment, images, seeded(5)), first)
    assert not torch.equal(augmented(augment, images, seeded(6)), first)
    generator = seeded(5)
    augmented(augment, images, generator)
    assert not torch.equal(augmented(augment, images, generator), first)


@pytest.mark.parametrize("augment", EACH)
def test_global_generators_and_the_images_are_left_alone(augment, images):
    copy = images.clone()
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()
    augmented(augment, images, seeded())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2]).all()
    assert torch.equal(images, copy)


@settings(max_examples=60, deadline=None)
@given(
    flip=st.floats(0, 1),
    crop=st.integers(0, 16),
    jitter=st.floats(0, 1),
    cutout=st.integers(0, 16),
    form=st.sampled_from(["off", "weak", "strong"]),
    n=st.integers(0, 3),
    side=st.integers(1, 40),
)
def test_shape_type_and_range_hold(flip, crop, jitter, cutout, form, n, side):
    images = torch.rand(n, 3, side, side + 1, generator=seeded(n))
    out = augmented(Augment(flip, crop, jitter, cutout, flip, 0, form), images, seeded())
    assert out.shape == images.shape
    assert out.dtype == images.dtype
    assert torch.isfinite(out).all()
    assert n == 0 or (out.min() >= 0 and out.max() <= 1)


# --- cutout and random erasing ---


def black_boxes(images: torch.Tensor) -> list[tuple[int, int, int, int] | None]:
    """Where each image is black: top, bottom, left, right (past the end); it must be a box."""
    boxes: list[tuple[int, int, int, int] | None] = []
    for black in (images == 0).all(dim=1):
        if not black.any():
            boxes.append(None)
            continue
        rows, columns = black.any(dim=1).nonzero()[:, 0], black.any(dim=0).nonzero()[:, 0]
        box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        assert black.sum() == (box[1] - box[0]) * (box[3] - box[2])
        assert black[box[0] : box[1], box[2] : box[3]].all()
        boxes.append(box)
    return boxes


@pytest.mark.parametrize("size", [1, 3, 8, 16])
def test_cutout_is_a_square_around_a_pixel_less_what_lies_outside(size):
    out = augmented(Augment(cutout=size), torch.ones(300, 3, 32, 32), seeded())
    assert ((out == 0) | (out == 1)).all()
    whole = 0
    for top, bottom, left, right in black_boxes(out):
        for start, end in ((top, bottom), (left, right)):
            assert end - start == size or (start == 0 or end == 32)
            assert end - start >= size // 2
        whole += (bottom - top, right - left) == (size, size)
    share = ((33 - size) / 32) ** 2  # of centres that leave the square whole
    assert abs(whole - 300 * share) < 4 * math.sqrt(300 * share * (1 - share) + 1)


def test_cutouts_lie_around_every_pixel_alike():
    """4,096 squares of 16: the mean area by counting, and chi-squared over the first rows."""
    out = augmented(Augment(cutout=16), torch.ones(4096, 3, 32, 32), seeded())
    kept = np.array([min(32, c + 8) - max(0, c - 8) for c in range(32)])  # of 16 rows around c
    area = (out[:, 0] == 0).sum(dim=(1, 2)).double()
    error = np.outer(kept, kept).std() / 64
    assert abs(area.mean() - kept.mean() ** 2) < 4 * error
    tops = Counter(box[0] for box in black_boxes(out))
    expected = [9 * 128] + [128] * 23  # nine centres have their square begin at the upper edge
    assert stats.chisquare([tops[row] for row in range(24)], expected).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_erasing_meets_its_share_of_the_images(probability):
    images = torch.ones(2000, 3, 32, 32)
    out = augmented(Augment(erasing=probability), images, seeded())
    met = sum(box is not None for box in black_boxes(out))
    error = math.sqrt(2000 * probability * (1 - probability))
    assert abs(met - 2000 * probability) <= 4 * error


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_erased_boxes_are_drawn_as_torchvision_draws_them(shape):
    """2,000 boxes of each: height, width, first row, first column, area (Kolmogorov-Smirnov)."""
    height, width = shape
    out = augmented(Augment(erasing=1), torch.ones(2000, 3, *shape), seeded())
    ours = [(b - t, r - left, t, left) for t, b, left, r in filter(None, black_boxes(out))]
    image = torch.ones(3, *shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3)) for _ in range(2000)]
    theirs = [(h, w, t, left) for t, left, h, w, _ in drawn if (h, w) != shape]
    assert len(ours) > 1990
    for mine, other in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-3
    areas = [h * w / (height * width) for h, w, _, _ in ours]
    assert min(areas) > 0.01 and max(areas) < 0.36  # 2 and 33 %, but for rounding of the sides


# --- CutMix ---


def labelled(n: int, classes: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image is of one colour of its own; labels go round."""
    images = (torch.arange(n) / n)[:, None, None, None].expand(n, 3, side, side).contiguous()
    return images, torch.arange(n) % classes


@pytest.mark.parametrize("given", ["classes", "probabilities"])
def test_a_label_is_worth_its_share_of_the_pixels(given):
    images, labels = labelled(100, 7)
    sure = torch.eye(7)[labels]
    y = labels if given == "classes" else sure
    out, probabilities = mixed(Augment(cutmix=1), images, y, 7, seeded())
    assert probabilities.shape == (100, 7) and probabilities.dtype == torch.float32
    seen = (out[:, 0].reshape(100, -1) * 100).round().long()  # whose pixel each one is
    shares = sure[seen].mean(dim=1)
    assert torch.allclose(probabilities, shares, atol=1e-6)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(100), atol=1e-6)
    assert max(len(row.unique()) for row in seen) == 2
    foreign = [row[row != i] for i, row in enumerate(seen)]
    assert len({int(row[0]) for row in foreign if len(row)}) > 80  # partners are all different
    assert torch.equal(out[:, 0], out[:, 1])


def test_patches_are_boxes_of_the_published_size():
    """4,096 patches: area 1 - Beta(1, 1), clipped at the edges; the mean in closed form."""
    images = torch.cat([torch.zeros(4096, 1, 32, 32), torch.ones(4096, 1, 32, 32)])
    labels = torch.arange(8192) // 4096
    out, probabilities = mixed(Augment(cutmix=1), images, labels, 2, seeded())
    marked = [i for i in range(8192) if 0 < probabilities[i, 0] < 1]
    black_boxes(torch.where(labels[marked, None, None, None] == 0, 1 - out[marked], out[marked]))
    share = [((s + 1) / 32) ** 2 - (s / 32) ** 2 for s in range(32)]  # P(side = s)
    kept = [np.mean([min(32, c - s // 2 + s) - max(0, c - s // 2) for c in range(32)]) / 32
            for s in range(32)]  # fmt: skip
    expected = sum(p * k**2 for p, k in zip(share, kept, strict=True)) / 2  # half meet their own
    foreign = probabilities[torch.arange(8192), 1 - labels].double()
    assert abs(foreign.mean() - expected) < 4 * foreign.std() / math.sqrt(8192)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_cutmix_meets_its_share_of_the_images(probability):
    images, labels = labelled(2000, 10, side=8)
    out, _ = mixed(Augment(cutmix=probability), images, labels, 10, seeded())
    met = int((out != images).flatten(1).any(dim=1).sum())
    # side 0 (1 of 64 areas) and an image that is its own partner change nothing
    error = math.sqrt(2000 * probability * (1 - probability) + 2000 * probability / 64)
    assert abs(met - 2000 * probability * 63 / 64) <= 4 * error


def test_mixing_is_decided_by_its_generator_alone():
    images, labels = labelled(64, 10)
    copy, before = images.clone(), torch.get_rng_state()
    first = mixed(Augment(cutmix=0.5), images, labels, 10, seeded(5))
    again = mixed(Augment(cutmix=0.5), images, labels, 10, seeded(5))
    other = mixed(Augment(cutmix=0.5), images, labels, 10, seeded(6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(images, copy) and torch.equal(torch.get_rng_state(), before)
    none, sure = mixed(Augment(cutmix=1), images[:0], labels[:0], 10, seeded())
    assert none.shape == (0, 3, 32, 32) and sure.shape == (0, 10)


# --- IDBH ---


def test_cropshift_loses_a_border_and_puts_the_rest_down_anywhere():
    """Pixels that say where they come from; 0 to 10 rows and columns lost, each sum as likely."""
    place = (torch.arange(1024).reshape(32, 32) + 1) / 2048
    images = place.expand(3300, 3, 32, 32)
    out = idbh._cut_and_shifted(images, seeded())
    lost = Counter()
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
    added = (idbh._one_of_eight(many, seeded()) - many)[:, 0, 0, 0].round()
    assert stats.chisquare([int((added == k).sum()) for k in range(8)]).pvalue > 1e-3


BLENDS = [
    (tv.adjust_saturation, 0.1),
    (tv.adjust_brightness, 0.5),
    (tv.adjust_contrast, 0.5),
    (tv.adjust_sharpness, 0.1),
]


@pytest.mark.parametrize(("adjust", "low"), BLENDS)
def test_blends_are_torchvisions_with_a_factor_for_each_image(adjust, low, images):
    factor = torch.linspace(low, 1.9, len(images))
    theirs = torch.stack([adjust(x, float(f)) for x, f in zip(images, factor, strict=True)])
    assert torch.allclose(colour.blended(images, adjust, factor), theirs, atol=1e-5)
    change = idbh._CHANGES[BLENDS.index((adjust, low))]
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
    images = torch.rand(20, 3, *shape, generator=seeded())
    strength = (torch.arange(20) % 10 + 0.5) / 10  # the middles of its ten whole degrees
    side = (torch.arange(20) >= 10).float()
    ours = idbh._turned(images, strength, side)
    degrees = [sign * d for sign in (1, -1) for d in range(1, 11)]
    theirs = torch.stack([tv.rotate(x, d) for x, d in zip(images, degrees, strict=True)])
    assert agreement(ours, theirs) > 0.995


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_shears_are_torchvisions(shape):
    """All four of its directions, each by ten strengths."""
    images = torch.rand(40, 3, *shape, generator=seeded())
    strength = (torch.arange(40) % 10) / 9
    side = (torch.arange(40) // 10) / 4 + 0.1
    ours = idbh._sheared(images, strength, side)
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
    assert torch.equal(move.warped(images, torch.eye(2).repeat(64, 1, 1)), images)


def test_idbh_flips_half_of_the_images(monkeypatch, images):
    for step in ("_cut_and_shifted", "_one_of_eight"):
        monkeypatch.setattr(idbh, step, lambda images, generator: images)
    out = idbh.varied(images, 0.0, seeded())
    flipped = (out == images.flip(-1)).all(dim=(1, 2, 3))
    assert (flipped ^ (out == images).all(dim=(1, 2, 3))).all()
    assert 16 < flipped.sum() < 48  # 64 fair coins: outside with probability 3e-5; seed is fixed


def test_strong_idbh_is_weak_idbh_with_every_image_erased(images):
    weak, strong = (augmented(Augment(idbh=form), images, seeded(3)) for form in ("weak", "strong"))
    same = (weak == strong).flatten(1).all(dim=1)
    assert 16 < same.sum() < 48  # 64 fair coins: outside with probability 3e-5; seed is fixed
    assert torch.equal(strong[~same], strong[~same].minimum(weak[~same]))


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_idbh_of_an_image_without_any_contrast(level):
    out = augmented(Augment(idbh="strong"), torch.full((64, 3, 32, 32), level), seeded())
    assert torch.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    assert level == 0 or out.max() > 0


# --- training ---


OBJECTIVES = [Mixed(), Madry(), Paired(), TRADES(), MART(), AWP(Mixed(), 0.01)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda value: type(value).__name__)
def test_every_objective_and_its_attack_take_mixed_labels(objective, monkeypatch):
    met = []

    def spied(*settings):
        met.append(Batch(*settings))
        return met[-1]

    monkeypatch.setattr("adv.training.Batch", spied)
    images = torch.randint(256, (40, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    recipe = Recipe(
        net=BaseNet(),
        objective=objective,
        curriculum=Curriculum(eps=0.03, steps=2),
        augment=Augment(cutmix=1),
        smoothing=0.1,
        epochs=1,
        batch=16,
    )
    (epoch,) = train(recipe, Split(images, torch.arange(40) % 10), classes=10, seed=0)
    assert {batch.y.shape for batch in met} == {(16, 10), (8, 10)}
    for batch in met:
        assert torch.allclose(batch.y.sum(dim=1), torch.ones(len(batch.y)))
        assert (batch.y.amax(dim=1) < 1).any()
    assert all(math.isfinite(value) for value in epoch.metrics.values())
    assert 0 <= epoch.metrics["attacked_accuracy"] <= 1
    assert all(torch.isfinite(value).all() for value in epoch.net.state_dict().values())


def test_one_step_on_mixed_labels_by_hand():
    """The loss is that of plain PyTorch on the images and probabilities that `mixed` makes."""
    images = torch.randint(256, (16, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    split = Split(images, torch.arange(16) % 10)
    augment = Augment(flip=0.5, cutmix=0.7)
    recipe = Recipe(
        BaseNet(), curriculum=Curriculum(fraction=0.0), augment=augment, epochs=1, batch=16
    )
    (epoch,) = train(recipe, split, classes=10, seed=3)
    net = build(recipe, 10, 3)
    net[0].fit(images)
    order = torch.randperm(16, generator=seeded(part(3, 2)))
    draws = seeded(part(3, 3))
    x = augmented(augment, images[order].float() / 255, draws)
    x, y = mixed(augment, x, split.labels[order], 10, draws)
    logits = net(x).detach()
    expected = -(y * logits.log_softmax(1)).sum(1).mean()
    assert epoch.metrics["loss"] == pytest.approx(float(expected), rel=1e-5)
    hits = logits.argmax(1) == y.argmax(1)
    assert epoch.metrics["clean_accuracy"] == pytest.approx(float(hits.float().mean()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("augment", EACH)
def test_the_draws_are_the_same_on_the_gpu(augment, images):
    before = torch.cuda.get_rng_state()
    out = augmented(augment, images.cuda(), seeded())
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.allclose(out.cpu(), augmented(augment, images, seeded()), atol=1e-5)
