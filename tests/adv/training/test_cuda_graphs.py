"""Replayed work against the plain loop, bit for bit: on a CPU uncaptured, on CUDA as graphs."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial

import pytest
import torch
from reproducibility import bit_equal, seeded_generator
from small_nets import BatchNormNet
from torch import nn

from adv import (
    AWP,
    CAT,
    GAT,
    L2,
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
    Augment,
    BaseNet,
    Curriculum,
    GradAlign,
    Linf,
    Madry,
    MCDropout,
    NuAT,
    OneCycle,
    Ramp,
    Recipe,
    SpectralNorm,
    build,
    load,
    train,
)
from adv.runtime.random_streams import RngStream, attach
from adv.training.cuda_graphs import MAX_STEPS, CapturedStep, GraphCache, replay_attack

CPU = torch.device("cpu")
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
RISING = Curriculum(eps=Ramp(0.01, 0.1), steps=Ramp(1, 4), pace=Ramp(0.5, 0.25))
BASE = Recipe(net=BaseNet(), curriculum=RISING, epochs=2, batch=16)
SGD_ = SGD(lr=0.01, decay=OneCycle())
RECIPES = {
    "the report's": replace(BASE, optimizer=AdamW(decay=Ramp(1, 0))),
    "a changing fraction": replace(BASE, curriculum=replace(RISING, fraction=Ramp(0, 1))),
    "an average, norms, clipping": replace(
        BASE, net=BatchNormNet(), ema=0.9, clip=0.5, optimizer=SGD_, objective=Madry()
    ),
    "AWP in the midst of it": replace(
        BASE, net=BatchNormNet(), objective=AWP(TRADES(), 0.02, warmup=0.4), optimizer=SGD_, ema=0.9
    ),
    "RSE, mixed labels": replace(BASE, defences=(RSE(0.1, 0.1),), augment=Augment(cutmix=0.5)),
    "PNI, MART": replace(BASE, defences=(PNI(),), objective=MART()),
    "dropout kept on": replace(BASE, net=BaseNet(dropout=0.3), defences=(MCDropout(),)),
    "spectral norms": replace(BASE, defences=(SpectralNorm(),), epochs=1),
    "one step": replace(BASE, curriculum=Curriculum(eps=Ramp(0, 0.1), kind="n-fgsm")),
    "bfloat16": replace(BASE, net=BatchNormNet(), ema=0.9, precision="bfloat16"),
    "NuAT, never captured": replace(BASE, net=BatchNormNet(), objective=NuAT()),
    "GAT": replace(BASE, net=BatchNormNet(), objective=GAT(Ramp(0, 9))),
    "gradient alignment": replace(BASE, net=BatchNormNet(), objective=GradAlign(), ema=0.9),
    "LIET, a growing weight": replace(BASE, net=BatchNormNet(), objective=LIET(refresh=1)),
    "priors under AWP": replace(BASE, net=BatchNormNet(), objective=AWP(PGI(reset=0.5))),
    "ladders": replace(BASE, curriculum=CAT(most=2, patience=1, held=0.2)),
}


@pytest.fixture(scope="module")
def split():
    return load("digits").train.head(24)  # a batch of 16, one of 8


class Spied(GraphCache):
    """Counts what is made."""

    met: list

    def __call__(self, kind, make):
        self.met = [*getattr(self, "met", []), kind]
        return super().__call__(kind, make)


def ends(recipe, split, device="cpu"):
    """What the plain and the replayed training give."""
    for replay in (False, True):
        *_, last = train(recipe, split, classes=10, seed=3, device=device, replay=replay)
        yield last.state(), dict(last.metrics)


@pytest.mark.parametrize("name", RECIPES)
def test_replaying_gives_the_same_net(name, split):
    (plain, metrics), (replayed, others) = ends(RECIPES[name], split)
    assert bit_equal(plain, replayed) and metrics == others


@pytest.mark.gpu
@GPU
@pytest.mark.parametrize("name", RECIPES)
def test_graphs_give_the_same_net(name, split, caplog, monkeypatch):
    """The same numbers drawn and the same kernels run, but for atomic sums in another order."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    (plain, metrics), (replayed, others) = ends(RECIPES[name], split, "cuda")
    assert not caplog.records
    assert bit_equal(plain["stream"], replayed["stream"])
    for key, value in plain["net"].items():
        assert torch.allclose(value.float(), replayed["net"][key].float(), atol=2e-3), key
    assert metrics["loss"] == pytest.approx(others["loss"], rel=1e-2)


def test_a_schedule_makes_nothing_anew(split, monkeypatch):
    """Two epochs of other radii, steps and lengths: two works for each size of a batch."""
    made = []

    def make(*a):
        made.append(Spied(*a))
        return made[0]

    monkeypatch.setattr("adv.training.loop.GraphCache", make)
    epochs = list(train(BASE, split, classes=10, seed=3, replay=True))
    assert [epoch.metrics["steps"] for epoch in epochs] == [1, 2]
    assert len({epoch.metrics["eps"] for epoch in epochs}) == 2
    assert len(made[0].met) == 2 * 2 * 2 and len(set(made[0].met)) == 2 * 2


