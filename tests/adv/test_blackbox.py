"""What a black-box attack promises: queries that are counted, luck that is an image's own."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import nn

from adv import (
    L2,
    NES,
    PGD,
    RSE,
    BaseNet,
    Battery,
    Hunt,
    Linf,
    Split,
    Square,
    Transfer,
    Votes,
    evaluate,
    frozen,
    hunt,
)
from adv.attacks import windows
from adv.attacks.draws import _GOLDEN, _mixed, normal, seeds, uniform
from adv.attacks.nes import estimate, risk
from adv.attacks.query import MOST, ask
from adv.attacks.square import Searched
from adv.interval import wilson
from adv.precision import FullPrecision
from adv.randomness import Noise

SHAPE = (3, 8, 8)
BALLS = pytest.mark.parametrize("ball", [Linf(0.05), L2(0.5)], ids=repr)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crooked(n: int = 64, shape: tuple[int, ...] = SHAPE):
    """A crooked net with labels of its own, so that every image is right before an attack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = 16 * (shape[1] - 2) * (shape[2] - 2)
        net = nn.Sequential(
            nn.Conv2d(shape[0], 16, 3), nn.GELU(), nn.Flatten(), nn.Linear(inner, 5)
        )
        for weight in net.parameters():
            weight.data *= 6
    x = torch.rand(n, *shape, generator=seeded(n))
    return net.eval(), x, net(x).argmax(1)


class Recording(nn.Module):
    """Keeps the images that it was asked about, call by call."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.calls = net, []

    def forward(self, x):
        self.calls.append(x.clone())
        return self.net(x)

    @property
    def asked(self) -> int:
        return sum(len(x) for x in self.calls)


# --- the luck of an image ---


def test_uniform_and_normal_draws_are_what_they_say():
    seed, at = seeds(100, seeded()), torch.arange(100)
    flat, bell = uniform(seed, at, 1001), normal(seed, at, 1001)
    assert flat.shape == bell.shape == (100, 1001) and flat.dtype == bell.dtype == torch.float32
    assert flat.min() >= 0 and flat.max() < 1
    # 100,100 draws: five standard errors of each moment.
    error = 5 / math.sqrt(flat.numel())
    assert abs(flat.mean() - 1 / 2) < error * math.sqrt(1 / 12)
    assert abs(flat.var() - 1 / 12) < error * math.sqrt(1 / 180)
    assert abs(bell.mean()) < error
    assert abs(bell.var() - 1) < error * math.sqrt(2)
    assert abs(bell.pow(4).mean() - 3) < error * math.sqrt(96)
    tenths = torch.histc(flat, 10, 0, 1) / flat.numel()
    assert (tenths - 0.1).abs().max() < error * math.sqrt(0.09)
    assert abs((bell.abs() > 1.959964).float().mean() - 0.05) < error * math.sqrt(0.05 * 0.95)


@pytest.mark.parametrize("draw", [uniform, normal])
def test_draws_of_neighbours_have_nothing_in_common(draw):
    """In seed, in counter and in place: correlations within five standard errors of 0."""
    base = torch.tensor([7])
    rows = [
        draw(base + i, torch.tensor([k]), 20_000)[0] for i, k in ((0, 0), (1, 0), (0, 1), (1, 1))
    ]
    rows += [torch.roll(rows[0], 1), torch.roll(rows[0], 10_000)]
    together = torch.corrcoef(torch.stack(rows)) - torch.eye(len(rows))
    assert together.abs().max() < 5 / math.sqrt(20_000)


def test_the_hash_is_splitmix64():
    """The first numbers of the published generator, seeded with 1234567."""
    got = _mixed(1234567 + _GOLDEN * torch.arange(1, 4))
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423 - 2**64]
    assert got.tolist() == published


def test_seeds_are_the_generators():
    assert torch.equal(seeds(9, seeded(1)), seeds(9, seeded(1)))
    assert len(set(seeds(999, seeded(1)).tolist()) | set(seeds(999, seeded(2)).tolist())) == 1998


# --- what a query is ---


def test_a_query_asks_for_no_gradient_and_in_parts():
    net, x, _ = crooked(1)
    recording = Recording(net)
    logits = ask(recording, x.expand(MOST + 3, *SHAPE))
    assert not logits.requires_grad
    assert [len(part) for part in recording.calls] == [MOST, 3]
    assert torch.allclose(logits, net(x).expand(MOST + 3, 5), atol=1e-5)


class Low(nn.Module):
    """A net that runs in less than float32, in one way or another."""

    def __init__(self, net: nn.Module, how: str, dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.net, self.how, self.dtype = net, how, dtype
        if how == "weights":
            self.net = net.to(dtype)

    def forward(self, x):
        if self.how == "autocast":
            with torch.autocast("cpu", dtype=self.dtype):
                return self.net(x)
        return self.net(x.to(self.dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_queries_are_answered_in_float32_whatever_the_net_runs_in(how, dtype):
    net, x, _ = crooked(4)
    low = Low(net, how, dtype)
    assert low(x).dtype == dtype
    logits = ask(low, x)
    assert logits.dtype == torch.float32
    # Weights that are kept in bfloat16 stay rounded; all else is computed in full.
    assert torch.equal(logits, net.float()(x))
    moved = ask(low, x + 1e-5) - logits
    assert (moved != 0).all() and moved.abs().max() < 0.1


def test_an_autocast_around_an_attack_is_put_aside_and_comes_back():
    net, x, _ = crooked(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = ask(net, x)
        assert net(x).dtype == torch.bfloat16
    assert net(x).dtype == torch.float32
    assert torch.equal(logits, net(x))


def test_an_error_within_leaves_nothing_behind():
    net, x, _ = crooked(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with pytest.raises(RuntimeError), FullPrecision():
            net(x[:, :1])
        assert net(x).dtype == torch.bfloat16
    assert net(x).dtype == torch.float32


# --- Square ---


def published_share(tried: int, queries: int) -> float:
    """The schedule as the paper's section 4.1 lists it: p halves at these of 10,000 iterations."""
    tried = int(tried / queries * 10_000)
    for least, share in ((8000, 512), (6000, 256), (4000, 128), (2000, 64), (1000, 32), (500, 16),
                         (200, 8), (50, 4), (10, 2)):  # fmt: skip
        if tried > least:
            return 0.8 / share
    return 0.8


