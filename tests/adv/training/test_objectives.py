"""Objectives: one contract for all, and each beside a plain PyTorch loop written by hand."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from reproducibility import bit_equal, save_and_load, seeded_generator
from small_nets import BatchNormNet
from torch import nn

from adv import (
    AWP,
    GAT,
    LIET,
    MART,
    NFGSM,
    PGD,
    PGI,
    PNI,
    RSE,
    SGD,
    TRADES,
    AdamW,
    Batch,
    Curriculum,
    Generated,
    GradAlign,
    Lesson,
    Linf,
    Madry,
    MCDropout,
    Mixed,
    NuAT,
    Paired,
    Projection,
    Ramp,
    Recipe,
    SpectralNorm,
    TestNoise,
    build,
    train,
)
from adv.models import Normalize
from adv.runtime.random_streams import derive_seed
from adv.training.objective import Objective
from adv.training.optimizers import parameter_groups

OBJECTIVES = {
    "mixed": Mixed(),
    "madry": Madry(),
    "paired": Paired(0.3),
    "trades": TRADES(6.0),
    "mart": MART(5.0),
    "awp-madry": AWP(Madry()),
    "awp-trades": AWP(TRADES(6.0), gamma=0.005),
    "awp-late": AWP(MART(), warmup=0.5),
    "nuat": NuAT(),
    "gat": GAT(),
    "grad-align": GradAlign(),
    "liet": LIET(),
    "pgi": PGI(),
    "awp-pgi": AWP(PGI(momentum=0.0)),
}
each = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
EPS, STEP, STEPS = 0.03, 0.01, 2


@pytest.fixture
def problem(digits):
    """A net in training mode, and a batch of 24 images half of which are to be attacked."""
    net = build(Recipe(net=BatchNormNet(dropout=0.2), defences=(RSE(0.1, 0.1),)), 10, 3)
    split = digits.train.head(24)
    lesson = Lesson(PGD(Linf(EPS), steps=STEPS, step_size=STEP), 0.5)
    memories = [objective.memory(split, 10) for objective in OBJECTIVES.values()]
    return net, Batch(
        *(split.images.float() / 255, split.labels, lesson),
        generator=seeded_generator(8),
        indices=torch.arange(24),
        memory={name: tensor for memory in memories for name, tensor in memory.items()},
    )


def anew(batch: Batch, **changes) -> Batch:
    """Return the batch as it was, with a copy of its memory, and with some changes."""
    memory = copy.deepcopy(batch.memory)
    return replace(batch, generator=seeded_generator(8), memory=memory, **changes)


def gradients(net: nn.Module) -> list[torch.Tensor]:
    return [w.grad.clone() for w in net.parameters() if w.grad is not None]


# --- the contract ---


@each
def test_is_a_value(objective):
    assert pickle.loads(pickle.dumps(objective)) == objective
    assert hash(replace(objective)) == hash(objective)
    assert eval(repr(objective)) == objective


@each
def test_leaves_a_gradient_and_nothing_else(objective, problem):
    net, batch = problem
    frozen_bias = net[-1].bias.requires_grad_(False)
    net[2][1].eval() if isinstance(net[2], nn.Sequential) else net[2].eval()
    modes = [m.training for m in net.modules()]
    weights, before = copy.deepcopy(list(net.parameters())), torch.get_rng_state()
    pixels = batch.x.clone()
    outcome = objective(net, replace(batch, elapsed=1.0))
    assert bit_equal(list(net.parameters()), weights) and torch.equal(batch.x, pixels)
    assert [m.training for m in net.modules()] == modes
    assert not frozen_bias.requires_grad and frozen_bias.grad is None
    assert all(w.grad is not None for w in net.parameters() if w is not frozen_bias)
    assert torch.equal(torch.get_rng_state(), before)
    assert outcome.loss.dim() == 0 and outcome.loss.isfinite()


@each
def test_says_what_it_saw(objective, problem):
    net, batch = problem
    outcome = objective(net, batch)
    clean, adv = outcome.correct(batch.y)
    assert len(adv) == objective.attacked_share(batch.lesson) * 24
    assert len(clean) in (0, 24 - len(adv), 24) and clean.dtype == adv.dtype == torch.bool
    right = outcome.adv.argmax(1) == batch.y[: len(adv)]
    assert torch.equal(right, adv)
    if len(clean):
        assert torch.equal(outcome.clean.argmax(1) == batch.y[-len(clean) :], clean)


@each
def test_probabilities_are_labels_too(objective, problem):
    """Certain ones mean what classes mean; uncertain ones something else."""
    net, batch = problem
    sure = F.one_hot(batch.y, 10).float()
    grads = []
    for y in (batch.y, sure, 0.7 * sure + 0.3 * sure.roll(1, 0)):
        twin = copy.deepcopy(net)
        objective(twin, anew(batch, y=y))
        grads.append(gradients(twin))
    for plain, certain in zip(*grads[:2], strict=True):
        assert torch.allclose(plain, certain, atol=1e-5, rtol=1e-4)
    assert not all(torch.allclose(a, c, atol=1e-3) for a, c in zip(grads[0], grads[2], strict=True))


@each
def test_smoothing_is_that_of_the_labels(objective, problem):
    """Zero is none; and it changes the gradient, not the attack."""
    net, batch = problem
    seen = []
    for smoothing in (0.0, 0.0, 0.2):
        twin = copy.deepcopy(net)
        adv = objective.attack(twin, anew(batch, smoothing=smoothing))
        outcome = objective.forward(copy.deepcopy(net), replace(batch, smoothing=smoothing), adv)
        seen.append((adv, outcome.loss))
    assert bit_equal(seen[0], seen[1]) and torch.equal(seen[0][0], seen[2][0])
    assert seen[2][1] != seen[0][1]


@each
@pytest.mark.parametrize("attack", [PGD(Linf(0.0)), NFGSM(Linf(EPS))], ids=["nothing", "n-fgsm"])
def test_works_with_any_training_attack(objective, problem, attack):
    net, batch = problem
    objective(net, replace(batch, lesson=Lesson(attack, 0.5)))
    assert all(g.isfinite().all() for g in gradients(net))


@each
def test_statistics_are_learned_where_the_net_learns(objective, problem):
    """BatchNorm counts the passes in training mode: none for the attack, nor for AWP's ascent."""
    net, batch = problem
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert norm.running_mean is not None
    start = norm.running_mean.clone()
    objective.attack(net, batch)
    assert norm.num_batches_tracked == 0 and torch.equal(norm.running_mean, start)
    objective(net, replace(batch, elapsed=1.0))
    assert norm.num_batches_tracked == 1 + objective_of(objective).extra_passes
    assert not torch.equal(norm.running_mean, start)


