"""Continuous batching: full batches, the results of the plain loop, and no waiting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import fields, replace

import pytest
import torch
from reproducibility import seeded_generator
from small_nets import CountingNet
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from adv import (
    APGD,
    FGSM,
    L1,
    L2,
    NES,
    NFGSM,
    PGD,
    PMA,
    WRN,
    Battery,
    Linf,
    Recipe,
    Split,
    Square,
    Worst,
    build,
    evaluate,
    frozen,
    restarts,
)
from adv.attacks import Iterative
from adv.evaluation.engine import continuous_batching
from adv.evaluation.engine.jobs import AttackRun, group_runs
from adv.evaluation.engine.rows import concatenate
from adv.runtime.random_streams import derive_seed

CPU = torch.device("cpu")


def battery(*attacks, **settings) -> Battery:
    return Battery(tuple((f"a{i}", attack) for i, attack in enumerate(attacks)), **settings)


def convolutional() -> nn.Module:
    norm = nn.BatchNorm2d(8)
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), norm, nn.GELU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(72, 5)),
    )
    assert norm.running_mean is not None
    norm.running_mean.uniform_(-0.1, 0.1)
    return net


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 12), nn.ReLU(), nn.Linear(12, 5))


def problem(make, n: int = 60, wrong: int = 7) -> tuple[nn.Module, Split]:
    """Return a net and images labelled by its predictions, the last few wrongly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = make()
    for weight in net.parameters():
        weight.data *= 2
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=seeded_generator(1), dtype=torch.uint8)
    with torch.no_grad():
        labels = net.eval()(images.float() / 255).argmax(1)
    labels[n - wrong :] = (labels[n - wrong :] + 1) % 5
    return net, Split(images, labels)


def members(attack) -> list[Iterative]:
    if isinstance(attack, Worst):
        return [m for inner in attack.attacks for m in members(inner)]
    return [attack]


def plainly(net, split, battery, kind) -> dict[int, list[bool]]:
    """Run every step of every attack on all images together.

    An image stands where it is right at each iterate, and stood in every smaller ball.
    """
    x = split.pixels() if hasattr(split, "pixels") else split.images.float() / 255
    x = x.contiguous(memory_format=torch.channels_last)
    rows, stands = {}, net(x).argmax(1) == split.labels
    order = [i for i, (_, a) in enumerate(battery.attacks) if type(a.ball) is kind]
    for index in sorted(order, key=lambda i: battery.attacks[i][1].ball.eps):
        for restart, attack in enumerate(members(battery.attacks[index][1])):
            generator = seeded_generator(derive_seed(battery.seed + 1000 * index + restart, 0))
            with frozen(net):
                state = attack.prepare(net, attack.start(x, split.labels, generator))
                fooled = state.fooled.clone()
                for _ in range(attack.steps):
                    state = attack.step(net, state)
                    fooled |= state.fooled
                fooled |= net(attack.result(state)).argmax(1) != split.labels
            stands = stands & ~fooled
        rows[index] = stands.tolist()
    return rows


RADII = (0.005, 0.01, 0.02, 0.04)
LADDER = [PGD(Linf(eps), steps=6, step_size=size) for eps, size in zip(RADII, RADII, strict=True)]
BATTERIES = {
    "radii": battery(*LADDER),
    "radii, the largest first": battery(*LADDER[::-1]),
    "restarts": battery(*(restarts(PGD(Linf(eps), steps=3), 3) for eps in RADII)),
    "two norms": battery(
        *(PGD(L2(eps), steps=4) for eps in (0.05, 0.1, 0.2)), *LADDER, FGSM(L2(0.3))
    ),
    "apgd": battery(*(APGD(Linf(eps), steps=8) for eps in RADII[1:])),
    "apgd in l2": battery(*(APGD(L2(eps), steps=8, loss="dlr") for eps in (0.05, 0.1))),
    "cascade": battery(
        PGD(Linf(0.02), steps=4, loss="margin"),
        APGD(Linf(0.02), steps=6),
        Worst(tuple(APGD(Linf(0.02), steps=6, loss="dlr-targeted", target=k) for k in (1, 2, 3))),
        Square(Linf(0.02), queries=12),
    ),
    "steps that age": battery(
        *(PGD(Linf(eps), 6, pace=2, loss="mifpe", schedule="cosine") for eps in RADII[1:3]),
        *(PGD(Linf(eps), 6, momentum=0.75) for eps in RADII[1:3]),
        PMA(Linf(0.02), 6),
        Square(Linf(0.03), 9, loss="margin-targeted", target_class="least-likely"),
    ),
    "queries": battery(
        *(Square(Linf(eps), queries=10) for eps in RADII[2:]),
        *(NES(Linf(eps), queries=33, samples=10) for eps in RADII[2:]),
        *(Square(L2(eps), queries=8) for eps in (0.3, 0.5)),
    ),
    "nothing to do": battery(PGD(Linf(0), steps=3), *LADDER[:2], PGD(L2(0), steps=1)),
}


