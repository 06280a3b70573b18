"""The contract of every attack, one table row each, on problems whose answer is known by hand."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from adv import (
    APGD,
    FGSM,
    FGSMRS,
    L2,
    NES,
    NFGSM,
    PGD,
    RSE,
    BaseNet,
    Iterative,
    Linf,
    Square,
    Votes,
    Worst,
    frozen,
    restarts,
)
from adv.attacks.attack import slope
from adv.attacks.loss import LOSSES
from adv.randomness import Dropout, Noise

SHAPE = (3, 8, 8)
INF, TWO = Linf(0.05), L2(0.5)
ATTACKS = {
    "fgsm-linf": FGSM(INF),
    "fgsm-l2": FGSM(TWO),
    "pgd-linf": PGD(INF),
    "pgd-linf-absolute": PGD(INF, steps=20, step_size=0.01),
    "pgd-linf-from-the-image": PGD(INF, random_start=False),
    "pgd-l2": PGD(TWO, steps=30),
    "pgd-l2-absolute": PGD(TWO, steps=100, step_size=0.025),
    "pgd-margin": PGD(INF, loss="margin"),
    "apgd-linf": APGD(INF),
    "apgd-l2": APGD(TWO),
    "apgd-margin-linf": APGD(INF, loss="margin"),
    "apgd-margin-l2": APGD(TWO, loss="margin"),
    "worst": Worst((FGSM(INF), PGD(INF))),
    "restarts-linf": restarts(PGD(INF), 3),
    "restarts-l2": restarts(PGD(TWO, steps=100, pace=0.05), 2),
}
# These come near an optimum, with luck: what they reach is in test_blackbox.py.
BLACK_BOX = {
    "square-linf": Square(INF, queries=20),
    "square-l2": Square(TWO, queries=20),
    "nes-linf": NES(INF, queries=42, samples=20),
    "nes-l2": NES(TWO, queries=40, samples=20, momentum=0.5, loss="ce", early_stop=False),
}
# Made to train with: they need not find the worst point, nor stay in the ball.
CHEAP = {"fgsm-rs": FGSMRS(INF), "n-fgsm": NFGSM(INF), "n-fgsm-l2": NFGSM(TWO)}


def rows(*tables):
    """A test for each attack of these tables."""
    table = {name: attack for part in tables for name, attack in part.items()}
    return pytest.mark.parametrize("attack", table.values(), ids=table)


each, judging, every = rows(ATTACKS), rows(ATTACKS, BLACK_BOX), rows(ATTACKS, BLACK_BOX, CHEAP)
RANDOM = ["pgd-linf", "pgd-linf-absolute", "pgd-l2", "pgd-l2-absolute", "restarts-linf"]
RANDOM += ["square-linf", "square-l2", "nes-linf", "nes-l2", "apgd-linf", "apgd-l2"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 8, classes: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(n, *SHAPE, generator=seeded(n))
    return x, torch.arange(n) % classes


class Linear(nn.Module):
    """Two classes apart by w.x + b: the worst point of a ball is known in closed form."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(0.2 * torch.randn(SHAPE, generator=seeded(5)))
        self.b = nn.Parameter(torch.tensor(bias))

    def margin(self, x, y):
        """Of the right class over the wrong one: below 0 is a mistake."""
        return torch.where(y == 0, 1, -1) * ((self.w * x).sum((1, 2, 3)) + self.b).detach()

    def forward(self, x):
        half = ((self.w * x).sum((1, 2, 3)) + self.b) / 2
        return torch.stack([half, -half], 1)


class Mixed(nn.Module):
    """Everything that an attack could disturb."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.drop = Dropout(0.5)
        self.plain_drop = nn.Dropout(0.5)
        self.noise = Noise(0.1)
        self.last = nn.Linear(144, 2)
        self.norm.eval()
        self.last.bias.requires_grad_(False)

    def forward(self, x):
        x = self.norm(self.first(self.noise(x))).relu().flatten(1)
        return self.last(self.plain_drop(self.drop(x)))


class Counting(nn.Module):
    """Counts the images that pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.seen = model, 0

    def forward(self, x):
        self.seen += len(x)
        return self.model(x)