def objective_of(objective: Objective) -> Objective:
    return objective.objective if isinstance(objective, AWP) else objective


@each
def test_counts_its_passes(objective, problem):
    """As many images through the net, forward and backward, as it says."""
    net, batch = problem
    seen = []
    net[-1].register_full_backward_hook(lambda module, *_: seen.append(module.training))
    net[-1].register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    sizes = []
    handle = net.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    objective(net, replace(batch, elapsed=1.0))
    handle.remove()
    told = replace(objective, warmup=0.0) if isinstance(objective, AWP) else objective
    # TRADES' aim: forward only; LIET's grey images: in every 20th update.
    extra = {TRADES: 24, LIET: 10}.get(type(objective_of(objective)), 0)
    assert sum(sizes) - extra == told.passes(batch.lesson) * 24


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Paired(1.5), r"clean weight lies in \[0, 1\], got 1.5"),
        (lambda: TRADES(-1), "beta is 0 or more, got -1"),
        (lambda: MART(float("nan")), "beta is 0 or more, got nan"),
        (lambda: AWP(Madry(), gamma=1.0), r"gamma lies in \[0, 1\), got 1.0"),
        (lambda: AWP(Madry(), warmup=2), r"in \[0, 1\], got 2"),
        (lambda: NuAT(-1.0), "a weight is 0 or more, got -1"),
        (lambda: GAT(float("inf")), "a weight is 0 or more, got inf"),
        (lambda: GradAlign(Ramp(1.0, -1.0)), "a weight is 0 or more, got Ramp"),
        (lambda: LIET(least=0.6), r"lies in \[0, 1\], least before most, got 0.6 and 0.5"),
        (lambda: LIET(refresh=0), "refresh is 1 update or more, got 0"),
        (lambda: PGI(momentum=1.0), r"momentum lies in \[0, 1\), got 1.0"),
        (lambda: PGI(reset=0.0), r"reset is a share of the training in \(0, 1\], got 0"),
        (
            lambda: Recipe(objective=AWP(PGI()), generated=Generated("a.npz")),
            "generated images would take their places",
        ),
        (lambda: Recipe(smoothing=1.0), r"smoothing lies in \[0, 1\), got 1.0"),
        (lambda: Recipe(clip=0.0), "clipped to a length above 0, got 0"),
    ],
)
def test_settings_out_of_range(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# --- beside a plain loop ---


def kl(clean, bad):
    """As one writes it in PyTorch; against its definition below."""
    clean, bad = clean.log_softmax(1), bad.log_softmax(1)
    return F.kl_div(bad, clean, reduction="none", log_target=True).sum(1)


def test_kl_by_its_definition():
    clean, bad = torch.randn(2, 5, 10, generator=seeded_generator(0)).unbind()
    p, q = clean.softmax(1), bad.softmax(1)
    assert torch.allclose(kl(clean, bad), (p * (p.log() - q.log())).sum(1), atol=1e-6)


def attacked(net, x, y, generator, divergent=False):
    """PGD as one writes it in PyTorch."""
    net.eval()
    clean = net(x).detach()
    adv = (x + EPS * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
    for _ in range(STEPS):
        adv.requires_grad_()
        logits = net(adv)
        loss = kl(clean, logits).sum() if divergent else F.cross_entropy(logits, y, reduction="sum")
        (grad,) = torch.autograd.grad(loss, adv)
        adv = torch.min(torch.max(adv.detach() + STEP * grad.sign(), x - EPS), x + EPS).clamp(0, 1)
    net.train()
    return adv


def madry(net, x, y, adv):
    return F.cross_entropy(net(adv), y)


def paired(net, x, y, adv):
    return 0.3 * F.cross_entropy(net(x), y) + 0.7 * F.cross_entropy(net(adv), y)


def trades(net, x, y, adv):
    clean, bad = net(x), net(adv)
    return F.cross_entropy(clean, y) + 6.0 * kl(clean, bad).sum() / len(x)


def mart(net, x, y, adv):
    clean, bad = net(x).softmax(1), net(adv).softmax(1)
    order = bad.argsort(1)
    wrong = torch.where(order[:, -1] == y, order[:, -2], order[:, -1])
    rows = torch.arange(len(y))
    boosted = -bad[rows, y].log() - (1.0001 - bad[rows, wrong]).log()
    apart = (clean * (clean.log() - bad.log())).sum(1) * (1 - clean[rows, y])
    return (boosted + 5.0 * apart).mean()


def perturbed(net, loss_of, gamma):
    """AWP as published: the step of a copy, rescaled, added, and taken back."""
    proxy = copy.deepcopy(net)
    (-loss_of(proxy)).backward()
    torch.optim.SGD(proxy.parameters(), lr=0.01).step()
    moves = {}
    for (name, old), new in zip(net.named_parameters(), proxy.parameters(), strict=True):
        if old.dim() > 1:
            move = (new - old).detach()
            moves[name] = gamma * old.detach().norm() / move.norm() * move
    for name, weight in net.named_parameters():
        weight.data += moves.get(name, 0)
    loss_of(net).backward()
    for name, weight in net.named_parameters():
        weight.data -= moves.get(name, 0)


LOOPS = {
    "madry": (Madry(), madry, False, None),
    "paired": (Paired(0.3), paired, False, None),
    "trades": (TRADES(6.0), trades, True, None),
    "mart": (MART(5.0), mart, False, None),
    "awp": (AWP(Madry(), 0.02), madry, False, 0.02),
    "awp-trades": (AWP(TRADES(6.0), 0.005), trades, True, 0.005),
}


@pytest.mark.parametrize(("objective", "loss", "divergent", "gamma"), LOOPS.values(), ids=LOOPS)
def test_trains_the_net_that_a_plain_loop_trains(digits, objective, loss, divergent, gamma):
    """Two epochs of two batches, BatchNorm and Nesterov momentum: the same weights and buffers.

    Of TRADES under AWP, one update: the published way rounds where ours puts back bits, and the
    signs of a divergence's slope turn on such a difference.
    """
    epochs, images = (1, 16) if gamma and divergent else (2, 32)
    optimizer = SGD(lr=0.05, weight_decay=0.01)
    curriculum = Curriculum(eps=EPS, steps=STEPS, pace=STEP / EPS)
    recipe = Recipe(
        net=BatchNormNet(),
        optimizer=optimizer,
        curriculum=curriculum,
        objective=objective,
        epochs=epochs,
        batch=16,
    )
    split, seed = digits.train.head(images), 5
    net = build(recipe, 10, seed)
    next(m for m in net.modules() if isinstance(m, Normalize)).fit(split.images)
    opt = torch.optim.SGD(net.parameters(), 0.05, 0.9, weight_decay=0.01, nesterov=True)
    orders, starts = seeded_generator(derive_seed(seed, 2)), seeded_generator(derive_seed(seed, 4))
    for _ in range(epochs):
        for ids in torch.randperm(images, generator=orders).split(16):
            x, y = split.images[ids].float() / 255, split.labels[ids]
            x = x.contiguous(memory_format=torch.channels_last)  # as ours: convolutions round alike
            adv = attacked(net, x, y, starts, divergent)
            opt.zero_grad()
            if gamma is None:
                loss(net, x, y, adv).backward()
            else:
                perturbed(net, lambda net, x=x, y=y, adv=adv: loss(net, x, y, adv), gamma)
            opt.step()
    *_, last = train(recipe, split, classes=10, seed=seed)
    untrained = build(recipe, 10, seed).state_dict()
    for name, value in last.net.state_dict().items():
        assert torch.allclose(value, net.state_dict()[name], atol=2e-5, rtol=1e-4), name
        assert name.startswith("0.") or not torch.equal(value, untrained[name])


# --- one by one ---


def test_trades_attacks_what_its_beta_weighs(problem):
    """Its inner attack raises the divergence from the clean prediction, knowing no label."""
    net, batch = problem
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if hasattr(module, "sigma"):
            module.sigma = 0.0
    ours = TRADES().attack(net, replace(batch, generator=seeded_generator(1)))
    other = replace(batch, y=batch.y.roll(1), generator=seeded_generator(1))
    assert torch.equal(ours, TRADES().attack(net, other))
    theirs = Madry().attack(net, replace(batch, generator=seeded_generator(1)))
    clean = net(batch.x)
    assert kl(clean, net(ours)).mean() > kl(clean, net(theirs)).mean()


def test_logarithms_survive_certainty(problem):
    """Logits of thousands: the loss and its gradient stay finite, in bf16 too."""
    net, batch = problem
    net[-1].weight.data *= 1e4
    for objective in (TRADES(), MART()):
        for dtype in (torch.float32, torch.bfloat16):
            certain = nn.Sequential(net, Cast(dtype))
            outcome = objective(certain, batch)
            assert outcome.loss.dtype == torch.float32 and outcome.loss.isfinite()
            assert all(g.isfinite().all() for g in gradients(net))


class Cast(nn.Module):
    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x.to(self.dtype)


@pytest.mark.parametrize("spectral", [False, True])
def test_awp_puts_everything_back(problem, spectral):
    """Weights bit for bit, whatever is raised; parametrized ones too; buffers but for one pass."""
    net, batch = problem
    if spectral:
        nn.utils.parametrizations.spectral_norm(net[-1])
    weights = copy.deepcopy(list(net.parameters()))
    plain, lifted = copy.deepcopy(net), copy.deepcopy(net)
    Madry()(plain, replace(batch, generator=seeded_generator(8)))
    AWP(Madry(), gamma=0.05)(lifted, replace(batch, generator=seeded_generator(8)))
    assert bit_equal(list(lifted.parameters()), weights)
    apart = [torch.equal(a, b) for a, b in zip(gradients(plain), gradients(lifted), strict=True)]
    assert not any(apart)
    seen = []

    class Broken(Madry):
        def forward(self, net, batch, adv):
            seen.append(copy.deepcopy(list(net.parameters())))
            if len(seen) == 2:
                raise RuntimeError("stop")
            return super().forward(net, batch, adv)

    with pytest.raises(RuntimeError, match="stop"):
        AWP(Broken(), gamma=0.05)(net, batch)
    assert bit_equal(list(net.parameters()), weights)
    for before, moved in zip(weights, seen[1], strict=True):
        if before.dim() > 1:
            assert (moved - before).norm().item() == pytest.approx(
                0.05 * before.norm().item(), rel=1e-3
            )
        else:
            assert torch.equal(before, moved)


def test_awp_begins_after_its_warm_up(problem):
    net, batch = problem
    ends = []
    for objective, elapsed in ((Madry(), 0), (AWP(Madry(), warmup=0.5), 0.4), (AWP(Madry()), 0.4)):
        twin = copy.deepcopy(net)
        objective(twin, replace(batch, elapsed=elapsed, generator=seeded_generator(8)))
        ends.append(gradients(twin))
    assert bit_equal(ends[0], ends[1]) and not bit_equal(ends[0], ends[2])


# --- what updates obey ---


class Spared(nn.Module):
    """A layer that learns how much it scales, and does not want that to decay."""

    undecayed = ("alpha",)

    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((2, 2), 0.5))
        self.other = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return x * self.alpha.mean() * self.other.mean()


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, weight_decay=0.5), AdamW(0.1, 0.5)], ids=repr)
def test_what_a_module_spares_does_not_decay(optimizer):
    net = nn.Sequential(nn.Linear(2, 2), Spared())
    assert [len(g["params"]) for g in parameter_groups(net)] == [3, 1]
    assert len(parameter_groups(net[0])) == 1
    before = copy.deepcopy(list(net.parameters()))
    for weight in net.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer(net).step()
    for (name, weight), old in zip(net.named_parameters(), before, strict=True):
        assert torch.equal(weight, old) == (name == "1.alpha"), name