@pytest.mark.parametrize("queries", [7, 100, 5000, 10_000, 20_000])
def test_squares_shrink_on_the_published_schedule(queries):
    attack = Square(Linf(0.1), queries)
    tried = torch.arange(queries)
    shares = 0.8 / 2 ** attack.stage(tried)
    assert shares.tolist() == pytest.approx([published_share(int(i), queries) for i in tried])


def test_sides_in_pixels():
    """The side is the root of the share of the image; for L2 it is odd, and 3 at least."""
    assert Square(Linf(0.1)).sides(32, 32) == (29, 20, 14, 10, 7, 5, 4, 3, 2, 1)
    assert Square(L2(1.0)).sides(32, 32) == (29, 21, 15, 11, 7, 5, 5, 3, 3, 3)
    assert Square(Linf(0.1), p=0.05).sides(32, 32)[:3] == (7, 5, 4)
    assert Square(Linf(0.1), p=1.0).sides(4, 32)[0] == 4


@pytest.fixture(scope="module", params=[Linf(0.05), L2(0.5)], ids=repr)
def search(request):
    """One run by hand, with all that it asked and held."""
    net, x, y = crooked(16, (3, 16, 16))
    attack = Square(request.param, 60)
    recording = Recording(net)
    states = [attack.start(x, y, seeded())]
    with frozen(recording):
        for _ in range(attack.steps):
            states.append(attack.step(recording, states[-1]))
    return attack, net, x, y, states, recording.calls