@pytest.mark.parametrize(
    ("make", "name"),
    [
        *((convolutional, name) for name in BATTERIES),
        (linear, "radii"),
        pytest.param(linear, "cascade", marks=pytest.mark.slow),
    ],
)
def test_results_are_those_of_the_plain_loop(make, name):
    net, split = problem(make)
    chosen = BATTERIES[name]
    plain = {k: row for kind in (Linf, L2) for k, row in plainly(net, split, chosen, kind).items()}
    for size in (11, 24):
        found = evaluate(net, split, chosen, batch=size)
        for index, row in plain.items():
            assert found.ok[1 + index].tolist() == row, (index, size)
    if name != "nothing to do":
        assert 0 < int(found.ok[-1].sum()) < int(found.ok[0].sum()) == 53


@pytest.mark.slow
@pytest.mark.parametrize("as_on_a_gpu", [False, True])
@pytest.mark.parametrize("name", BATTERIES)
def test_kept_images_are_those_that_were_classified(name, as_on_a_gpu, monkeypatch):
    """Their predictions are those of the score; keeping them costs hardly any queries."""
    if as_on_a_gpu:
        begin = continuous_batching._Scheduler.__init__

        def begin_as_on_a_gpu(self, *args):
            begin(self, *args)
            self.constant, self.check_every = True, 3

        monkeypatch.setattr(continuous_batching._Scheduler, "__init__", begin_as_on_a_gpu)
    net, split = problem(convolutional)
    chosen, counted = BATTERIES[name], CountingNet(net)
    plain = evaluate(counted, split, chosen, batch=11)
    passes, counted.seen = counted.seen, 0
    kept = evaluate(counted, split, chosen, batch=11, keep_images=True)
    assert counted.seen <= passes + len(split) * len(chosen.attacks)
    assert plain.adversarial is None and torch.equal(plain.ok, kept.ok)
    assert kept.adversarial is not None
    clean = split.images.float() / 255
    for (_, attack), adv, ok in zip(chosen.attacks, kept.adversarial, kept.ok[1:], strict=True):
        assert torch.equal(net(adv).argmax(1) == split.labels, ok)
        assert adv.min() >= 0 and adv.max() <= 1
        assert torch.allclose(attack.ball.project(adv, clean), adv, atol=1e-6)
        assert torch.equal(adv[~kept.ok[0]], clean[~kept.ok[0]])
        assert attack.ball.eps == 0 or (adv != clean).flatten(1).any(1)[kept.ok[0]].all()


@pytest.mark.parametrize(
    "name", ["radii", "cascade", pytest.param("two norms", marks=pytest.mark.slow)]
)
def test_gpu_batching_gives_the_same_results(monkeypatch, name):
    """As on a GPU: batches of full, half, quarter, ... width, and a check every few steps."""
    net, split = problem(convolutional)
    expected = evaluate(net, split, BATTERIES[name], batch=16).ok
    begin, seen = continuous_batching._Scheduler.__init__, set()

    def as_on_a_gpu(self, *args):
        begin(self, *args)
        self.constant, self.check_every = True, 3

    def forward(module, args):
        if torch.is_grad_enabled():
            seen.add(len(args[0]))

    monkeypatch.setattr(continuous_batching._Scheduler, "__init__", as_on_a_gpu)
    net.register_forward_pre_hook(forward)
    found = evaluate(net, split, BATTERIES[name], batch=16)
    assert torch.equal(found.ok, expected)
    if name == "radii":
        assert seen <= {16, 8, 4, 2, 1} and 16 in seen