def test_awp_leaves_alone_what_is_spared():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), Spared())
    seen = []

    class Spy(Madry):
        def forward(self, net, batch, adv):
            seen.append(copy.deepcopy(dict(net.named_parameters())))
            return super().forward(net, batch, adv)

    x, lesson = (
        torch.rand(4, 3, 2, 2, generator=seeded_generator(0)),
        Lesson(PGD(Linf(0.1), steps=1)),
    )
    AWP(Spy())(net, Batch(x, torch.tensor([0, 1, 2, 0]), lesson))
    moved = {name for name in seen[0] if not torch.equal(seen[0][name], seen[1][name])}
    assert moved == {"1.weight"}


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_a_long_gradient_is_clipped(digits, clip):
    """SGD without momentum goes no further than lr times the clip."""
    recipe = Recipe(
        net=BatchNormNet(),
        optimizer=SGD(lr=1.0, weight_decay=0, momentum=0),
        curriculum=Curriculum(fraction=0),
        epochs=1,
        batch=32,
        clip=clip,
    )
    (epoch,) = train(recipe, digits.train.head(32), classes=10, seed=0)
    start = build(recipe, 10, 0)
    apart = [(a - b).flatten() for a, b in zip(epoch.net.parameters(), start.parameters())]  # noqa: B905
    gone = torch.cat(apart).norm().item()
    assert gone == pytest.approx(clip, rel=1e-3) if clip < 1 else 0.1 < gone < clip