def test_margins_never_rise_and_are_those_of_the_images_held(search):
    _, net, _, y, states, _ = search
    held = torch.stack([state.margin for state in states])
    assert (held[1:] <= held[:-1]).all() and held[0].isinf().all()
    assert (held[-1] < held[1]).float().mean() > 0.9
    for state in states[1::10]:
        logits = net(state.adv).detach()
        right = logits[torch.arange(16), y]
        logits[torch.arange(16), y] = -math.inf
        assert torch.allclose(state.margin, right - logits.amax(1), atol=1e-5)
        assert torch.equal(state.fooled, net(state.adv).argmax(1) != y)
    assert torch.equal(states[-1].queries, torch.full((16,), 60))


def test_every_query_lies_in_the_ball(search):
    attack, _, x, _, _, asked = search
    for tried in asked:
        assert (attack.ball.distance(tried, x) <= attack.ball.eps + 1e-6).all()
        assert tried.min() >= 0 and tried.max() <= 1


def test_a_query_changes_one_square_of_the_published_size(search):
    attack, _, x, _, states, asked = search
    if isinstance(attack.ball, L2):
        return
    assert torch.equal(asked[0], states[0].adv)
    moved = (asked[0] - x).abs()
    assert ((moved - 0.05).abs() < 1e-6).logical_or((asked[0] == 0) | (asked[0] == 1)).all()
    assert (asked[0] - x).sign().unique().tolist() == [-1, 1]
    seen = set()
    for i in range(1, 60):
        side = attack.sides(16, 16)[int(attack.stage(torch.tensor(i - 1)))]
        for image in range(16):
            changed = (asked[i][image] != states[i].adv[image]).any(0)
            rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
            if len(rows):
                assert rows.max() - rows.min() < side and columns.max() - columns.min() < side
                seen.add((int(rows.min()), int(rows.max())))
    assert (0, 0) in seen and (15, 15) in seen  # squares reach all borders


def test_two_bumps_lie_side_by_side_and_are_of_length_1():
    for side in (3, 5, 8, 29):
        table = windows._bumps((side, 31), torch.device("cpu"))
        for pattern in table[:, 0]:
            assert pattern.norm() == pytest.approx(1, abs=1e-5)
            assert (pattern[side:] == 0).all() and (pattern[:, side:] == 0).all()
        upper, lower = table[0, 0, : side // 2, :side], table[0, 0, side // 2 : side, :side]
        assert (upper > 0).all() and (lower < 0).all()
        assert torch.equal(table[1, 0], table[0, 0].T)
    # Three rows: 1 + 1/4 in the middle of the lower two, 1/4 around it.
    low = table.new_tensor([[0.25] * 3, [0.25, 1.25, 0.25]])
    three = windows._bumps((3,), torch.device("cpu"))[0, 0, 1:]
    assert torch.allclose(three / three[0, 0], low / 0.25)


def test_the_bumps_are_those_of_torchattacks():
    peer = torchattacks.Square(nn.Identity(), norm="L2")
    peer.device = "cpu"
    with torch.random.fork_rng(devices=[]):
        for side in (1, 3, 6, 21):
            torch.manual_seed(side)
            lying = int(torch.rand(1) > 0.5)
            torch.manual_seed(side)
            ours = windows._bumps((side,), torch.device("cpu"))[lying, 0]
            assert torch.allclose(ours, peer.eta(side), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("ball", [Linf(0.03), L2(0.5)], ids=repr)
def test_square_is_not_weaker_than_that_of_torchattacks(ball):
    """The same net, images and number of queries; two seeds of each, 300 images, half a point."""
    net, x, y = crooked(300, (3, 16, 16))
    norm = {Linf: "Linf", L2: "L2"}[type(ball)]
    right = {"ours": 0.0, "theirs": 0.0}
    for seed in range(2):
        found = hunt(Square(ball, 400), net, x, y, generator=seeded(seed))
        right["ours"] += found.accuracy(400) / 2
        with torch.random.fork_rng(devices=[]):
            peer = torchattacks.Square(net, norm=norm, eps=ball.eps, n_queries=400, seed=seed)
            right["theirs"] += float((net(peer(x, y)).argmax(1) == y).float().mean()) / 2
    assert right["ours"] <= right["theirs"] + 0.005, right
    assert 0.02 < right["ours"] < 0.6


@BALLS
def test_the_luck_of_an_image_is_its_own(ball):
    """Alone, in a batch, or beside images at other steps: the same queries, the same result."""
    net, x, y = crooked(6)
    attack = Square(ball, 40)
    whole = attack.start(x, y, seeded())
    alone = whole.keep(torch.tensor([2]))
    together = whole
    with frozen(net):
        for _ in range(20):
            alone = attack.step(net, alone)
        ahead = Searched(**{k: _joined(v, getattr(together.keep(torch.tensor([4])), k))
                            for k, v in vars(alone).items()})  # fmt: skip
        for _ in range(10):
            ahead = attack.step(net, ahead)
        for _ in range(30):
            together = attack.step(net, together)
    assert ahead.queries.tolist() == [30, 10]
    assert torch.equal(ahead.adv[0], together.adv[2])
    assert not torch.equal(whole.adv[0] - x[0], whole.adv[1] - x[1])
    other = attack.start(x, y, seeded(1))
    assert not torch.equal(other.adv, whole.adv)


def _joined(a, b):
    return torch.cat([a, b]) if isinstance(a, torch.Tensor) else a


@pytest.mark.parametrize(("ball", "most"), [(Linf(0.1), 0.2), (L2(1.0), 0.4)], ids=repr)
def test_square_needs_no_gradient(ball, most):
    """What kills gradients does not stop it: rounded inputs, and a net that has none at all."""
    net, x, _ = crooked()

    class Coarse(nn.Module):
        def forward(self, x):
            with torch.inference_mode():
                return net((15 * x).round() / 15)

    coarse = Coarse()
    y = coarse(x).argmax(1)
    found = hunt(Square(ball, 150), coarse, x, y, generator=seeded())
    assert found.accuracy(150) < most < 0.9 < found.accuracy(0)
    assert torch.equal(coarse(found.adv).argmax(1) != y, found.fooled)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 7, 12), (2, 3, 3)], ids=str)
