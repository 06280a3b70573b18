"""Nets and their defences: sizes, places, and noise whose statistics are counted."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import RSE, BaseNet, BigNet, Recipe, Votes, build, is_random
from adv.models import Normalize
from adv.runtime.random_layers import Noise
from adv.runtime.random_streams import RngStream, attach, derive_seed, use_seed


def images(n: int = 4) -> torch.Tensor:
    return torch.rand(n, 3, 32, 32, generator=seeded_generator(n))


def parameters(net: nn.Module) -> int:
    return sum(weight.numel() for weight in net.parameters())


# --- RSE ---


class Custom(nn.Module):
    """A net of attributes, with a block inside and no normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.block = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
        self.out = nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.out(self.block(self.stem(x))).mean((2, 3))


NETS = {
    "BaseNet": (lambda: BaseNet()(10), 2),
    "BigNet": (lambda: BigNet()(10), 2),
    "one convolution": (lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), 1),
    "nested": (
        lambda: nn.Sequential(
            nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 3)), nn.ReLU()), nn.Conv2d(2, 2, 3)
        ),
        2,
    ),
    "Custom": (Custom, 3),
}
each_net = pytest.mark.parametrize("name", NETS)


def noises(net: nn.Module) -> list[Noise]:
    return [module for module in net.modules() if isinstance(module, Noise)]


@each_net
def test_rse_puts_noise_before_every_convolution(name):
    make, convolutions = NETS[name]
    net = make()
    plain = parameters(net)
    defended = RSE(0.3, 0.05)(net)
    assert defended is net and parameters(net) == plain
    assert [noise.sigma for noise in noises(net)] == [0.3] + [0.05] * (convolutions - 1)
    assert not any(list(noise.parameters()) or list(noise.buffers()) for noise in noises(net))
    order: list[str] = []
    for module in net.modules():
        if isinstance(module, Noise | nn.Conv2d | Normalize):
            module.register_forward_hook(lambda m, *_: order.append(type(m).__name__))
    net(images())
    met = [step for step in order if step != "Normalize"]
    assert met == ["Noise", "Conv2d"] * convolutions
    if "Normalize" in order:  # pixel units: the published place is on the image
        assert order[:3] == ["Noise", "Normalize", "Conv2d"]


@each_net
def test_rse_noise_is_on_in_training_and_in_evaluation(name):
    net = RSE(0.1, 0.1)(NETS[name][0]())
    for mode in (True, False):
        net.train(mode)
        assert not torch.equal(net(images()), net(images()))
    assert is_random(net)


@pytest.mark.parametrize(
    ("sigmas", "left"), [((0, 0), []), ((0.2, 0), [0.2]), ((0, 0.1), [0.1, 0.1])], ids=str
)
def test_a_sigma_of_0_adds_no_layer(sigmas, left):
    net, plain = Custom().eval(), Custom().eval()
    RSE(*sigmas)(net)
    assert [noise.sigma for noise in noises(net)] == left
    assert is_random(net) == bool(left)
    if not left:
        assert list(net.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_noise_is_gaussian_and_independent_for_every_element(layout):
    noise = Noise(0.2)
    x = torch.full((64, 3, 32, 32), 5.0).contiguous(memory_format=layout)
    draw, again = noise(x) - 5, noise(x) - 5
    assert draw.mean().item() == pytest.approx(0, abs=0.003)
    assert draw.std().item() == pytest.approx(0.2, rel=0.01)
    assert (draw.abs() > 0.2).float().mean().item() == pytest.approx(0.3173, abs=0.01)
    assert (draw.abs() > 0.4).float().mean().item() == pytest.approx(0.0455, abs=0.005)
    for a, b in ((draw, again), (draw[0], draw[1]), (draw[:, 0], draw[:, 1])):
        assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1].abs() < 0.06
    assert len(draw.unique()) > 0.9 * draw.numel()
    assert (x == 5).all()


def test_noise_lets_the_gradient_through():
    x = images().requires_grad_()
    (Noise(0.5)(x) * 3).sum().backward()
    assert x.grad is not None and torch.equal(x.grad, torch.full_like(x, 3))


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_sigmas_that_are_none(sigma):
    for settings in ((sigma, 0.1), (0.1, sigma)):
        with pytest.raises(ValueError, match="a sigma is 0 or more"):
            RSE(*settings)


def test_rse_needs_a_convolution():
    with pytest.raises(ValueError, match="needs a net with a convolution"):
        RSE()(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)))


# --- votes ---


def noisy_net() -> nn.Module:
    return build(Recipe(net=BaseNet(), defences=(RSE(0.3, 0.3),)), 10, seed=1).eval()