def optimum(model: Linear, ball, x, y):
    """The least margin in the ball and in [0, 1], for eps below the room of each free pixel."""
    down = -torch.where(y == 0, 1, -1).reshape(-1, 1, 1, 1) * model.w.detach()
    room = torch.where(down > 0, 1 - x, x)
    if isinstance(ball, Linf):
        return model.margin(x, y) - (down.abs() * room.clamp(max=ball.eps)).sum((1, 2, 3))
    assert ((room == 0) | (room > ball.eps / 2)).all()
    free = (down * (room > 0)).flatten(1)
    return model.margin(x, y) - ball.eps * free.norm(dim=1)


# --- closed form ---


@each
def test_reaches_the_optimum_of_a_linear_model(attack):
    model, (x, y) = Linear(), batch()
    x = 0.3 + 0.4 * x  # away from the pixel limits
    model.b.data -= model.margin(x, y * 0).mean()
    best = optimum(model, attack.ball, x, y)
    norm = model.w.abs().sum() if attack.ball is INF else model.w.norm()
    assert torch.allclose(best, model.margin(x, y) - attack.ball.eps * norm, atol=1e-5)
    fell = model.margin(x, y) - model.margin(attack(model, x, y, generator=seeded()), y)
    # A cascade stops at the first attack that fools, whose loss need not be the largest.
    assert torch.allclose(fell, attack.ball.eps * norm.detach(), rtol=1e-3)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "fgsm-l2"])
@pytest.mark.parametrize("share", [0.5, 1.0], ids=["half the pixels", "every pixel"])
def test_reaches_the_optimum_at_the_pixel_limits(name, share):
    """Pixels of exactly 0 and 1 can move one way only."""
    attack, model, (x, y) = ATTACKS[name], Linear(), batch()
    x = torch.where(torch.rand(x.shape, generator=seeded(1)) < share, x.round(), 0.3 + 0.4 * x)
    best = optimum(model, attack.ball, x, y)
    reached = model.margin(attack(model, x, y, generator=seeded()), y)
    most = model.margin(x, y) - best
    # An L2 step wastes the part that [0, 1] cuts off: a quarter of eps costs about a hundredth.
    coarse = attack.ball is TWO and name == "pgd-l2"
    assert (reached - best <= (0.03 if coarse else 2e-3) * most).all()
    assert (reached >= best - 1e-5).all()


@each
@pytest.mark.parametrize("side", [0.98, 1.02], ids=["just within", "just beyond"])
def test_fools_beyond_the_known_distance_and_not_within(attack, side):
    model, (x, _) = Linear(), batch()
    x, y = 0.3 + 0.4 * x[:1], torch.zeros(1, dtype=torch.long)
    norm = (model.w.abs().sum() if isinstance(attack.ball, Linf) else model.w.norm()).item()
    model.b.data += attack.ball.eps * norm / side - model.margin(x, y).item()
    fooled = model(attack(model, x, y, generator=seeded())).argmax(1) != y
    assert fooled.item() == (side > 1)


# --- what holds for every attack and every model ---


UNFIT = {
    "above 1": lambda x, y: (x + 0.5, y),
    "below 0": lambda x, y: (x - 0.5, y),
    "not a number": lambda x, y: (x * math.nan, y),
    "one not a number": lambda x, y: (x.index_fill(0, torch.tensor([3]), math.nan), y),
    "infinite": lambda x, y: (x / 0, y),
    "bytes": lambda x, y: ((255 * x).byte(), y),
    "too few labels": lambda x, y: (x, y[1:]),
    "one-hot labels": lambda x, y: (x, F.one_hot(y)),
}


@every
@pytest.mark.parametrize("how", UNFIT)
def test_refuses_what_are_no_images(attack, how):
    model = Counting(Linear())
    with pytest.raises(ValueError, match=r"labels" if "labels" in how else r"\[0, 1\]") as error:
        attack(model, *UNFIT[how](*batch()))
    assert "\n" not in str(error.value) and model.seen == 0


def at_eps(attack, eps):
    if isinstance(attack, Worst):
        return Worst(tuple(at_eps(part, eps) for part in attack.attacks))
    return replace(attack, ball=replace(attack.ball, eps=eps))


@every
def test_eps_0_is_the_identity(attack):
    x, y = batch()
    adv = at_eps(attack, 0.0)(Linear(), x, y)
    assert torch.equal(adv, x) and adv.data_ptr() != x.data_ptr()