@BALLS
def test_images_of_any_size(ball, shape):
    net, x, y = crooked(3, shape)
    adv = Square(ball, 15)(net, x, y, generator=seeded())
    assert (ball.distance(adv, x) <= ball.eps + 1e-6).all() and not torch.equal(adv, x)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"queries": 0}, "queries must be 1 or more, got 0"),
        ({"p": 0.0}, r"p is a share of the image in \(0, 1\], got 0.0"),
        ({"p": 1.5}, r"got 1.5"),
        ({"p": math.nan}, "got nan"),
        ({"ball": None}, r"Linf\(eps\) or L2\(eps\), not None"),
    ],
)
def test_settings_that_make_no_square(settings, said):
    with pytest.raises(ValueError, match=said):
        Square(**{"ball": Linf(0.1), **settings})


# --- NES ---


@pytest.mark.parametrize("kind", ["linear", "quadratic"])
def test_the_estimate_is_the_gradient_on_average(kind):
    """2,000 estimates from 10 directions each: the mean and the variance that theory gives."""
    d, m, n = 12, 10, 2000
    slope = torch.randn(d, generator=seeded(1))
    curved = torch.randn(d, d, generator=seeded(2)) if kind == "quadratic" else torch.zeros(d, d)
    x = torch.randn(d, generator=seeded(3))

    def value(points):
        points = points.flatten(2).double()
        bend = torch.einsum("npi,ij,npj->np", points, curved.double(), points)
        return (points @ slope.double() + bend).float()

    true = slope + (curved + curved.T) @ x
    at = x.reshape(1, 1, 3, 4).expand(n, 1, 3, 4)
    counter = torch.zeros(n, dtype=torch.int64)
    got = estimate(value, at, seeds(n, seeded()), counter, 2 * m, 1e-2).flatten(1)
    variance = (true.square().sum() + true.square()) / m
    assert ((got.mean(0) - true).abs() < 5 * (variance / n).sqrt()).all()
    # The sample variance of such estimates is good to about 2 sqrt(2 / n), 6 %.
    assert torch.allclose(got.var(0) / variance, torch.ones(d), atol=0.25)


