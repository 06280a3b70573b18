"""The contract of every attack, one table row each, on problems whose answer is known by hand."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from attack_cases import (
    ATTACKS,
    BLACK_BOX,
    L2_BALL,
    LINF,
    SHAPE,
    LinearModel,
    StatefulNet,
    each_attack,
    each_evaluation_attack,
    each_optimal_attack,
    random_batch,
)
from reproducibility import seeded_generator
from small_nets import CountingNet, self_labelled_problem
from torch import Tensor

import adv
from adv import (
    APGD,
    DDN,
    FMN,
    L2,
    NES,
    NFGSM,
    PGD,
    RSE,
    BaseNet,
    Ladder,
    Linf,
    ProbabilityMargin,
    Square,
    Worst,
    restarts,
)
from adv.attacks.attack import DEFAULT_SEED, Iterative

RANDOM = ["pgd-linf", "pgd-linf-absolute", "pgd-l2", "pgd-l2-absolute", "restarts-linf"]
RANDOM += ["square-linf", "square-l2", "nes-linf", "nes-l2", "apgd-linf", "apgd-l2"]


def optimum(model: LinearModel, ball, x, y):
    """Return the smallest margin in the ball and in [0, 1], if each free pixel can move by eps."""
    down = -torch.where(y == 0, 1, -1).reshape(-1, 1, 1, 1) * model.w.detach()
    room = torch.where(down > 0, 1 - x, x)
    if isinstance(ball, Linf):
        return model.margin(x, y) - (down.abs() * room.clamp(max=ball.eps)).sum((1, 2, 3))
    assert ((room == 0) | (room > ball.eps / 2)).all()
    free = (down * (room > 0)).flatten(1)
    return model.margin(x, y) - ball.eps * free.norm(dim=1)


# --- closed form ---


@each_optimal_attack
def test_reaches_the_optimum_of_a_linear_model(attack):
    model, (x, y) = LinearModel(), random_batch()
    x = 0.3 + 0.4 * x  # away from the pixel limits
    model.b.data -= model.margin(x, y * 0).mean()
    best = optimum(model, attack.ball, x, y)
    norm = model.w.abs().sum() if attack.ball is LINF else model.w.norm()
    assert torch.allclose(best, model.margin(x, y) - attack.ball.eps * norm, atol=1e-5)
    fell = model.margin(x, y) - model.margin(attack(model, x, y, generator=seeded_generator()), y)
    # A cascade stops at the first attack that fools, whose loss need not be the largest.
    assert torch.allclose(fell, attack.ball.eps * norm.detach(), rtol=1e-3)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name != "fgsm-l2"])
@pytest.mark.parametrize("share", [0.5, 1.0], ids=["half the pixels", "every pixel"])
def test_reaches_the_optimum_at_the_pixel_limits(name, share):
    """Pixels of exactly 0 and 1 can move one way only."""
    attack, model, (x, y) = ATTACKS[name], LinearModel(), random_batch()
    x = torch.where(
        torch.rand(x.shape, generator=seeded_generator(1)) < share, x.round(), 0.3 + 0.4 * x
    )
    best = optimum(model, attack.ball, x, y)
    reached = model.margin(attack(model, x, y, generator=seeded_generator()), y)
    most = model.margin(x, y) - best
    # An L2 step wastes the part that [0, 1] cuts off: a quarter of eps costs about a hundredth.
    coarse = attack.ball is L2_BALL and name == "pgd-l2"
    assert (reached - best <= (0.03 if coarse else 2e-3) * most).all()
    assert (reached >= best - 1e-5).all()


@each_optimal_attack
@pytest.mark.parametrize("side", [0.98, 1.02], ids=["just within", "just beyond"])
def test_fools_beyond_the_known_distance_and_not_within(attack, side):
    model, (x, _) = LinearModel(), random_batch()
    x, y = 0.3 + 0.4 * x[:1], torch.zeros(1, dtype=torch.long)
    norm = (model.w.abs().sum() if isinstance(attack.ball, Linf) else model.w.norm()).item()
    model.b.data += attack.ball.eps * norm / side - model.margin(x, y).item()
    fooled = model(attack(model, x, y, generator=seeded_generator())).argmax(1) != y
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


@each_attack
@pytest.mark.parametrize("how", UNFIT)
def test_rejects_invalid_images(attack, how):
    model = CountingNet(LinearModel())
    with pytest.raises(ValueError, match=r"labels" if "labels" in how else r"\[0, 1\]") as error:
        attack(model, *UNFIT[how](*random_batch()))
    assert "\n" not in str(error.value) and model.seen == 0


def at_eps(attack, eps):
    if isinstance(attack, Worst):
        return Worst(tuple(at_eps(part, eps) for part in attack.attacks))
    return replace(attack, ball=replace(attack.ball, eps=eps))


@each_attack
def test_eps_0_is_the_identity(attack):
    x, y = random_batch()
    adv = at_eps(attack, 0.0)(LinearModel(), x, y)
    assert torch.equal(adv, x) and adv.data_ptr() != x.data_ptr()


@each_evaluation_attack
@pytest.mark.parametrize("eps", [1e-4, 0.05, 0.5, 3.0])
def test_stays_in_the_ball_and_in_the_pixel_range(attack, eps):
    attack, model, (x, y) = at_eps(attack, eps), StatefulNet(), random_batch()
    x = torch.where(x < 0.3, torch.zeros(()), torch.where(x > 0.7, torch.ones(()), x))
    adv = attack(model, x, y, generator=seeded_generator())
    assert adv.shape == x.shape and adv.dtype == torch.float32 and not adv.requires_grad
    assert (attack.ball.distance(adv, x) <= eps + 1e-6).all()
    assert adv.min() >= 0 and adv.max() <= 1
    assert not torch.equal(adv, x)


@each_attack
def test_the_model_is_unchanged(attack):
    model = StatefulNet().train()
    model.norm.eval()
    model.noise.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    wanted = {name: weight.requires_grad for name, weight in model.named_parameters()}
    weights = copy.deepcopy(model.state_dict())
    random, x = torch.get_rng_state(), random_batch()[0]
    before = x.clone()
    with torch.no_grad():
        attack(model, x, random_batch()[1], generator=seeded_generator())
    assert torch.equal(x, before)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: weight.requires_grad for name, weight in model.named_parameters()} == wanted
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)


@each_attack
def test_gradients_of_weights_are_not_even_computed(attack):
    """An earlier `.grad` stays, and backward reaches no weight: their hooks are not called."""
    model = StatefulNet()
    called: list[Tensor] = []
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    model.first.weight.register_hook(called.append)
    attack(model, *random_batch(), generator=seeded_generator())
    assert called == []
    gradients = [weight.grad for weight in model.parameters()]
    assert all(gradient is not None and (gradient == 1).all() for gradient in gradients)


@each_attack
def test_modes_come_back_after_an_error(attack):
    class Failing(StatefulNet):
        def forward(self, x):
            raise RuntimeError("no memory")

    model = Failing().train()
    model.norm.eval()
    with pytest.raises(RuntimeError, match="no memory"):
        attack(model, *random_batch())
    assert model.training and model.drop.training and not model.norm.training
    assert model.first.weight.requires_grad and not model.last.bias.requires_grad


@each_attack
def test_the_default_generator_is_not_the_global_one(attack):
    net = RSE(0.1, 0.1)(BaseNet(dropout=0.5)(10)).train()
    x, y = torch.rand(2, 3, 32, 32, generator=seeded_generator()), torch.tensor([1, 2])
    random = torch.get_rng_state()
    attack(net, x, y)
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("name", RANDOM)
def test_two_equal_calls_without_a_generator_give_the_same_images(name):
    """The seed of such a call is a constant; one generator for a whole process made them differ."""
    attack = replace_steps({**ATTACKS, **BLACK_BOX}[name])
    model, (x, y) = LinearModel(), random_batch()
    first, again = attack(model, x, y), attack(model, x, y)
    assert torch.equal(first, again)
    seed = torch.Generator().manual_seed(DEFAULT_SEED)
    assert torch.equal(first, attack(model, x, y, generator=seed))


def test_batch_mixing_without_a_generator_is_repeatable():
    model, (x, y) = LinearModel(), random_batch()
    first, again = (Ladder(LINF, steps=3)(model, x, y) for _ in range(2))
    assert torch.equal(first, again)


@each_attack
def test_an_empty_batch(attack):
    x, y = random_batch()
    assert attack(LinearModel(), x[:0], y[:0]).shape == (0, *SHAPE)


@each_attack
def test_an_attack_is_a_value(attack):
    twin = pickle.loads(pickle.dumps(attack))
    assert twin == attack and hash(twin) == hash(attack) and repr(twin) == repr(attack)
    assert eval(repr(attack), {name: getattr(adv, name) for name in dir(adv)}) == attack
    other = at_eps(attack, 0.01)
    assert other != attack and repr(other) != repr(attack)
    with pytest.raises(AttributeError):
        attack.ball = LINF


@each_optimal_attack
def test_an_image_that_is_not_fooled_does_not_matter_to_the_others(attack):
    """Gradients are summed, so the same start gives the same result in any batch."""
    model, (x, y) = LinearModel(), random_batch()
    alone = attack(model, x[:1], y[:1], generator=seeded_generator())
    together = attack(model, x, y, generator=seeded_generator())[:1]
    if not getattr(attack, "random_start", isinstance(attack, Worst)):
        assert torch.allclose(alone, together, atol=1e-6)
    assert model.margin(alone, y[:1]) == pytest.approx(model.margin(together, y[:1]), rel=1e-2)


@pytest.mark.parametrize("name", RANDOM)
def test_starts_are_the_generators(name):
    attack = replace_steps({**ATTACKS, **BLACK_BOX}[name])
    model, (x, y) = LinearModel(), random_batch()
    first, again, other = (attack(model, x, y, generator=seeded_generator(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    generator = seeded_generator(1)
    runs = [attack(model, x, y, generator=generator) for _ in range(2)]
    assert torch.equal(runs[0], first) and not torch.equal(runs[1], first)


def replace_steps(attack):
    """Return the attack with one step, so that different starts end at different points."""
    if isinstance(attack, Worst):
        return Worst(tuple(replace_steps(part) for part in attack.attacks))
    if isinstance(attack, Square | NES):
        return replace(attack, queries=getattr(attack, "price", 1))
    return replace(attack, steps=1)


def test_restarts_draw_starts_of_their_own():
    seen = []

    class Recording(LinearModel):
        def forward(self, x):
            seen.append(x.detach().clone())
            return super().forward(x)

    model, (x, y) = Recording(bias=1e4), (0.5 * torch.ones(1, *SHAPE), torch.tensor([0]))
    for generator in (seeded_generator(), None):
        seen.clear()
        restarts(PGD(LINF, steps=1), 3)(model, x, y, generator=generator)
        starts = seen[::2]  # a gradient, then a prediction
        pairs = zip(starts, starts[1:] + starts[:1], strict=True)
        assert len(starts) == 3 and all(not torch.equal(a, b) for a, b in pairs)


VARIANTS: dict[str, Sequence[Iterative]] = {
    "pgd": [PGD(LINF), PGD(Linf(0.2), 7, pace=1), PGD(LINF, step_size=0.3, random_start=False)],
    "pgd dlr": [PGD(LINF, loss="dlr-targeted", target=k) for k in (1, 2)],
    "pgd ce": [
        PGD(LINF, loss="ce-targeted", target=2),
        PGD(LINF, loss="ce-targeted", target_class=2),
        PGD(LINF, loss="ce-targeted", target_class="least-likely"),
    ],
    "pgd cosine": [PGD(b, 7, pace=2, schedule="cosine") for b in (LINF, Linf(0.2))],
    "pma": [ProbabilityMargin(LINF), ProbabilityMargin(Linf(0.2))],
    "n-fgsm": [NFGSM(LINF), NFGSM(Linf(0.2), noise=1, pace=2)],
    "apgd": [APGD(L2_BALL, loss="dlr-targeted", target=k) for k in (1, 2)],
    "square": [Square(L2_BALL, 9), Square(L2(0.1), 9)],
    "square targeted": [Square(LINF, 9, loss="margin-targeted", target_class=k) for k in (1, 2)],
    "fmn": [FMN(LINF), FMN(Linf(0.2))],
    "ddn": [DDN(L2_BALL), DDN(L2(2.0))],
    "nes": [NES(LINF, 33, 10), NES(Linf(0.2), 33, 10, step_size=0.3)],
}


@pytest.mark.parametrize("name", VARIANTS)
def test_equal_step_keys_mean_equal_steps(name):
    """A step reads radius and step size from the state: each of these may step for the others."""
    net, x, y = self_labelled_problem()
    one, *others = VARIANTS[name]
    state = one.prepare(net, one.start(x, y, seeded_generator()))
    expected = one.step(net, state)
    for other in others:
        assert other.step_key() == one.step_key() and other != one
        after = other.step(net, state)
        for field in fields(expected):
            a, b = getattr(expected, field.name), getattr(after, field.name)
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def test_different_steps_have_different_keys():
    attacks = [
        *(PGD(LINF), PGD(L2_BALL), PGD(LINF, loss="dlr"), NFGSM(LINF), NFGSM(LINF, loss="kl")),
        *(APGD(LINF), APGD(LINF, steps=9), Square(LINF), Square(LINF, 9), Square(LINF, p=0.5)),
        *(PGD(LINF, schedule="cosine"), PGD(LINF, steps=9, schedule="cosine")),
        *(ProbabilityMargin(LINF), ProbabilityMargin(LINF, 9), ProbabilityMargin(LINF, 9, "wrong")),
        *(Square(LINF, loss="margin-targeted"), APGD(LINF, loss="margin-targeted")),
        *(NES(LINF), NES(LINF, momentum=0.5), NES(LINF, sigma=0.1)),
    ]
    assert len({attack.step_key() for attack in attacks}) == len(attacks)