@judging
@pytest.mark.parametrize("eps", [1e-4, 0.05, 0.5, 3.0])
def test_stays_in_the_ball_and_in_the_pixel_range(attack, eps):
    attack, model, (x, y) = at_eps(attack, eps), Mixed(), batch()
    x = torch.where(x < 0.3, torch.zeros(()), torch.where(x > 0.7, torch.ones(()), x))
    adv = attack(model, x, y, generator=seeded())
    assert adv.shape == x.shape and adv.dtype == torch.float32 and not adv.requires_grad
    assert (attack.ball.distance(adv, x) <= eps + 1e-6).all()
    assert adv.min() >= 0 and adv.max() <= 1
    assert not torch.equal(adv, x)


@every
def test_the_model_comes_out_as_it_went_in(attack):
    model = Mixed().train()
    model.norm.eval()
    model.noise.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    wanted = {name: weight.requires_grad for name, weight in model.named_parameters()}
    weights = copy.deepcopy(model.state_dict())
    random, x = torch.get_rng_state(), batch()[0]
    before = x.clone()
    with torch.no_grad():
        attack(model, x, batch()[1], generator=seeded())
    assert torch.equal(x, before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: weight.requires_grad for name, weight in model.named_parameters()} == wanted
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


@every
def test_gradients_of_weights_are_not_even_computed(attack):
    """`.grad` of before stays, and backward reaches no weight: their hooks stay silent."""
    model, called = Mixed(), []
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    model.first.weight.register_hook(called.append)
    attack(model, *batch(), generator=seeded())
    assert called == []
    assert all((weight.grad == 1).all() for weight in model.parameters())


@every
def test_modes_come_back_after_an_error(attack):
    class Failing(Mixed):
        def forward(self, x):
            raise RuntimeError("no memory")

    model = Failing().train()
    model.norm.eval()
    with pytest.raises(RuntimeError, match="no memory"):
        attack(model, *batch())
    assert model.training and model.drop.training and not model.norm.training
    assert model.first.weight.requires_grad and not model.last.bias.requires_grad


@every
def test_the_default_generator_is_not_the_global_one(attack):
    net = RSE(0.1, 0.1)(BaseNet(dropout=0.5)(10)).train()
    x, y = torch.rand(2, 3, 32, 32, generator=seeded()), torch.tensor([1, 2])
    random = torch.get_rng_state()
    attack(net, x, y)
    assert torch.equal(torch.get_rng_state(), random)


@every
def test_an_empty_batch(attack):
    x, y = batch()
    assert attack(Linear(), x[:0], y[:0]).shape == (0, *SHAPE)


@every
def test_an_attack_is_a_value(attack):
    twin = pickle.loads(pickle.dumps(attack))
    assert twin == attack and hash(twin) == hash(attack) and repr(twin) == repr(attack)
    assert eval(repr(attack)) == attack
    other = at_eps(attack, 0.01)
    assert other != attack and repr(other) != repr(attack)
    with pytest.raises(AttributeError):
        attack.ball = INF


@each
def test_an_image_that_is_not_fooled_does_not_matter_to_the_others(attack):
    """Gradients are summed, so the same start gives the same result in any batch."""
    model, (x, y) = Linear(), batch()
    alone = attack(model, x[:1], y[:1], generator=seeded())
    together = attack(model, x, y, generator=seeded())[:1]
    if not getattr(attack, "random_start", isinstance(attack, Worst)):
        assert torch.allclose(alone, together, atol=1e-6)
    assert model.margin(alone, y[:1]) == pytest.approx(model.margin(together, y[:1]), rel=1e-2)