@pytest.mark.parametrize("loss", ["probability", "ce"])
@pytest.mark.parametrize("sharp", [1.0, 3.0], ids=["unsure", "confident"])
def test_the_estimate_for_a_net_is_its_gradient(loss, sharp):
    net, x, y = crooked(4)
    net[3].weight.data *= sharp
    net[3].bias.data *= sharp
    attack = NES(Linf(0.1), samples=1600, loss=loss)
    got = attack._gradient(net, attack.start(x, y, seeded()))
    x = x.double().requires_grad_()
    log = net.double()(x).log_softmax(1).gather(1, y[:, None])[:, 0]
    (true,) = torch.autograd.grad((-log if loss == "ce" else 1 - log.exp()).sum(), x)
    alike = F.cosine_similarity(got.flatten(1).double(), true.flatten(1))
    # 800 directions in 192 dimensions: 1 / sqrt(1 + 193 / 800), 0.898, on average.
    assert (alike > 0.85).all()


def test_what_is_small_beside_1_is_not_lost():
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
    """The report's L / N; looking for success costs a query more."""
    attack = NES(Linf(0.1), queries=350, samples=100, early_stop=early_stop)
    assert (attack.price, attack.steps) == (100 + early_stop, 3)
    assert NES(Linf(0.1), queries=1000, early_stop=early_stop).steps == 10 - early_stop
    assert replace(attack, queries=1010).steps == 10
    net, x, y = crooked(8)
    recording, state = Recording(net), attack.start(x, y, seeded())
    for _ in range(attack.steps):
        state = attack.step(recording, state)
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
    """The more queries a gradient has, the more images the same 10 steps fool, up to PGD's."""
    net, x, y = crooked(30)
    exact = PGD(ball, steps=10, pace=0.2, random_start=False)
    right = [float((net(exact(net, x, y)).argmax(1) == y).float().mean())]
    for samples in (4, 40, 300):
        attack = NES(ball, queries=10 * samples, samples=samples, early_stop=False)
        right.append(hunt(attack, net, x, y, generator=seeded()).accuracy(math.inf))
    assert right[1] > right[2] > right[3] > right[0] - 0.05
    assert right[3] < right[0] + 0.15 and right[1] > right[0] + 0.3


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_a_small_sigma_works_on_nets_that_run_in_less(how):
    """In bfloat16 differences along .001 are mostly rounding: the attack would hardly work."""
    net, x, y = crooked(24)
    attack = NES(Linf(0.08), queries=500, samples=50, early_stop=False)
    full = hunt(attack, net, x, y, generator=seeded())
    low = hunt(attack, Low(copy.deepcopy(net), how), x, y, generator=seeded())
    assert full.accuracy(500) < 0.6 < full.accuracy(0)
    if how == "autocast":  # float32 weights: the very same run
        assert torch.equal(low.adv, full.adv)
    assert abs(low.accuracy(500) - full.accuracy(500)) < 0.15
    assert low.adv.dtype == torch.float32


def test_momentum_is_a_running_mean():
    net, x, y = crooked(4)
    plain, heavy = NES(Linf(0.1)), NES(Linf(0.1), momentum=0.9)
    start = heavy.start(x, y, seeded())
    one = heavy.step(net, start)
    first = plain._gradient(net, start)
    assert torch.allclose(one.velocity, 0.1 * first)
    second = plain._gradient(net, one)
    two = heavy.step(net, one)
    assert torch.allclose(two.velocity, 0.09 * first + 0.1 * second, atol=1e-6)
    moved = one.clean + 0.02 * one.velocity.sign()
    assert torch.equal(one.adv, moved.clamp(0, 1))


