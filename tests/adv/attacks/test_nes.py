"""NES: its gradient estimate, its queries and its result."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from reproducibility import seeded_generator
from small_nets import LowPrecisionNet, RecordingNet, self_labelled_problem
from torch import Tensor

from adv import L2, NES, PGD, Linf, hunt
from adv.attacks.counter_rng import draw_seeds
from adv.attacks.nes import NESState, estimate_gradient, risk


def begin(attack: NES, x: Tensor, y: Tensor) -> NESState:
    state = attack.start(x, y, seeded_generator())
    assert isinstance(state, NESState)
    return state


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_the_estimate_is_the_gradient_on_average(kind):
    """2,000 estimates from 10 directions each: the mean and the variance that theory gives."""
    d, m, n = 12, 10, 2000
    slope = torch.randn(d, generator=seeded_generator(1))
    curved = (
        torch.randn(d, d, generator=seeded_generator(2))
        if kind == "quadratic"
        else torch.zeros(d, d)
    )
    x = torch.randn(d, generator=seeded_generator(3))

    def value(points):
        points = points.flatten(2).double()
        bend = torch.einsum("npi,ij,npj->np", points, curved.double(), points)
        return (points @ slope.double() + bend).float()

    true = slope + (curved + curved.T) @ x
    at = x.reshape(1, 1, 3, 4).expand(n, 1, 3, 4)
    counter = torch.zeros(n, dtype=torch.int64)
    got = estimate_gradient(
        value, at, draw_seeds(n, seeded_generator()), counter, 2 * m, 1e-2
    ).flatten(1)
    variance = (true.square().sum() + true.square()) / m
    assert ((got.mean(0) - true).abs() < 5 * (variance / n).sqrt()).all()
    # The sample variance of such estimates is good to about 2 sqrt(2 / n), 6 %.
    assert torch.allclose(got.var(0) / variance, torch.ones(d), atol=0.25)


@pytest.mark.parametrize("loss", ["probability", "ce"])
@pytest.mark.parametrize("sharp", [1.0, 3.0], ids=["unsure", "confident"])
def test_the_estimate_for_a_net_is_its_gradient(loss, sharp):
    net, x, y = self_labelled_problem(4)
    net[3].weight.data *= sharp
    net[3].bias.data *= sharp
    attack = NES(Linf(0.1), samples=1600, loss=loss)
    got = attack._gradient(net, begin(attack, x, y))
    x = x.double().requires_grad_()
    log = net.double()(x).log_softmax(1).gather(1, y[:, None])[:, 0]
    (true,) = torch.autograd.grad((-log if loss == "ce" else 1 - log.exp()).sum(), x)
    alike = F.cosine_similarity(got.flatten(1).double(), true.flatten(1))
    # 800 directions in 192 dimensions: 1 / sqrt(1 + 193 / 800), 0.898, on average.
    assert (alike > 0.85).all()


def test_small_risks_are_not_rounded_away():
    """A probability of 1 - 1e-9 rounds to 1: the risk is computed from the log-odds."""
    logits = torch.tensor([[0.0, 20.7, -1.0], [0.0, 40.0, 0.0], [50.0, 0.0, 1.0]])
    right = torch.tensor([1, 1, 1])
    exact = logits.double().softmax(1)
    wanted = exact[:, [0, 2]].sum(1)
    assert torch.allclose(risk(logits, right, "probability").double(), wanted, rtol=1e-5)
    wanted = torch.cat([-(-wanted[:2]).log1p(), wanted.new_tensor([50.0])])
    assert torch.allclose(risk(logits, right, "ce").double(), wanted, rtol=1e-5)


@pytest.mark.parametrize("early_stop", [True, False])
def test_steps_are_the_queries_over_their_price(early_stop):
    """Steps are the report's L / N; checking for success costs one more query."""
    attack = NES(Linf(0.1), queries=350, samples=100, early_stop=early_stop)
    assert (attack.price, attack.steps) == (100 + early_stop, 3)
    assert NES(Linf(0.1), queries=1000, early_stop=early_stop).steps == 10 - early_stop
    assert replace(attack, queries=1010).steps == 10
    net, x, y = self_labelled_problem(8)
    recording = RecordingNet(net)
    state = attack.start(x, y, seeded_generator())
    for _ in range(attack.steps):
        state = attack.step(recording, state)
    assert isinstance(state, NESState)
    assert (state.queries == 3 * attack.price).all() and recording.asked == 8 * 3 * attack.price
    if not early_stop:
        assert not state.fooled.any()  # it never looked
    else:
        assert torch.equal(state.fooled, net(state.adv).argmax(1) != y) and state.fooled.any()


