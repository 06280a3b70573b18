"""Augmentation: what it may vary, flips, crops and jitter, and training on it."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reproducibility import numpy_state, seeded_generator
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
from adv.augment import Augment, augment_images, mix_images
from adv.data.datasets import Split
from adv.runtime.random_streams import derive_seed

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
    generator = seeded_generator()
    before = generator.get_state()
    for nothing in (Augment(), Augment(cutmix=1)):
        assert augment_images(nothing, images, generator) is images
    labels = torch.arange(64) % 10
    same, sure = mix_images(Augment(), images, labels, 10, generator)
    assert same is images
    assert torch.equal(sure, torch.eye(10)[labels])
    assert torch.equal(generator.get_state(), before)


def test_flip_always_is_a_flip(images):
    assert torch.equal(augment_images(Augment(flip=1), images, seeded_generator()), images.flip(-1))


def test_flip_is_drawn_for_each_image(images):
    out = augment_images(Augment(flip=0.5), images, seeded_generator())
    flipped = (out == images.flip(-1)).all(dim=(1, 2, 3))
    kept = (out == images).all(dim=(1, 2, 3))
    assert (flipped ^ kept).all()
    assert 16 < flipped.sum() < 48  # 64 fair coins: outside with probability 3e-5; seed is fixed


@pytest.mark.parametrize("most", [1, 4, 16])
def test_crop_is_an_exact_shift_drawn_for_each_image(images, most):
    images = images[:24]
    out = augment_images(Augment(crop=most), images, seeded_generator())
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
    out = augment_images(Augment(crop=1), dot, seeded_generator())[:, 0].reshape(-1, 16)
    counts = torch.bincount(out.argmax(dim=1), minlength=16)
    counts = counts.reshape(4, 4)[:3, :3]
    assert counts.sum() == 10_000
    assert ((counts - 10_000 / 9) ** 2 / (10_000 / 9)).sum() < 26.1  # 99.9 % for 8 degrees


def test_jitter_is_drawn_for_each_image_and_stays_in_range():
    grey = torch.full((64, 3, 8, 8), 0.5)  # contrast and saturation leave a grey image alone
    out = augment_images(Augment(jitter=0.4), grey, seeded_generator())
    levels = out.mean(dim=(1, 2, 3))
    assert torch.allclose(out, levels[:, None, None, None].expand_as(out), atol=1e-5)
    assert len(levels.unique()) == 64
    assert 0.3 - 1e-5 <= levels.min() < 0.35
    assert 0.65 < levels.max() <= 0.7 + 1e-5


def test_jitter_is_torchvisions_three_changes_of_each_image(images):
    out = augment_images(Augment(jitter=0.4), images, seeded_generator(2))
    generator = seeded_generator(2)
    factors = 1 + 0.4 * (2 * torch.rand(3, 64, generator=generator) - 1)
    changes = [tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation]
    order = torch.randperm(3, generator=generator).tolist()
    for i, image in enumerate(images):
        for k in order:
            image = changes[k](image, float(factors[k, i]))
        assert torch.allclose(out[i], image, atol=1e-5)


def test_jitter_changes_contrast_and_saturation_too(images):
    out = augment_images(Augment(jitter=0.9), images, seeded_generator())
    assert out.min() >= 0 and out.max() <= 1
    ratio = out / images.clamp_min(0.05)
    assert (ratio.flatten(1).std(dim=1) > 0.01).all()  # more than one factor for the whole image


@pytest.mark.parametrize("augment", EACH)
def test_the_generator_alone_decides(augment, images):
    torch.manual_seed(1)
    first = augment_images(augment, images, seeded_generator(5))
    torch.manual_seed(2)
    assert torch.equal(augment_images(augment, images, seeded_generator(5)), first)
    assert not torch.equal(augment_images(augment, images, seeded_generator(6)), first)
    generator = seeded_generator(5)
    augment_images(augment, images, generator)
    assert not torch.equal(augment_images(augment, images, generator), first)


@pytest.mark.parametrize("augment", EACH)
def test_global_generators_and_the_images_are_left_alone(augment, images):
    copy = images.clone()
    before = torch.get_rng_state(), random.getstate(), numpy_state()
    augment_images(augment, images, seeded_generator())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (numpy_state() == before[2]).all()
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
    images = torch.rand(n, 3, side, side + 1, generator=seeded_generator(n))
    out = augment_images(
        Augment(flip, crop, jitter, cutout, flip, 0, form), images, seeded_generator()
    )
    assert out.shape == images.shape
    assert out.dtype == images.dtype
    assert torch.isfinite(out).all()
    assert n == 0 or (out.min() >= 0 and out.max() <= 1)


# --- training ---


OBJECTIVES = [Mixed(), Madry(), Paired(), TRADES(), MART(), AWP(Mixed(), 0.01)]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda value: type(value).__name__)
def test_every_objective_and_its_attack_take_mixed_labels(objective, monkeypatch):
    met = []

    def spied(*settings, **others):
        met.append(Batch(*settings, **others))
        return met[-1]

    monkeypatch.setattr("adv.training.loop.Batch", spied)
    images = torch.randint(256, (40, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
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
    images = torch.randint(256, (16, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    split = Split(images, torch.arange(16) % 10)
    augment = Augment(flip=0.5, cutmix=0.7)
    recipe = Recipe(
        BaseNet(), curriculum=Curriculum(fraction=0.0), augment=augment, epochs=1, batch=16
    )
    (epoch,) = train(recipe, split, classes=10, seed=3)
    net: Any = build(recipe, 10, 3)
    net[0].fit(images)
    order = torch.randperm(16, generator=seeded_generator(derive_seed(3, 2)))
    draws = seeded_generator(derive_seed(3, 3))
    x = augment_images(augment, images[order].float() / 255, draws)
    x, y = mix_images(augment, x, split.labels[order], 10, draws)
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
    out = augment_images(augment, images.cuda(), seeded_generator())
    assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.allclose(out.cpu(), augment_images(augment, images, seeded_generator()), atol=1e-5)