def test_memory_does_not_grow_with_the_images(monkeypatch):
    """Blocks of images one after another, and no call of more than MOST: the same gradients."""
    net, x, y = crooked(40)
    attack = NES(Linf(0.1), samples=50)
    state = attack.start(x, y, seeded())
    whole = attack._gradient(net, state)
    monkeypatch.setattr("adv.attacks.nes.ROOM", 3 * 8 * 192)
    recording = Recording(net)
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
def test_settings_that_make_no_nes(settings, said):
    with pytest.raises(ValueError, match=said):
        NES(Linf(0.1), **settings)


# --- transfer ---


def test_transfer_tries_the_images_of_a_sibling():
    net, x, y = crooked()
    sibling = copy.deepcopy(net)
    with torch.no_grad():
        for weight in sibling.parameters():
            weight += 0.3 * weight.std() * torch.randn(weight.shape, generator=seeded(5))
    target = Recording(net)
    made = PGD(Linf(0.05), steps=10)
    attack = Transfer(made, sibling)
    assert attack.ball == Linf(0.05)
    adv = attack(target, x, y, generator=seeded())
    assert torch.equal(adv, made(sibling, x, y, generator=seeded())) and not target.calls
    falls = [(net(images).argmax(1) != y).sum() for images in (x, adv, made(net, x, y))]
    assert falls[0] < falls[1] < falls[2]  # weaker than the net's own gradients


def test_transfer_in_an_evaluation():
    net, x, _ = crooked()
    images = (255 * x).round().to(torch.uint8)
    split = Split(images, net(images.float() / 255).argmax(1))
    other = crooked(1)[0]
    for weight in other.parameters():
        weight.data = weight.data.flip(0)  # another net
    pgd = PGD(Linf(0.05), steps=5)
    names = (("own", Transfer(pgd, net)), ("other", Transfer(pgd, other)), ("white", pgd))
    rows = {name: evaluate(net, split, Battery(((name, attack),))).mean for name, attack in names}
    assert rows["white"] <= rows["own"] + 0.1 < rows["other"]


def test_transfer_equals_what_holds_the_same_net():
    net = crooked(1)[0]
    one, two = (Transfer(PGD(Linf(0.1)), net) for _ in range(2))
    assert one == two and hash(one) == hash(two) and "Conv2d" not in repr(one)
    assert one != Transfer(PGD(Linf(0.1)), copy.deepcopy(net))
    twin = pickle.loads(pickle.dumps(one))
    assert torch.equal(*(a(net, *crooked(4)[1:], generator=seeded()) for a in (one, twin)))


# --- in an evaluation ---


@pytest.mark.parametrize("attack", [Square(Linf(0.05), 40), NES(Linf(0.08), 300, 50)], ids=repr)
def test_an_evaluation_finds_the_same_in_batches_of_any_size(attack):
    net, x, _ = crooked()
    images = (255 * x).round().to(torch.uint8)
    split = Split(images, net(images.float() / 255).argmax(1))
    battery = Battery((("black box", attack),))
    small, whole = (evaluate(net, split, battery, batch=batch) for batch in (7, 64))
    assert torch.equal(small.ok, whole.ok)
    assert 0.1 < whole.mean < 0.9
    x, y = images.float() / 255, split.labels
    alone = hunt(attack, net, x, y, generator=seeded(battery.seed))
    assert alone.accuracy(math.inf) == pytest.approx(whole.mean, abs=0.2)  # other luck


@pytest.mark.parametrize("attack", [Square(Linf(0.3), 12), NES(Linf(0.3), 33, 10)], ids=repr)
def test_an_evaluation_asks_a_random_net_to_the_end(attack):
    """It is attacked through `Votes` and judged once, so that no lucky draw counts."""

    net = RSE(0.1, 0.1)(BaseNet()(10)).eval()
    seen = []
    net.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    images = torch.randint(0, 256, (4, 3, 32, 32), generator=seeded(), dtype=torch.uint8)
    labels = Votes(net, 50)(images.float() / 255).argmax(1)
    seen.clear()
    score = evaluate(net, Split(images, labels), Battery((("a", attack),), draws=2, votes=20))
    right = int(score.ok[0].sum())
    queries = attack.steps * getattr(attack, "price", 1)
    assert sum(seen) == 20 * 4 + right * (2 * queries + 20) and score.votes == 20


