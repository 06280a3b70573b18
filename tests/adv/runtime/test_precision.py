"""Nets that run in less than float32: what an attack holds is float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attack_cases import (
    ATTACKS,
    BLACK_BOX,
    MINIMUM_NORM,
    StatefulNet,
    each_evaluation_attack,
    parametrize_attacks,
    random_batch,
)
from reproducibility import seeded_generator
from small_nets import self_labelled_problem
from torch import nn

from adv import PGD, Battery, Iterative, Linf, Split, Square, evaluate, frozen
from adv.attacks.gradient import loss_and_grad
from adv.attacks.losses import LOSSES, is_targeted
from adv.runtime.precision import conv_precision


class Low(nn.Module):
    """A net whose layers run in bfloat16; keeps the types of what it was given and gave."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.asked: set[torch.dtype] = set()
        self.told: set[torch.dtype] = set()

    def forward(self, x):
        self.asked.add(x.dtype)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = self.net(x)
        self.told.add(logits.dtype)
        return logits


@each_evaluation_attack
@pytest.mark.parametrize("around", [False, True], ids=["within the net", "around the attack"])
def test_a_net_in_bfloat16_leaves_images_in_float32(attack, around):
    """Rounded to bfloat16, x + 8/255 leaves the ball by up to 6 % of it."""
    x, y = random_batch()
    model = StatefulNet() if around else Low(StatefulNet())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
        adv = attack(model, x, y, generator=seeded_generator())
    assert adv.dtype == torch.float32 and not torch.equal(adv, x)
    assert (attack.ball.distance(adv, x) <= attack.ball.eps + 1e-6).all()
    assert adv.min() >= 0 and adv.max() <= 1
    if not around:
        assert model.asked == {torch.float32}
        # Who takes gradients takes them through the net as it runs; who only asks forces it.
        asks_only = attack in BLACK_BOX.values()
        assert model.told == {torch.float32 if asks_only else torch.bfloat16}


STEPPING = {
    k: v for k, v in {**ATTACKS, **BLACK_BOX, **MINIMUM_NORM}.items() if isinstance(v, Iterative)
}


@parametrize_attacks(STEPPING)
@pytest.mark.parametrize("around", [False, True], ids=["within the net", "around the attack"])
def test_what_an_attack_remembers_is_float32(attack, around):
    """Losses, directions and best points too: differences of losses decide what is kept."""
    x, y = random_batch()
    model = StatefulNet() if around else Low(StatefulNet())
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around), frozen(model):
        state = attack.prepare(model, attack.start(x, y, seeded_generator()))
        for _ in range(2):
            state = attack.step(model, state)
        result = attack.result(state)
    kept = {k: v.dtype for k, v in vars(state).items() if isinstance(v, torch.Tensor)}
    assert {d for d in kept.values() if d.is_floating_point} == {torch.float32}, kept
    assert result.dtype == torch.float32


@pytest.mark.parametrize("loss", LOSSES)
def test_a_slope_is_float32(loss):
    net, x, y = self_labelled_problem()
    low = Low(net)
    logits = net(x).detach()
    pair = torch.stack([y, (y + 1) % 5], 1)
    against = {"kl": logits.log_softmax(1)}
    against |= {loss: pair for loss in LOSSES if is_targeted(loss)}
    for model, around in ((low, False), (net, True)):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
            here = loss_and_grad(model, x, against.get(loss, y), loss)
        for value in (here.loss, here.gradient, here.logits):
            assert value.dtype == torch.float32
        # Computed in float32 from the logits that the net gave, not in bfloat16.
        again = LOSSES[loss](here.logits, against.get(loss, y))
        assert torch.equal(here.loss, again) and not torch.equal(again, again.bfloat16().float())


class Asked(nn.Module):
    """Keeps what float32 means on CUDA where it is asked: of convolutions and of products."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
        self.seen: set[tuple[str, str]] = set()

    def forward(self, x):
        self.seen.add(float32_on_cuda())
        return self.net(x)


def float32_on_cuda() -> tuple[str, str]:
    cudnn: Any = torch.backends.cudnn  # whose submodule torch sets at run time
    return cudnn.conv.fp32_precision, torch.backends.cuda.matmul.fp32_precision


def test_tf32_is_said_and_comes_out_as_it_went_in():
    """Convolutions of evaluations may take it, answers to queries never."""
    before, net = float32_on_cuda(), Asked()
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=seeded_generator(), dtype=torch.uint8)
    labels = net(images.float() / 255).argmax(1)
    for attack, wanted in (
        (PGD(Linf(0.01), steps=1), {("tf32", "ieee")}),
        (Square(Linf(0.01), queries=2), {("tf32", "ieee"), ("ieee", "ieee")}),
    ):
        net.seen.clear()
        evaluate(net, Split(images, labels), Battery((("a", attack),)))
        assert net.seen == wanted and float32_on_cuda() == before
    with pytest.raises(ValueError, match="no image"), conv_precision("ieee"):
        evaluate(net, Split(images, labels).head(0), Battery((("a", attack),)))
    assert float32_on_cuda() == before