def test_defaults_are_the_reports():
    attack = NES(Linf(0.1))
    assert (attack.sigma, attack.samples, attack.length) == (0.001, 100, 0.02)
    assert attack.loss == "probability" and attack.momentum == 0


@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.3)], ids=repr)
def test_a_high_budget_comes_near_pgd(ball):
    """With more queries per gradient the same 10 steps fool more images, up to those of PGD."""
    net, x, y = self_labelled_problem(30)
    exact = PGD(ball, steps=10, pace=0.2, random_start=False)
    right = [float((net(exact(net, x, y)).argmax(1) == y).float().mean())]
    for samples in (4, 40, 300):
        attack = NES(ball, queries=10 * samples, samples=samples, early_stop=False)
        right.append(hunt(attack, net, x, y, generator=seeded_generator()).accuracy(math.inf))
    assert right[1] > right[2] > right[3] > right[0] - 0.05
    assert right[3] < right[0] + 0.15 and right[1] > right[0] + 0.3


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_a_small_sigma_works_on_nets_that_run_in_less(how):
    """In bfloat16 differences along .001 are mostly rounding: the attack would hardly work."""
    net, x, y = self_labelled_problem(24)
    attack = NES(Linf(0.08), queries=500, samples=50, early_stop=False)
    full = hunt(attack, net, x, y, generator=seeded_generator())
    low = hunt(attack, LowPrecisionNet(copy.deepcopy(net), how), x, y, generator=seeded_generator())
    assert full.accuracy(500) < 0.6 < full.accuracy(0)
    if how == "autocast":  # float32 weights: the very same run
        assert torch.equal(low.adv, full.adv)
    assert abs(low.accuracy(500) - full.accuracy(500)) < 0.15
    assert low.adv.dtype == torch.float32


def test_momentum_is_a_running_mean():
    net, x, y = self_labelled_problem(4)
    plain, heavy = NES(Linf(0.1)), NES(Linf(0.1), momentum=0.9)
    start = begin(heavy, x, y)
    one = heavy.step(net, start)
    assert isinstance(one, NESState)
    first = plain._gradient(net, start)
    assert torch.allclose(one.velocity, 0.1 * first)
    second = plain._gradient(net, one)
    two = heavy.step(net, one)
    assert isinstance(two, NESState)
    assert torch.allclose(two.velocity, 0.09 * first + 0.1 * second, atol=1e-6)
    moved = one.clean + 0.02 * one.velocity.sign()
    assert torch.equal(one.adv, moved.clamp(0, 1))


def test_memory_does_not_grow_with_the_images(monkeypatch):
    """In blocks of images, and calls of at most MAX_BATCH, the gradients are the same."""
    net, x, y = self_labelled_problem(40)
    attack = NES(Linf(0.1), samples=50)
    state = begin(attack, x, y)
    whole = attack._gradient(net, state)
    monkeypatch.setattr("adv.attacks.nes.MAX_NUMBERS", 3 * 8 * 192)
    recording = RecordingNet(net)
    assert torch.allclose(attack._gradient(recording, state), whole, atol=1e-4)
    assert max(len(part) for part in recording.calls) == 3 * 8
    assert recording.asked == 40 * 50


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"samples": 99}, "2 or more, even, got 99"),
        ({"samples": 0}, "2 or more, even, got 0"),
        ({"queries": 100}, "a step takes 101 queries, got 100"),
        *(({"sigma": sigma}, "finite and above 0") for sigma in (0, -1, math.inf, math.nan)),
        ({"step_size": 0}, "finite length above 0"),
        ({"momentum": 1.0}, r"a share in \[0, 1\), got 1.0"),
        ({"loss": "kl"}, "one of probability, ce, got 'kl'"),
    ],
)
def test_invalid_nes_settings_are_rejected(settings, said):
    with pytest.raises(ValueError, match=said):
        NES(Linf(0.1), **settings)