class Widths(nn.Module):
    """Record the batch size of each gradient."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.widths: list[int] = []

    def forward(self, x):
        if x.requires_grad:
            self.widths.append(len(x))
        return self.net(x)


def test_batches_are_full_until_the_images_run_out():
    net, split = problem(convolutional, n=200)
    recording = Widths(net)
    found = evaluate(recording, split, battery(*LADDER), batch=16)
    full = recording.widths.index(next(w for w in recording.widths if w < 16))
    assert set(recording.widths[:full]) == {16}
    # Not a step more than by the plain loop for who is left, and nearly all in full batches.
    standing = found.ok.sum(1).tolist()
    steps = sum(recording.widths)
    assert 6 * sum(standing[1:]) < steps < 6 * sum(standing[:-1])
    assert sum(w for w in recording.widths if w == 16) > 0.8 * steps


def test_a_fooled_image_is_not_attacked_in_larger_balls():
    net, split = problem(convolutional)
    recording = Widths(net)
    found = evaluate(recording, split, battery(*(FGSM(Linf(eps)) for eps in RADII)), batch=16)
    assert sum(recording.widths) == int(found.ok[:-1].sum())  # one gradient for each that stood


def test_draws_of_an_image_do_not_depend_on_its_slot():
    """Starts and squares are the same in any slot, beside any other images."""
    net, split = problem(convolutional, n=40, wrong=0)
    seen: dict[bytes, set[bytes]] = {}

    class Watched(Square):
        def step(self, model, state):
            after = super().step(model, state)
            for clean, count, adv in zip(state.clean, state.queries, after.adv, strict=True):
                key = clean.numpy().tobytes() + bytes([int(count)])
                seen.setdefault(key, set()).add(adv.numpy().tobytes())
            return after

    for size, wrong in ((3, 0), (7, 11), (40, 25)):
        labels = split.labels.clone()
        labels[:wrong] = (labels[:wrong] + 1) % 5
        evaluate(net, Split(split.images, labels), battery(Watched(Linf(0.02), 8)), batch=size)
    assert len(seen) > 100 and {len(found) for found in seen.values()} == {1}


def test_runs_share_a_batch_where_only_radius_step_target_or_start_differ():
    ball = Linf(0.01)
    chain = [
        PGD(ball, steps=5),
        PGD(Linf(0.02), steps=5, step_size=0.01),
        PGD(Linf(0.02), steps=6),
        APGD(ball, steps=6),
        APGD(ball, loss="dlr-targeted", target=1),
        APGD(Linf(0.1), loss="dlr-targeted", target=2),
        NFGSM(ball),
        NFGSM(Linf(0.02)),
        NFGSM(Linf(0.02)),
    ]
    pieces = group_runs([AttackRun(attack, seed) for seed, attack in enumerate(chain)])
    assert [[run.seed for run in piece] for piece in pieces] == [
        [0, 1],
        [2],
        [3],
        [4, 5],
        [6, 7, 8],
    ]
    x, y = torch.rand(2, 3, 8, 8), torch.arange(2)
    small, large = (attack.start(x, y, seeded_generator()) for attack in chain[:2])
    assert (small.eps, small.step_size, large.eps, large.step_size) == (0.01, 0.0025, 0.02, 0.01)
    alike = concatenate([large, large])
    assert (alike.eps, alike.step_size) == (0.02, 0.01)
    mixed = concatenate([large.keep(torch.tensor([0])), small, large.per_example()])
    assert isinstance(mixed.eps, Tensor) and isinstance(mixed.step_size, Tensor)
    assert mixed.eps.tolist() == pytest.approx([0.02, 0.01, 0.01, 0.02, 0.02])
    assert mixed.step_size.tolist() == pytest.approx([0.01, 0.0025, 0.0025, 0.01, 0.01])


MIXED: dict[str, Sequence[Iterative]] = {
    "pgd": [PGD(Linf(eps), steps=3, step_size=size) for eps, size in ((0.01, 0.003), (0.1, 0.02))],
    "pgd-l2": [PGD(L2(eps), steps=3) for eps in (0.05, 0.3)],
    "apgd": [APGD(Linf(eps), steps=9) for eps in (0.01, 0.1)],
    "apgd-l2": [APGD(L2(eps), steps=9) for eps in (0.05, 0.3)],
    "square": [Square(Linf(eps), queries=9) for eps in (0.01, 0.1)],
    "square-l2": [Square(L2(eps), queries=9) for eps in (0.1, 0.6)],
    "nes": [NES(Linf(eps), queries=33, samples=10) for eps in (0.01, 0.1)],
}


@pytest.mark.parametrize("name", MIXED)
def test_a_batch_of_several_radii_steps_like_each_alone_to_the_last_bit(name):
    net, split = problem(linear, n=6)
    x, attacks = split.images.float() / 255, MIXED[name]
    begun = [a.prepare(net, a.start(x, split.labels, seeded_generator(3))) for a in attacks]
    which = torch.tensor([0, 1, 1, 0, 1, 0])
    rows = torch.arange(6)
    together = concatenate(begun).keep(which * 6 + rows)
    step = attacks[0]
    for _ in range(attacks[0].steps):
        together = step.step(net, together)
        begun = [a.step(net, s) for a, s in zip(attacks, begun, strict=True)]
    for k in (0, 1):
        mine = rows[which == k]
        apart = (together.adv[mine] - begun[k].adv[mine]).abs().max()
        # A bump's length takes the square of the radius, which is rounded before or after.
        assert apart <= (1e-6 if name == "square-l2" else 0)
        assert (together.adv[mine] != x[mine]).any()


# --- what a step may not do ---

STEPS = {
    **{f"{k}-{n}": a for k, v in MIXED.items() for n, a in enumerate(v[:1])},
    "nfgsm": NFGSM(Linf(0.03)),
    **{
        f"{kind.__name__}-{loss}": kind(Linf(0.03), steps=3, loss=loss)
        for kind, loss in itertools.product((PGD, APGD), ("kl", "margin", "dlr", "dlr-targeted"))
    },
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_never_waits_for_the_device(name):
    """On the meta device an operation that needs a value (item, bool, nonzero) would fail."""
    attack, net = STEPS[name], convolutional().eval()
    x, y = torch.rand(4, 3, 8, 8), torch.arange(4)
    state = attack.start(x, y, seeded_generator())
    tensors = {f.name: getattr(state, f.name) for f in fields(state)}
    state = replace(
        state, **{k: v.to("meta") for k, v in tensors.items() if isinstance(v, torch.Tensor)}
    )
    net = net.to("meta")
    with frozen(net):
        state = attack.prepare(net, state)
        for _ in range(2):
            state = attack.step(net, state)
    assert attack.result(state).shape == x.shape
    with pytest.raises((RuntimeError, NotImplementedError)):
        state.fooled.any().item()


class Backwards(TorchDispatchMode):
    """Record which gradients convolutions and matrix products compute."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[list[bool]] = []
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution_backward.default:
            self.masks.append(list(args[10]))
        if func is torch.ops.aten.mm.default:
            self.shapes.append(tuple(out.shape))
        return out