def test_smoothing_in_closed_form(digits):
    recipe = Recipe(
        net=BatchNormNet(),
        optimizer=SGD(lr=1e-12),
        curriculum=Curriculum(fraction=0),
        epochs=1,
        batch=32,
        smoothing=0.1,
    )
    split = digits.train.head(32)
    (epoch,) = train(recipe, split, classes=10, seed=0)
    log_p = epoch.net.train()(split.images.float() / 255).log_softmax(1)
    target = 0.9 * F.one_hot(split.labels, 10) + 0.01
    assert epoch.metrics["loss"] == pytest.approx(-(target * log_p).sum(1).mean().item(), rel=1e-4)


# --- going on ---


@each
def test_going_on_is_never_having_stopped(digits, objective):
    recipe = Recipe(
        net=BatchNormNet(dropout=0.3),
        defences=(RSE(0.1, 0.1),),
        optimizer=SGD(lr=0.01),
        curriculum=Curriculum(eps=EPS, steps=2),
        objective=objective,
        epochs=2,
        batch=20,
        smoothing=0.1,
        clip=1.0,
    )
    split = digits.train.head(40)
    states = [epoch.state() for epoch in train(recipe, split, classes=10, seed=2)]
    (again,) = train(recipe, split, classes=10, seed=2, state=save_and_load(states[0]))
    assert bit_equal(again.state(), states[1]) and not bit_equal(states[0]["net"], states[1]["net"])