@pytest.mark.parametrize("name", RANDOM)
def test_starts_are_the_generators(name):
    attack = replace_steps({**ATTACKS, **BLACK_BOX}[name])
    model, (x, y) = Linear(), batch()
    first, again, other = (attack(model, x, y, generator=seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = seeded(1)
    runs = [attack(model, x, y, generator=generator) for _ in range(2)]
    assert torch.equal(runs[0], first) and not torch.equal(runs[1], first)


def replace_steps(attack):
    """One step only, so that a linear model does not bring every start to the same corner."""
    if isinstance(attack, Worst):
        return Worst(tuple(replace_steps(part) for part in attack.attacks))
    if isinstance(attack, Square | NES):
        return replace(attack, queries=getattr(attack, "price", 1))
    return replace(attack, steps=1)


def test_restarts_draw_starts_of_their_own():
    seen = []

    class Recording(Linear):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    model, (x, y) = Recording(bias=1e4), (0.5 * torch.ones(1, *SHAPE), torch.tensor([0]))
    restarts(PGD(INF, steps=1), 3)(model, x, y, generator=seeded())
    starts = seen[::2]  # a gradient, then a verdict
    assert len(starts) == 3
    assert all(not torch.equal(a, b) for a, b in zip(starts, starts[1:] + starts[:1], strict=True))


# --- attacks of one step ---


@pytest.mark.parametrize("seed", [0, 1])
def test_one_step_with_a_random_start_by_hand(seed):
    """FGSM-RS goes back into its ball (Wong et al. 2020), N-FGSM does not (de Jorge 2022)."""
    model, (x, y) = Linear(), batch()
    up = torch.where(y == 0, -1.0, 1.0).reshape(-1, 1, 1, 1) * model.w.detach().sign()
    noise = 2 * torch.rand(x.shape, generator=seeded(seed)) - 1
    eps = INF.eps
    change = ((x + eps * noise).clamp(0, 1) + 1.25 * eps * up - x).clamp(-eps, eps)
    adv = FGSMRS(INF)(model, x, y, generator=seeded(seed))
    assert torch.allclose(adv, (x + change).clamp(0, 1), atol=1e-6)
    wide = ((x + 2 * eps * noise).clamp(0, 1) + eps * up).clamp(0, 1)
    adv = NFGSM(INF)(model, x, y, generator=seeded(seed))
    assert torch.allclose(adv, wide, atol=1e-6)
    assert eps < INF.distance(adv, x).max() <= 3 * eps + 1e-6
    assert torch.allclose(
        NFGSM(INF, noise=0.0)(model, x, y), FGSM(INF)(model, x, y, generator=seeded(3)), atol=1e-6
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NFGSM(INF, noise=-1), "noise is 0 or more, relative to eps, got -1"),
        (lambda: NFGSM(INF, pace=0), "finite length above 0, got 0"),
        (lambda: NFGSM(INF, loss="mse"), "a loss is one of .*, got 'mse'"),
    ],
)
def test_settings_of_one_step(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# --- nets that run in less than float32 ---


class Low(nn.Module):
    """A net whose layers run in bfloat16; keeps the types of what it was given and gave."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.asked, self.told = net, set(), set()

    def forward(self, x):
        self.asked.add(x.dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.net(x)
        self.told.add(logits.dtype)
        return logits


@judging
@pytest.mark.parametrize("around", [False, True], ids=["within the net", "around the attack"])
def test_a_net_in_bfloat16_leaves_images_in_float32(attack, around):
    """Rounded to bfloat16, x + 8/255 leaves the ball by up to 6 % of it."""
    x, y = batch()
    model = Mixed() if around else Low(Mixed())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
        adv = attack(model, x, y, generator=seeded())
    assert adv.dtype == torch.float32 and not torch.equal(adv, x)
    assert (attack.ball.distance(adv, x) <= attack.ball.eps + 1e-6).all()
    assert adv.min() >= 0 and adv.max() <= 1
    if not around:
        assert model.asked == {torch.float32}
        # Who takes gradients takes them through the net as it runs; who only asks forces it.
        asks_only = attack in BLACK_BOX.values()
        assert model.told == {torch.float32 if asks_only else torch.bfloat16}


STEPPING = {k: v for k, v in {**ATTACKS, **BLACK_BOX}.items() if isinstance(v, Iterative)}


@rows(STEPPING)
@pytest.mark.parametrize("around", [False, True], ids=["within the net", "around the attack"])
def test_what_an_attack_remembers_is_float32(attack, around):
    """Losses, directions and best points too: differences of losses decide what is kept."""
    x, y = batch()
    model = Mixed() if around else Low(Mixed())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around), frozen(model):
        state = attack.aim(model, attack.start(x, y, seeded()))
        for _ in range(2):
            state = attack.step(model, state)
        result = attack.result(state)
    kept = {k: v.dtype for k, v in vars(state).items() if isinstance(v, torch.Tensor)}
    assert {d for d in kept.values() if d.is_floating_point} == {torch.float32}, kept
    assert result.dtype == torch.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_a_slope_is_float32(loss):
    net, x, y = trained_like()
    low = Low(net)
    logits = net(x).detach()
    against = {"kl": logits.log_softmax(1), "dlr-targeted": torch.stack([y, (y + 1) % 5], 1)}
    for model, around in ((low, False), (net, True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
            here = slope(model, x, against.get(loss, y), loss)
        for value in (here.loss, here.gradient, here.logits):
            assert value.dtype == torch.float32
        # Computed in float32 from the logits that the net gave, not in bfloat16.
        again = LOSSES[loss](here.logits, against.get(loss, y))
        assert torch.equal(here.loss, again) and not torch.equal(again, again.bfloat16().float())


# --- how attacks compare ---


def trained_like() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A crooked net with labels of its own, so that every image is right before an attack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.GELU(), nn.Flatten(), nn.Linear(576, 5))
        for weight in net.parameters():
            weight.data *= 6
    x = batch(64)[0]
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize("ball", [INF, TWO], ids=repr)
def test_pgd_finds_what_fgsm_steps_over(ball):
    """A valley inside the ball: mistakes are at its bottom, a step of eps lands beyond."""
    reach = ball.eps / (1 if isinstance(ball, Linf) else math.sqrt(math.prod(SHAPE)))

    class Valley(nn.Module):
        def forward(self, x):
            depth = 10 * ((x - 0.5 - 0.4 * reach).abs().mean((1, 2, 3)) - 0.3 * reach)
            return torch.stack([depth, -depth], 1)

    x, y = torch.full((4, *SHAPE), 0.5), torch.zeros(4, dtype=torch.long)
    for attack, fools in ((FGSM(ball), False), (PGD(ball, steps=20), True)):
        fooled = Valley()(attack(Valley(), x, y, generator=seeded())).argmax(1) != y
        assert (fooled == fools).all()


@pytest.mark.parametrize("ball", [Linf(0.02), L2(0.2)], ids=repr)
def test_pgd_is_not_weaker_than_fgsm_on_a_net(ball):
    net, x, y = trained_like()
    gains = [
        F.cross_entropy(net(attack(net, x, y, generator=seeded())), y).item()
        for attack in (FGSM(ball), PGD(ball, steps=40, pace=0.1))
    ]
    assert gains[0] < gains[1] + 1e-3


def test_worst_fools_whatever_a_part_fools():
    net, x, y = trained_like()
    ball = Linf(0.02)
    parts = (FGSM(ball), PGD(ball, steps=3, random_start=False), PGD(ball, steps=20, pace=0.1))
    parts = tuple(replace(part, random_start=False) for part in parts)
    fooled = [net(part(net, x, y)).argmax(1) != y for part in parts]
    together = net(Worst(parts)(net, x, y)).argmax(1) != y
    assert torch.equal(together, fooled[0] | fooled[1] | fooled[2])
    assert 0 < together.sum() < 64


def test_worst_does_not_attack_the_fallen():
    net, x, y = trained_like()
    ball = Linf(0.02)
    first, second = FGSM(ball), PGD(ball, steps=7, random_start=False)
    fallen = int((net(first(net, x, y)).argmax(1) != y).sum())
    assert 0 < fallen < 64
    counting = Counting(net)
    Worst((first, second))(counting, x, y)
    assert counting.seen == 64 * (1 + 1) + (64 - fallen) * (7 + 1)


def test_votes_make_an_attack_ascend_the_expected_loss():
    """Against noise on the logits one draw sees mostly noise; the mean of many does not."""

    class Noisy(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.noise = Noise(1.0)

        def forward(self, x):
            return torch.stack([(self.w * self.noise(self.w * x)).sum((1, 2, 3)) for _ in "ab"], 1)

    counting = Counting(Noisy())
    FGSM(INF)(Votes(counting, 5), *batch(), generator=seeded())
    assert counting.seen == 5 * 8

    class Gated(nn.Module):
        """Which pixels count is drawn anew in each pass."""

        def __init__(self) -> None:
            super().__init__()
            self.drop = Noise(3.0)

        def forward(self, x):
            half = (model.w * (1 + self.drop(torch.zeros_like(x))) * x).sum((1, 2, 3)) / 50
            return torch.stack([half, -half], 1)

    model, (x, y) = Linear(), batch()
    falls = [
        (model.margin(x, y) - model.margin(FGSM(INF)(Votes(Gated(), n), x, y), y)).mean().item()
        for n in (1, 100)
    ]
    most = INF.eps * model.w.abs().sum().item()
    assert falls[0] < 0.6 * most < 0.85 * most < falls[1]


# --- settings ---


@pytest.mark.parametrize("eps", [-0.1, math.nan, math.inf])
@pytest.mark.parametrize("ball", [Linf, L2])
def test_radii_that_are_none(ball, eps):
    with pytest.raises(ValueError, match="eps is a radius of 0 or more"):
        ball(eps)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps must be 1 or more, got 0"),
        *(({"step_size": size}, "finite length above 0") for size in (0, -1, math.nan, math.inf)),
        ({"pace": 0}, "finite length above 0"),
    ],
)
def test_settings_that_make_no_attack(settings, said):
    with pytest.raises(ValueError, match=said):
        PGD(INF, **settings)


def test_cascades_that_make_no_attack():
    with pytest.raises(ValueError, match="at least one"):
        Worst(())
    with pytest.raises(ValueError, match="one ball"):
        Worst((FGSM(INF), FGSM(TWO)))
    with pytest.raises(ValueError, match="restarts must be 1 or more, got 0"):
        restarts(FGSM(INF), 0)


def test_a_relative_and_an_absolute_step_agree():
    model, (x, y) = trained_like()[0], batch(classes=5)
    relative, absolute = PGD(INF, pace=0.2, steps=3), PGD(INF, step_size=0.2 * INF.eps, steps=3)
    assert relative.length == absolute.length
    made = [attack(model, x, y, generator=seeded()) for attack in (relative, absolute)]
    assert torch.equal(*made)


# --- balls ---


@pytest.mark.parametrize("ball", [INF, TWO], ids=repr)
def test_samples_fill_the_ball(ball):
    clean = torch.full((2000, 1, 1, 2), 0.5)
    drawn = ball.sample(clean, seeded())
    distance = ball.distance(drawn, clean)
    assert (distance <= ball.eps + 1e-6).all()
    # Uniform in two dimensions: a quarter lies within half the radius.
    assert (distance < ball.eps / 2).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert torch.allclose((drawn - clean).mean((0, 1, 2)), torch.zeros(2), atol=0.03)


@pytest.mark.parametrize("ball", [INF, TWO], ids=repr)
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e30])
def test_a_step_is_as_long_however_small_the_gradient(ball, scale):
    """Saturated nets have tiny gradients, whose direction still counts."""
    clean, gradient = torch.full((4, *SHAPE), 0.5), torch.randn(4, *SHAPE, generator=seeded())
    moved = ball.ascend(clean, scale * gradient, 0.01)
    assert torch.allclose(ball.distance(moved, clean), torch.full((4,), 0.01), rtol=1e-4)
    assert torch.equal(ball.ascend(clean, 0 * gradient, 0.01), clean)


@judging
def test_gradients_that_are_not_numbers_leave_images(attack):
    class Root(Linear):
        """The gradient of a square root at 0 is infinite, and times 0 not a number."""

        def forward(self, x):
            return super().forward(x) + (0 * x[:, :1, :1, :1].sqrt().flatten(1))

    x, y = batch()
    x[:, :, 0, 0] = 0
    adv = attack(Root(), x, y, generator=seeded())
    assert torch.isfinite(adv).all() and adv.min() >= 0 and adv.max() <= 1
    assert (attack.ball.distance(adv, x) <= attack.ball.eps + 1e-6).all()


def test_frozen_is_put_back_layer_by_layer_when_nested():
    model = Mixed().train()
    model.norm.eval()
    with frozen(model):
        with frozen(model):
            pass
        assert not any(module.training for module in model.modules())
        assert not any(weight.requires_grad for weight in model.parameters())
    assert model.training and not model.norm.training and not model.last.bias.requires_grad