def test_votes_are_the_mean_softmax():
    net = noisy_net()
    for n in (1, 7):
        with use_seed(net, 5):
            voted = Votes(net, n)(images())
        with use_seed(net, 5):
            by_hand = torch.stack([net(images()).softmax(1) for _ in range(n)]).mean(0)
        assert torch.allclose(voted.exp(), by_hand, atol=1e-6)
        assert torch.allclose(voted.exp().sum(1), torch.ones(4), atol=1e-5)


def test_the_gradient_through_votes_is_the_mean_of_the_draws():
    """Expectation over transformation: of the ensemble's probability, draw by draw."""
    net, y = noisy_net(), torch.tensor([0, 3, 5, 9])

    def gradient(model):
        x = images().requires_grad_()
        chosen = model(x).gather(1, y[:, None]).sum()
        return torch.autograd.grad(chosen, x)[0]

    with use_seed(net, 5):
        voted = gradient(lambda x: Votes(net, 6)(x).exp())
    with use_seed(net, 5):
        singles = [gradient(lambda x: net(x).softmax(1)) for _ in range(6)]
    assert torch.allclose(voted, torch.stack(singles).mean(0), atol=1e-7)
    assert not torch.allclose(voted, singles[0], atol=1e-5)


def test_more_votes_make_a_steadier_judge():
    net = noisy_net()
    spread = [
        torch.stack([Votes(net, n)(images()).exp() for _ in range(40)]).std(0).mean().item()
        for n in (1, 25)
    ]
    assert spread[1] == pytest.approx(spread[0] / 5, rel=0.25)


def test_votes_need_one():
    with pytest.raises(ValueError, match="votes must be 1 or more, got 0"):
        Votes(noisy_net(), 0)


def test_what_is_random():
    assert is_random(noisy_net()) and is_random(Votes(noisy_net(), 3))
    assert not is_random(BaseNet(dropout=0.5)(10))


# --- streams ---


def test_the_parts_of_a_seed_draw_different_numbers():
    """On a CPU too, whose generators read 32 bits of a seed; those of neighbouring seeds too."""
    seeds = [derive_seed(seed, n) for seed in (0, 1, 2, 2**32) for n in range(500)]
    firsts = {
        torch.randint(2**62, (1,), generator=torch.Generator().manual_seed(seed)).item()
        for seed in seeds
    }
    assert len(firsts) == len(seeds) - 1  # the two parts 0 that share their lower 32 bits
    assert derive_seed(7, 0) == 7 and derive_seed(7, 3) == derive_seed(7, 3)


def test_a_stream_goes_on_from_its_state():
    stream, cpu = RngStream(3), torch.device("cpu")
    first = torch.rand(5, generator=stream.on(cpu))
    state = stream.state()
    ahead = torch.rand(5, generator=stream.on(cpu))
    other = RngStream(99)
    other.restore(state)
    assert other.seed == 3
    for twin in (other, copy.deepcopy(other), pickle.loads(pickle.dumps(other))):
        assert torch.equal(torch.rand(5, generator=twin.on(cpu)), ahead)
    assert torch.equal(torch.rand(5, generator=RngStream(3).on(cpu)), first)
    assert not torch.equal(first, ahead)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copied_net_draws_the_same_from_one_stream_of_its_own(copied):
    net = noisy_net()
    net(images())
    twin = copied(net)
    streams = {id(noise.stream) for noise in noises(twin)}
    assert len(streams) == 1 and streams != {id(noises(net)[0].stream)}
    assert torch.equal(net(images()), twin(images()))


def test_drawing_lends_a_stream_and_gives_the_own_back():
    net = noisy_net()
    twin = copy.deepcopy(net)
    with use_seed(net, 8):
        lent = net(images())
    with pytest.raises(RuntimeError), use_seed(net, 8):
        net(images()[:, :, :8])
    with use_seed(net, 9):
        assert not torch.equal(net(images()), lent)
    assert torch.equal(net(images()), twin(images()))


def test_nothing_draws_from_the_global_generator():
    before = torch.get_rng_state()
    net = build(Recipe(net=BigNet(dropout=0.5), defences=(RSE(),)), 10, seed=3).train()
    net(images())
    Votes(net, 2)(images())
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_seeds_build_equal_nets():
    recipe = Recipe(net=BaseNet(dropout=0.5), defences=(RSE(),))
    nets: list[Any] = [build(recipe, 10, seed) for seed in (4, 4, 5)]
    a, b, c = nets
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    assert torch.equal(a(images()), b(images()))
    assert not torch.equal(a[-1].weight, c[-1].weight)
    attach(c, RngStream(1))
    assert len({id(m.stream) for m in c.modules() if hasattr(m, "stream")}) == 1