DEFENCES = {
    "pni": PNI(granularity="element"),
    "dropout": MCDropout(),
    "noise": TestNoise(0.1),
    "spectral": SpectralNorm(),
    "lipschitz": SpectralNorm("convolution"),
    "projection": Projection(20, learnable=True),
}


@pytest.mark.parametrize("defence", DEFENCES.values(), ids=DEFENCES)
def test_every_defence_trains_with_everything_on(digits, defence):
    """AWP over TRADES, an average, clipping and smoothing: it goes on bit for bit."""
    recipe = Recipe(
        net=BatchNormNet(dropout=0.3),
        defences=(defence,),
        optimizer=SGD(lr=0.01),
        curriculum=Curriculum(eps=EPS, kind="n-fgsm"),
        objective=AWP(TRADES()),
        epochs=2,
        batch=16,
        smoothing=0.1,
        ema=0.9,
        clip=1.0,
    )
    split, random = digits.train.head(32), torch.get_rng_state()
    states = [epoch.state() for epoch in train(recipe, split, classes=10, seed=2)]
    (again,) = train(recipe, split, classes=10, seed=2, state=save_and_load(states[0]))
    assert bit_equal(again.state(), states[1]) and torch.equal(torch.get_rng_state(), random)
    assert all(v.isfinite().all() for v in again.net.state_dict().values())


def test_awp_moves_no_noise_scale_of_pni(problem):
    """Alpha is no weight: where it has four dimensions it is neither moved nor decayed."""
    _, batch = problem
    net = build(Recipe(net=BatchNormNet(), defences=(PNI(granularity="element"),)), 10, 0)
    alphas = {name for name, _ in net.named_parameters() if name.endswith("alpha")}
    spared = {id(weight) for weight in parameter_groups(net)[1]["params"]}
    assert alphas and spared == {id(dict(net.named_parameters())[name]) for name in alphas}
    seen = []

    class Spy(Madry):
        def forward(self, net, batch, adv):
            seen.append(copy.deepcopy(dict(net.named_parameters())))
            return super().forward(net, batch, adv)

    AWP(Spy())(net, batch)
    moved = {name for name in seen[0] if not torch.equal(seen[0][name], seen[1][name])}
    assert moved == {n for n, w in seen[0].items() if w.dim() > 1 and n not in alphas}