@pytest.mark.parametrize("attack", [PGD(Linf(0.03), steps=2), APGD(Linf(0.03), steps=2)], ids=str)
def test_gradients_are_those_of_the_images_alone(attack):
    net = convolutional().train()
    with Backwards() as noted:
        attack(net, torch.rand(4, 3, 8, 8), torch.arange(4), generator=seeded_generator())
    assert noted.masks and all(mask == [True, False, False] for mask in noted.masks)
    assert set(noted.shapes) == {(4, 72)}  # of the linear layer's input; of its weight: (5, 72)
    assert all(weight.requires_grad and weight.grad is None for weight in net.parameters())


def test_images_stay_in_float32_and_in_their_memory():
    net = build(Recipe(net=WRN(10, 1)), 10, seed=0).to(memory_format=torch.channels_last).eval()
    x = torch.rand(2, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    for attack in (PGD(Linf(0.03), steps=1), APGD(Linf(0.03), steps=1), PGD(L2(0.3), steps=1)):
        state = attack.start(x, torch.arange(2), seeded_generator())
        with frozen(net), torch.autocast("cpu", torch.bfloat16):
            state = attack.step(net, attack.prepare(net, state))
        assert state.adv.dtype == torch.float32
        assert state.adv.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("attack", [APGD(L1(2.4), 20), APGD(L1(2.4), 20, loss="margin")])
def test_kept_images_of_l1_lie_in_the_ball(attack):
    """APGD begins in larger balls there."""
    net, split = problem(convolutional)
    found = evaluate(net, split, Battery((("l1", attack),)), keep_images=True)
    assert found.adversarial is not None
    clean = split.images.float() / 255
    assert float(attack.ball.distance(found.adversarial[0], clean).max()) <= 2.4 + 1e-4
    assert torch.equal(net(found.adversarial[0]).argmax(1) == split.labels, found.ok[1])
    assert not found.ok[1].all()
