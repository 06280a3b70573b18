"""The parts of the GAN against their formulas; training, averaging, resuming."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reproducibility import bit_equal, save_and_load, seeded_generator
from sklearn.linear_model import LogisticRegression
from torch import nn

import adv
from adv import GAN, train_gan
from adv.checkpoints.checkpoint import CheckpointError
from adv.data.datasets import Split
from adv.generative.gan_checkpoint import calibrate_gan, restore_gan, save_gan
from adv.generative.gan_file import GANData, make_gan, state_path
from adv.generative.generator_ema import recalibrate_bn, update_ema
from adv.generative.layers import (
    ConditionalNorm,
    DownBlock,
    UpBlock,
    raw_weight,
    with_spectral_norm,
)
from adv.generative.networks import Discriminator, Generator
from adv.generative.pixel_range import PixelFormat, find_pixel_format
from adv.generative.training import d_loss, g_loss

TINY = replace(GAN().small(), width=2, latent=6, steps=6, batch=10, d_steps=1, ema=0.5, ema_start=2)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=seeded_generator(seed))


# --- the layers ---


def test_the_conditional_norm():
    """By hand: each channel to mean 0 and deviation 1, then the gain and the shift of the class."""
    layer = ConditionalNorm(3, 4)
    nn.init.normal_(layer.gain.weight, generator=seeded_generator(1))
    nn.init.normal_(layer.shift.weight, generator=seeded_generator(2))
    x, y = 5 * noise(8, 3, 5, 5) + 2, torch.arange(8) % 4
    mean = x.mean((0, 2, 3), keepdim=True)
    deviation = (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    gain, shift = layer.gain.weight[y], layer.shift.weight[y]
    expected = (x - mean) / deviation * (1 + gain[:, :, None, None]) + shift[:, :, None, None]
    assert torch.allclose(layer(x, y), expected, atol=1e-5)
    layer.eval()  # then by the running statistics
    assert layer.norm.running_mean is not None and layer.norm.running_var is not None
    running = layer.norm.running_mean[:, None, None], layer.norm.running_var[:, None, None]
    expected = (x - running[0]) / (running[1] + 1e-5).sqrt()
    expected = expected * (1 + gain[:, :, None, None]) + shift[:, :, None, None]
    assert torch.allclose(layer(x, y), expected, atol=1e-5)


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 6, 3), nn.Linear(7, 5), nn.Embedding(10, 8)], ids=repr
)
def test_a_weight_has_spectral_norm_one_by_svd(layer):
    """By one power iteration per pass, the estimate converges for a constant weight."""
    layer = with_spectral_norm(layer)
    with torch.no_grad():
        for _ in range(200):
            weight = layer.weight
    norms = torch.linalg.svdvals(weight.detach().flatten(1).double())
    assert norms[0] == pytest.approx(1, abs=1e-4)
    own = torch.linalg.svdvals(raw_weight(layer).detach().flatten(1).double())
    assert torch.allclose(norms, own / own[0], atol=1e-4)
    layer.eval()
    assert torch.equal(layer.weight, layer.weight)  # no iteration moves it


def test_every_weight_but_the_tables_of_the_generator_has_spectral_norm():
    for net, free in zip(TINY.nets(PixelFormat(), 10, 0), ("gain", "shift"), strict=True):
        for name, layer in net.named_modules():
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
                is_table = name.endswith(("gain", "shift"))
                assert hasattr(layer, "parametrizations") != is_table, (name, free)


def test_the_projection_discriminator():
    """D(x, y) = linear(h) + <table[y], h>, and h the sum over pixels of the last ReLU."""
    net: Any = TINY.nets(PixelFormat(8, 8, 1), 10, 0)[1].eval()
    x, y = noise(5, 1, 8, 8), torch.tensor([0, 3, 3, 9, 1])
    h = F.relu(net.blocks(x)).sum((2, 3))
    expected = h @ net.linear.weight[0] + net.linear.bias + (net.table.weight[y] * h).sum(1)
    assert torch.allclose(net(x, y), expected, atol=1e-6)
    others = net(x, (y + 1) % 10) - net(x, y)
    table = net.table.weight
    assert torch.allclose(others, ((table[(y + 1) % 10] - table[y]) * h).sum(1), atol=1e-6)


def test_the_hinge_loss():
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert float(d_loss(real, made)) == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    assert float(g_loss(made)) == pytest.approx((3 + 0 - 1) / 3)
    slopes = torch.autograd.grad(d_loss(real.requires_grad_(), made), real)[0]
    assert slopes.tolist() == pytest.approx([0, -1 / 3, -1 / 3])


def test_blocks_are_those_of_biggan():
    """The skip connection is a 1x1 convolution of the upsampled (or averaged) input."""
    up = UpBlock(4, 6, 3).eval()
    x, y = noise(2, 4, 5, 5), torch.tensor([0, 2])
    wide = F.interpolate(x, scale_factor=2)
    h = up.a(F.interpolate(F.relu(up.first(x, y)), scale_factor=2))
    expected = up.b(F.relu(up.second(h, y))) + up.past(wide)
    assert torch.allclose(up(x, y), expected, atol=1e-5) and expected.shape == (2, 6, 10, 10)
    for first in (True, False):
        down = DownBlock(4, 6, half=True, first=first).eval()
        h = down.b(F.relu(down.a(x if first else F.relu(x))))
        expected = F.avg_pool2d(h, 2) + F.avg_pool2d(down.past(x), 2)
        assert torch.allclose(down(x), expected, atol=1e-5)


FORMATS = [
    PixelFormat(8, 8, 1),
    PixelFormat(16, 16),
    PixelFormat(),
    PixelFormat(28, 28, 1, (1, 28, 28)),
    PixelFormat(21, 34, 2, (2, 21, 36)),
    PixelFormat(3, 5, 1, (3, 5, 5)),
    PixelFormat(96, 96, 3, (3, 96, 96)),
]


@pytest.mark.parametrize("pixel_format", FORMATS, ids=str)
def test_the_nets_of_each_size(pixel_format):
    height, width, channels = pixel_format.height, pixel_format.width, pixel_format.channels
    generator, discriminator = TINY.nets(pixel_format, 10, 0)
    y = torch.arange(4)
    made = generator(noise(4, 6), y)
    assert made.shape == (4, channels, height, width) and made.abs().max() <= 1
    assert discriminator(made, y).shape == (4,)
    assert pixel_format.to_bytes(made.detach()).shape == (4, *pixel_format.shape)
    floats = made.detach().mul(127.5).round() / 127.5
    assert torch.allclose(pixel_format.to_floats(pixel_format.to_bytes(floats)), floats, atol=0.005)


def test_the_published_size():
    """Both nets of the CIFAR-10 script have a little over 4 million weights."""
    generator, discriminator = GAN().nets(PixelFormat(), 10, 0)
    count = [sum(p.numel() for p in net.parameters()) for net in (generator, discriminator)]
    assert count[0] == pytest.approx(4.3e6, rel=0.02) and count[1] == pytest.approx(4.2e6, rel=0.03)


@pytest.mark.parametrize("init", ["normal", "orthogonal"])
def test_initial_weights(init):
    generator: Any = replace(GAN(), width=8, init=init).nets(PixelFormat(8, 8, 1), 10, 3)[0]
    weight = raw_weight(generator.blocks[0].a).detach().flatten(1)
    if init == "normal":
        assert float(weight.std()) == pytest.approx(0.02, rel=0.05)
    else:
        assert torch.allclose(weight @ weight.T, torch.eye(len(weight)), atol=1e-5)
    top = torch.linalg.svdvals(generator.eval().blocks[0].a.weight.detach().flatten(1))[0]
    assert float(top) == pytest.approx(1, abs=0.1)  # the norm is that of the new weight
    again, _ = replace(GAN(), width=8, init=init).nets(PixelFormat(8, 8, 1), 10, 3)
    assert bit_equal(again.state_dict(), generator.state_dict())


# --- what is drawn ---


def test_the_pixel_format_of_digits_is_their_middle(digits):
    pixel_format = find_pixel_format(digits.train.images)
    assert pixel_format == PixelFormat(8, 8, 1)
    kept = pixel_format.to_bytes(pixel_format.to_floats(digits.train.images))
    assert torch.equal(kept, digits.train.images)


def test_the_pixel_format_is_the_smallest_that_loses_nothing():
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    assert find_pixel_format(images) == PixelFormat(8, 8, 1)  # of nothing, a little is kept
    images[0, :, 8, 23] = 7
    assert find_pixel_format(images) == PixelFormat(16, 16, 1)
    images[1, 1, 9, 9] = 1  # a colour
    assert find_pixel_format(images) == PixelFormat(16, 16, 3)
    images[1, 1, 31, 9] = 1
    assert find_pixel_format(images) == PixelFormat(32, 16, 3)
    images[1, 1, 0, 0] = 1
    assert find_pixel_format(images) == PixelFormat(32, 32, 3)
    grey = find_pixel_format(images[:, :1, 3:, :])
    assert grey == PixelFormat(19, 16, 1, (1, 29, 32))


# --- training ---


def trained(gan: GAN, data: Split, state=None, seed: int = 0, every: int = 2):
    states = []
    for segment in train_gan(gan, data, classes=10, seed=seed, state=state, every=every):
        states.append(segment.state())
    return segment, states


def test_a_resumed_training_equals_an_uninterrupted_one(digits):
    gan = replace(TINY, flip=0.5, translate=1, cutout=2)
    before = torch.get_rng_state()
    segment, states = trained(gan, digits.train)
    assert [state["step"] for state in states] == [2, 4, 6] and segment.number == segment.total == 6
    again, (*_, last) = trained(gan, digits.train, save_and_load(states[0]))
    assert bit_equal(last, states[-1])
    assert bit_equal(
        again.generator(ema=True).state_dict(), segment.generator(ema=True).state_dict()
    )
    assert torch.equal(torch.get_rng_state(), before)
    _, (*_, other) = trained(gan, digits.train, seed=1)
    assert not bit_equal(other["net"], last["net"])
    _, (*_, coarse) = trained(gan, digits.train, every=4)  # how often it yields changes nothing
    assert bit_equal(coarse, last)


def test_a_state_of_another_gan_is_refused(digits):
    _, (state, *_) = trained(TINY, digits.train)
    for gan, seed in ((replace(TINY, lr=0.1), 0), (TINY, 1)):
        with pytest.raises(ValueError, match="belongs to another GAN or seed"):
            trained(gan, digits.train, state, seed)
    with pytest.raises(ValueError, match="no images to train on"):
        trained(TINY, digits.train.head(0))


def test_a_state_that_was_overwritten(digits):
    segments = train_gan(TINY, digits.train, classes=10, seed=0, every=2)
    first = next(segments)
    next(segments)
    with pytest.raises(ValueError, match="step 2 is gone"):
        first.state()


def test_the_average_starts_at_ema_start(digits):
    """By hand: a copy up to update `ema_start`, then d mean + (1 - d) net."""
    gan = replace(TINY, ema=0.75, ema_start=2, steps=4)
    expected: dict[str, Any] = {}
    names = [name for name, _ in gan.nets(PixelFormat(8, 8, 1), 10, 0)[0].named_parameters()]
    for segment in train_gan(gan, digits.train, classes=10, seed=0, every=1):
        state = segment.state()
        if segment.number <= gan.ema_start:
            expected = {name: state["net"][name] for name in names}
        else:
            expected = {n: 0.75 * expected[n] + 0.25 * state["net"][n] for n in names}
        for name in names:
            assert torch.allclose(state["mean"][name], expected[name], atol=1e-7), name
        rest = state["mean"].keys() - set(names)
        assert rest and all(torch.equal(state["mean"][n], state["net"][n]) for n in rest)


def test_a_decay_of_zero_is_a_copy():
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    update_ema(other, net, 0.0)
    assert bit_equal(net.state_dict(), other.state_dict())


def test_batchnorm_is_recalibrated():
    """The mean over many batches of the present weights, not the copied statistics."""
    generator: Any = TINY.nets(PixelFormat(8, 8, 1), 10, 0)[0]
    norm = generator.blocks[0].first.norm
    norm.running_mean.fill_(100)
    draws = seeded_generator(1)

    def draw(n: int = 50):
        return torch.randn(n, 6, generator=draws), torch.arange(n) % 10

    recalibrate_bn(generator, draw)
    assert not generator.training
    big = generator.bottom(draw(5000)[0]).view(-1, generator.wide, 4, 4)
    assert torch.allclose(norm.running_mean, big.mean((0, 2, 3)), atol=0.05)
    assert torch.allclose(norm.running_var, big.var((0, 2, 3)), rtol=0.1)
    assert norm.momentum == 0.1


def test_discriminator_steps_and_who_is_updated(digits):
    """With d_steps = 3 and 6 steps: Adam has counted 18 updates of D, 6 of G."""
    _, states = trained(replace(TINY, d_steps=3), digits.train)
    counts = [
        {int(one["step"]) for one in optimizer["state"].values()}
        for optimizer in states[-1]["optimizers"]
    ]
    assert counts == [{6}, {18}]


def test_labels_are_drawn_from_the_real_ones(digits):
    """A class without real images is never drawn."""
    known = digits.train.labels < 3
    few = Split(digits.train.images[known], digits.train.labels[known])
    segment, _ = trained(replace(TINY, batch=200, steps=2), few)
    z, y = segment._training.draw_latents(seeded_generator(0))
    assert set(y.tolist()) == {0, 1, 2} and z.shape == (200, 6)


def pixels(images: torch.Tensor) -> np.ndarray:
    return images[:, 0, 12:20, 12:20].flatten(1).numpy() / 255


@pytest.mark.slow
def test_a_tiny_gan_learns_the_classes(digits):
    """A classifier of real digits recognises far more of its images than chance, 10 %."""
    gan = replace(GAN().small(), width=4, latent=8, steps=150, batch=100, d_steps=1)
    gan = replace(gan, lr=4e-3, d_lr=4e-3, ema=0.9, ema_start=20, init="orthogonal")
    *_, segment = train_gan(gan, digits.train, classes=10, seed=0, every=gan.steps)
    generator, y = segment.generator(ema=True), torch.arange(10).repeat(20)
    with torch.no_grad():
        images = segment.pixel_format.to_bytes(generator(noise(200, gan.latent), y))
    judge = LogisticRegression(max_iter=300).fit(pixels(digits.train.images), digits.train.labels)
    real = judge.score(pixels(digits.test.images), digits.test.labels)
    made = judge.score(pixels(images), y)
    assert real > 0.8 and made > 0.7
    assert images.double().std(0).mean() > 1  # not one image for each class


# --- as files ---


@pytest.fixture(scope="module")
def made(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("gan") / "gan.safetensors"
    work = GANData(digits.train.head(60), digits.classes, "digits")
    make_gan(TINY, work, path, lambda _: None, every=3)
    return path


def test_a_gan_is_restored(digits, made):
    work = GANData(digits.train.head(60), digits.classes, "digits")
    assert len(work.train) == 54 and len(work.calibration) == 6
    segment, _ = trained(TINY, work.train)
    kept = calibrate_gan(segment, TINY, work.calibration, work.class_counts, 0)
    back = restore_gan(made)
    assert (back.gan, back.pixel_format, back.class_counts, back.odds) == (
        TINY,
        PixelFormat(8, 8, 1),
        work.class_counts,
        kept.odds,
    )
    z, y = noise(5, 6), torch.arange(5)
    for name in ("plain", "ema"):
        assert torch.equal(back.generators[name](z, y), kept.generators[name](z, y))
    assert not torch.equal(back.generators["plain"](z, y), back.generators["ema"](z, y))
    x = noise(5, 1, 8, 8)
    kept.discriminator.eval()
    assert torch.equal(back.discriminator(x, y), kept.discriminator(x, y))
    assert back.metadata["data"] == "digits" and not state_path(made).exists()


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [2, 6], ids=["in the middle", "before the end is written"])
def test_a_killed_training_resumes(digits, made, tmp_path, after):
    work = GANData(digits.train.head(60), digits.classes, "digits")
    path = tmp_path / "gan.safetensors"

    def killed(segment):
        if segment.number >= after:
            raise KilledError

    with pytest.raises(KilledError):
        make_gan(TINY, work, path, killed, every=2)
    assert state_path(path).exists() and not path.exists()
    for name in (path.name, state_path(path).name):  # kill -9 while they were written
        (tmp_path / f".{name}.4321").write_bytes(b"half")
    seen = []
    make_gan(TINY, work, path, lambda segment: seen.append(segment.number), every=2)
    assert seen == [n for n in (2, 4, 6) if n > after]
    assert path.read_bytes() == made.read_bytes()
    assert [file.name for file in tmp_path.iterdir()] == ["gan.safetensors"]


def test_a_state_of_other_images_is_refused(digits, tmp_path):
    path = tmp_path / "gan.safetensors"

    def killed(_):
        raise KilledError

    with pytest.raises(KilledError):
        make_gan(TINY, GANData(digits.train.head(60), digits.classes, "d"), path, killed, every=2)
    other = GANData(digits.train.head(50), digits.classes, "d")
    with pytest.raises(CheckpointError, match="was started with other images: delete it"):
        make_gan(TINY, other, path, killed)
    work = GANData(digits.train.head(60), digits.classes, "d")
    for gan, seed in ((replace(TINY, lr=0.1), 0), (TINY, 1)):
        with pytest.raises(
            CheckpointError, match="was started with another recipe or seed: delete"
        ):
            make_gan(gan, replace(work, seed=seed), path, killed)
    assert state_path(path).exists()
    state_path(path).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="is damaged: delete it to start anew"):
        make_gan(TINY, other, path, killed)


def test_a_training_that_diverges_says_so_and_leaves_nothing(digits, tmp_path):
    work, path = GANData(digits.train.head(60), digits.classes, "d"), tmp_path / "gan.safetensors"
    wild = replace(TINY, lr=1e30, d_lr=1e30, steps=40)
    with pytest.raises(ValueError, match="the GAN has diverged by step 20: try a smaller lr and"):
        make_gan(wild, work, path, lambda _: None, every=20)
    assert list(tmp_path.iterdir()) == []
    make_gan(replace(TINY, steps=1), work, path, lambda _: None)  # nothing is in its way


def test_files_that_are_no_gan(digits, made, tmp_path):
    recipe = adv.Recipe(net=adv.BaseNet())
    net = tmp_path / "net.safetensors"
    adv.save(net, adv.build(recipe, 10, 0), recipe, classes=digits.classes)
    with pytest.raises(CheckpointError, match="holds a classifier, not a GAN"):
        restore_gan(net)
    back = restore_gan(made)
    wide = replace(back, gan=replace(TINY, width=3))
    save_gan(tmp_path / "wide.safetensors", wide, classes=list(digits.classes))
    with pytest.raises(CheckpointError, match="these weights belong to another net") as error:
        restore_gan(tmp_path / "wide.safetensors")
    assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        restore_gan(tmp_path / "nowhere.safetensors")
    half = replace(back, odds={"plain": back.odds["plain"]})
    save_gan(tmp_path / "half.safetensors", half, classes=list(digits.classes))
    with pytest.raises(CheckpointError, match="its metadata does not say how it was made"):
        restore_gan(tmp_path / "half.safetensors")
    bias = back.discriminator.get_parameter("linear.bias")
    bias.data.fill_(float("nan"))
    save_gan(tmp_path / "nan.safetensors", back, classes=list(digits.classes))
    with pytest.raises(CheckpointError, match=r"discriminator\.linear\.bias is not finite"):
        restore_gan(tmp_path / "nan.safetensors")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"steps": 1.5}, "steps must be an integer"),
        ({"d_steps": 0}, "d_steps must be an integer"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
        ({"lr": 0.0}, "lr must be above 0"),
        ({"d_lr": float("nan")}, "d_lr must be above 0"),
        ({"flip": 2}, "flip must be a probability"),
        ({"cutout": -1}, "cutout must be an integer of at least 0"),
        ({"init": "xavier"}, "init must be one of normal, orthogonal, got 'xavier'"),
    ],
)
def test_invalid_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        GAN(**settings)


@pytest.mark.parametrize("setting", [{"height": 31}, {"width": 34}, {"channels": 2}])
def test_a_pixel_format_that_is_no_middle(setting):
    with pytest.raises(ValueError, match=r"are not the middle of an image of \(3, 32, 32\)"):
        PixelFormat(**setting)


def test_nets_are_not_shared():
    generator, discriminator = TINY.nets(PixelFormat(8, 8, 1), 10, 0)
    assert isinstance(generator, Generator) and isinstance(discriminator, Discriminator)
    twin = copy.deepcopy(generator)
    next(twin.parameters()).data.add_(1)
    assert not bit_equal(twin.state_dict(), generator.state_dict())
