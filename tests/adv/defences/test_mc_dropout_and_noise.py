"""Dropout and noise at test time, and projections."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from defence_cases import build_defended, images, outputs_with_seed
from torch import nn

from adv import (
    BigNet,
    Curriculum,
    MCDropout,
    Projection,
    Recipe,
    Split,
    TestNoise,
    build,
    is_random,
    train,
)
from adv.defences.projection import LowRank
from adv.runtime.random_layers import Dropout

# --- dropout and noise at test time ---


def test_dropout_kept_on_drops_as_in_training():
    module = build(Recipe(net=BigNet(dropout=0.4), defences=(MCDropout(),)), 10, seed=0)
    twin = copy.deepcopy(module)
    assert torch.equal(outputs_with_seed(module.train()), outputs_with_seed(twin.eval()))
    assert [m.p for m in module.modules() if isinstance(m, Dropout)] == [0.4, 0.4]
    layer = next(m for m in twin.modules() if isinstance(m, Dropout))
    kept = layer(torch.ones(200, 500))
    assert (kept == 0).float().mean().item() == pytest.approx(0.4, abs=4 * math.sqrt(0.24 / 1e5))
    assert torch.allclose(kept[kept > 0], torch.tensor(1 / 0.6))


def test_dropout_of_a_foreign_net_comes_to_draw_from_the_stream():
    module = build_defended("Foreign", MCDropout(0.5))
    assert isinstance(module.drop, Dropout) and not isinstance(module.drop, nn.Dropout)


def test_test_noise_is_on_the_pixels():
    """200,704 values; sigma is in pixel units although the net normalises behind it."""
    module: Any = build_defended("BigNet", TestNoise(0.1))
    x, seen = images(64), []
    module[0][1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module(x)
    noise = seen[0] - x
    assert noise.std().item() == pytest.approx(0.1, rel=4 / math.sqrt(2 * noise.numel()))
    module.train()(x)
    assert torch.equal(seen[1], x)


DATA = Split((images(96) * 255).byte(), torch.arange(96).remainder(10))


def trained(*defences):
    recipe = Recipe(net=BigNet(), defences=defences, curriculum=Curriculum(steps=2), epochs=1)
    *_, last = train(recipe, DATA, classes=10, seed=3)
    return last.net.eval()


@pytest.mark.slow
def test_training_does_not_know_of_test_noise():
    plain, noisy, both = trained(), trained(TestNoise(0.3)), trained(TestNoise(0.3, training=True))
    pairs = [*zip(plain.parameters(), noisy.parameters(), both.parameters(), strict=True)]
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not any(torch.equal(a, c) for a, _, c in pairs)
    assert is_random(noisy) and not torch.equal(noisy(images()), noisy(images()))


# --- projection ---


@pytest.mark.slow
@pytest.mark.parametrize("learnable", [False, True])
def test_training_fits_a_projection_before_its_first_step(learnable):
    net = trained(Projection(7, learnable))
    layer = next(m for m in net.modules() if isinstance(m, LowRank))
    pixels = DATA.images.flatten(1).double() / 255
    assert torch.allclose(layer.mean.double(), pixels.mean(0), atol=1e-6)
    centred = pixels - pixels.mean(0)
    best = torch.linalg.svd(centred, full_matrices=False)[2][:7]
    both = layer.basis.double() @ layer.basis.double().T
    if learnable:
        assert isinstance(layer.basis, nn.Parameter)
        assert not torch.allclose(both, best.T @ best, atol=1e-6)  # it has moved,
        assert torch.allclose(both, best.T @ best, atol=0.1)  # from there
    else:
        assert torch.allclose(both, best.T @ best, atol=1e-5)


def test_a_projection_is_one():
    layer = LowRank(3072, 11, learnable=False, fitted=True)
    layer.fit(DATA.images)
    x = images()
    once = layer(x)
    assert torch.allclose(layer(once), once, atol=1e-5)
    assert torch.allclose(layer.basis.T @ layer.basis, torch.eye(11), atol=1e-5)
    lost = (x - once).flatten(1)
    assert torch.allclose(lost @ layer.basis, torch.zeros(2, 11), atol=1e-4)
    assert torch.linalg.matrix_rank((once.flatten(1) - layer.mean).double(), atol=1e-4) <= 11
    whole = LowRank(3072, 95, learnable=False, fitted=True)
    whole.fit(DATA.images)  # 96 images span 95 directions around their mean
    pixels = DATA.images.float() / 255
    assert torch.allclose(whole(pixels), pixels, atol=1e-5)


def test_a_rank_beyond_the_images_keeps_random_directions_beside_theirs():
    layer = LowRank(3072, 200, learnable=True, fitted=True)
    layer.fit(DATA.images)
    basis = layer.basis.detach()
    assert torch.allclose(basis.T @ basis, torch.eye(200), atol=1e-4)
    pixels = DATA.images.float() / 255
    assert torch.allclose(layer(pixels).detach(), pixels, atol=1e-4)


def test_a_random_projection_keeps_its_directions():
    kept = LowRank(3072, 5, learnable=True, fitted=False)
    before = kept.basis.detach().clone()
    kept.fit(DATA.images)
    assert torch.equal(kept.basis, before) and not (kept.mean == 0.5).all()
    assert torch.allclose(before.T @ before, torch.eye(5), atol=1e-5)


def test_fitting_twice_gives_the_same():
    a, b = (LowRank(3072, 20, learnable=False, fitted=True) for _ in range(2))
    for layer in (a, b):
        layer.fit(DATA.images)
    assert torch.equal(a.basis, b.basis) and torch.equal(a.mean, b.mean)