# --- hunts ---


@pytest.mark.parametrize(
    "attack",
    [Square(Linf(0.05), 30), Square(L2(0.5), 30), NES(Linf(0.05), 305, 60), NES(L2(0.5), 305, 60)],
    ids=["square-linf", "square-l2", "nes-linf", "nes-l2"],
)
def test_queries_are_counted_one_by_one(attack):
    """An image is asked about until it falls, and never again."""
    net, x, y = crooked()
    y[:5] = (y[:5] + 1) % 5  # wrong without an attack
    recording = Recording(net)
    found = hunt(attack, recording, x, y, generator=seeded())
    assert found.fooled[:5].all() and (found.queries[:5] == 0).all()
    assert torch.equal(found.adv[:5], x[:5])
    stood = int((~found.fooled).sum())
    assert 0 < stood < 59
    spent = attack.steps * getattr(attack, "price", 1)
    assert (found.queries[~found.fooled] == spent).all() and spent in (30, 305)
    assert (found.queries[5:] > 0).all() and found.queries.unique().numel() >= 5
    # All clean images once, then the queries, then a verdict on what still stands.
    assert recording.asked == 64 + int(found.queries.sum()) + stood
    assert torch.equal(net(found.adv).argmax(1) != y, found.fooled)
    assert (attack.ball.distance(found.adv, x) <= attack.ball.eps + 1e-6).all()


def test_accuracy_falls_with_the_budget():
    fooled = torch.tensor([True, True, True, True, False])
    found = Hunt(torch.zeros(5, 1, 1, 1), fooled, torch.tensor([0, 3, 10, 20, 30]))
    shares = [found.accuracy(budget) for budget in (0, 2, 3, 10, 30)]
    assert shares == pytest.approx([0.8, 0.8, 0.6, 0.4, 0.2])
    assert found.median == 10
    assert found.curve([3]) == [(3, pytest.approx(0.6), *wilson(0.6, 5))]
    none = Hunt(found.adv, torch.zeros(5, dtype=torch.bool), found.queries)
    assert math.isnan(none.median) and none.accuracy(100) == 1


def test_a_random_net_is_not_fooled_by_a_coin():
    """It is judged once, after all queries: by chance it would fall long before."""

    class Coin(nn.Module):
        stochastic = True

        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(1.0)

        def forward(self, x):
            return torch.tensor([1.5, 0.0]) + self.noise(torch.zeros(len(x), 2))

    x, y = torch.rand(50, *SHAPE, generator=seeded()), torch.zeros(50, dtype=torch.long)
    found = hunt(Square(Linf(0.1), 50), Coin(), x, y, generator=seeded())
    fell = found.fooled[found.queries > 0]
    # One pass is wrong with 14 %: two of it, not one in fifty, decide.
    assert fell.float().mean() < 0.35
    assert (found.queries[~found.fooled] == 50).all()


def test_a_random_net_is_attacked_through_votes():
    net = RSE(0.05, 0.05)(BaseNet()(10)).eval()
    x = torch.rand(8, 3, 32, 32, generator=seeded())
    y = Votes(net, 20)(x).argmax(1)
    found = hunt(Square(Linf(0.3), 20), Votes(net, 2), x, y, generator=seeded())
    assert ((found.queries == 20) | (found.queries == 0)).all()


def test_hunts_that_make_no_sense():
    net, x, y = crooked(4)
    with pytest.raises(ValueError, match="count queries"):
        hunt(PGD(Linf(0.1)), net, x, y)
    with pytest.raises(ValueError, match="as many labels"):
        hunt(Square(Linf(0.1)), net, x, y[1:])
    empty = hunt(Square(Linf(0.1)), net, x[:0], y[:0])
    assert empty.adv.shape == (0, *SHAPE)
    nothing = hunt(Square(Linf(0.0)), net, x, y)
    assert torch.equal(nothing.adv, x) and not nothing.fooled.any()