def test_going_on_from_a_plain_training(split):
    recipe = RECIPES["AWP in the midst of it"]
    first = next(train(recipe, split, classes=10, seed=3)).state()
    (plain, _), _ = ends(recipe, split)
    *_, last = train(recipe, split, classes=10, seed=3, state=first, replay=True)
    assert bit_equal(last.state(), plain)


# --- one attack ---


def problem(net: nn.Module, device=CPU):
    stream = RngStream(5)
    attach(net, stream)
    images = load("digits").train.head(12)
    x = (images.images.float() / 255).contiguous(memory_format=torch.channels_last)
    return GraphCache(net.to(device), stream, device), x.to(device), images.labels.to(device)


ATTACKS = [
    PGD(Linf(0.1), steps=3),
    PGD(Linf(0.1), steps=2, step_size=0.07, random_start=False),
    PGD(L2(1.5), steps=3, loss="margin"),
    PGD(Linf(0.1), steps=2, loss="kl"),
    NFGSM(Linf(0.1), noise=1.5, pace=0.7),
    PGD(Linf(0.0)),
]


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_an_attack_is_what_it_is_when_called(attack):
    recipe = Recipe(net=BaseNet(), defences=(RSE(0.05, 0.05),))
    replays, x, y = problem(build(recipe, 10, 0))
    ours = [replay_attack(replays, attack, x, y, seeded_generator(n)).clone() for n in (1, 2)]
    replays, x, y = problem(build(recipe, 10, 0))
    assert all(
        map(
            torch.equal,
            ours,
            [attack(replays.net, x, y, generator=seeded_generator(n)) for n in (1, 2)],
        )
    )
    assert attack.ball.eps == 0 or not torch.equal(*ours)


def test_attacks_that_differ_in_numbers_share_their_work():
    replays, x, y = problem(BaseNet()(10))
    numbers = [PGD(Linf(0.1), 3), PGD(Linf(0.2), 5, pace=0.1), PGD(Linf(0.2), 1)]
    numbers += [PGD(Linf(0.2), pace=1), PGD(Linf(0.2), pace=1.0), PGD(Linf(1), step_size=1)]
    for attack in numbers:
        assert torch.equal(
            replay_attack(replays, attack, x, y, seeded_generator(1)),
            attack(replays.net, x, y, generator=seeded_generator(1)),
        )
    assert len(replays._steps) == 1
    for attack in (PGD(L2(0.1), 3), PGD(Linf(0.1), 3, loss="dlr")):
        replay_attack(replays, attack, x, y, seeded_generator(1))
    replay_attack(replays, PGD(Linf(0.1), 3), x[:5], y[:5], seeded_generator(1))
    assert len(replays._steps) == 4


def test_no_more_works_are_kept_than_memory_has_room_for():
    replays = GraphCache(nn.Identity(), RngStream(), CPU)
    for kind in range(MAX_STEPS + 2):
        work = partial(int, kind)
        assert replays(kind, partial(CapturedStep, (), work))() == kind
    assert len(replays._steps) == MAX_STEPS


def test_where_a_capture_fails_the_reason_is_logged_and_training_goes_on(
    split, monkeypatch, caplog
):
    """It breaks off after the net has run: what it drew and counted is put back."""
    recipe = RECIPES["RSE, mixed labels"]
    recipe = replace(recipe, net=BatchNormNet())
    (plain, metrics), _ = ends(recipe, split)
    monkeypatch.setattr("adv.training.loop.GraphCache", Refusing)
    with caplog.at_level(logging.WARNING, "adv"):
        _, (replayed, others) = ends(recipe, split)
    assert bit_equal(plain, replayed) and metrics == others
    (record,) = caplog.records
    assert record.getMessage().endswith("slower: operation not permitted when stream is capturing")


class Refusing(GraphCache):
    """As on CUDA, but the second capture fails in its midst."""

    def __init__(self, net, stream, device):
        super().__init__(net, stream, device)
        self.capturing, self.before = True, 0

    def _capture_graph(self, work):
        self.before += 1
        if self.before == 2:
            work()
            raise RuntimeError("operation not permitted\nwhen stream is capturing")
        return None, None


def test_a_layer_that_changes_its_buffers_for_others_is_not_captured(caplog, monkeypatch):
    class Counting(nn.Module):
        seen: torch.Tensor

        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen = self.seen + 1
            return x

    net = Counting()
    replays = Refusing(net, RngStream(), CPU)
    monkeypatch.setattr(replays, "_capture_graph", lambda work: (None, work()))
    replays("a", lambda: CapturedStep((), lambda: net(torch.ones(2))))()
    assert "a layer replaces a buffer by a new tensor" in caplog.text and not replays.capturing


@pytest.mark.gpu
@GPU
def test_a_replayed_attack_does_not_wait_for_the_gpu():
    replays, x, y = problem(BaseNet()(10), torch.device("cuda"))
    attack = PGD(Linf(0.1), steps=3, random_start=False)
    replay_attack(replays, attack, x, y, seeded_generator(1))
    (step,) = replays._steps.values()
    assert step.graph is not None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
