"""Evaluation of deterministic nets: results are those of a plain loop."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from evaluation_cases import RADII, RADII_BATTERY, battery, random_conv_net, split_labelled_by
from reproducibility import seeded_generator
from small_nets import CountingNet, RecordingNet
from torch import nn

from adv import APGD, FGSM, L2, PGD, Linf, Split, Square, Worst, evaluate, restarts
from adv.runtime.random_layers import Noise


def test_the_table_is_kept_and_nested():
    net = random_conv_net()
    found = evaluate(net, split_labelled_by(net), RADII_BATTERY)
    assert found.ok.shape == (5, 60) and found.ok.dtype == torch.bool
    assert (found.names, found.eps, found.votes, found.draws) == (
        ("a0", "a1", "a2", "a3"),
        RADII,
        1,
        1,
    )
    assert found.ok[0].tolist() == [True] * 50 + [False] * 10
    for smaller, larger in itertools.pairwise(found.ok):
        assert (larger <= smaller).all()
    counts = found.ok.sum(1).tolist()
    assert counts[0] > counts[1] > counts[2] > counts[3]


class Breaking(nn.Module):
    """Predict class 0 for grey images, and NaN without a gradient for all others."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = nn.Parameter(torch.ones(()))

    def forward(self, x):
        away = (x - 0.5).abs().flatten(1).amax(1, keepdim=True) > 0.01
        logits = self.unit * torch.eye(5)[0] + 0 * x.flatten(1).sum(1, keepdim=True)
        return torch.where(away, torch.nan, logits)


@pytest.mark.parametrize(
    "attack",
    [
        PGD(Linf(0.1), steps=2),
        PGD(L2(2.0), steps=2, loss="margin"),
        APGD(Linf(0.1), steps=2),
        Square(Linf(0.1), queries=2),
        Worst((FGSM(Linf(0.1)), PGD(Linf(0.1), steps=2))),
    ],
    ids=repr,
)
@pytest.mark.parametrize("random", [False, True])
def test_nan_logits_are_never_correct(attack, random):
    """Not class 0 either, which argmax may return for a row with NaN."""
    net = nn.Sequential(Noise(0.0), Breaking()) if random else Breaking()
    split = Split(
        torch.full((6, 3, 8, 8), 127, dtype=torch.uint8), torch.zeros(6, dtype=torch.int64)
    )
    assert evaluate(net, split, battery(attack)).ok.sum(1).tolist() == [6, 0]


def test_the_order_of_a_battery_does_not_matter_to_nestedness():
    net = random_conv_net()
    split = split_labelled_by(net)
    attacks = [PGD(Linf(eps), steps=5, random_start=False) for eps in RADII]
    up, down = (evaluate(net, split, battery(*order)) for order in (attacks, attacks[::-1]))
    assert down.eps == RADII[::-1]
    assert torch.equal(down.ok[[0, 4, 3, 2, 1]], up.ok)


def test_each_norm_is_nested_separately():
    net = random_conv_net()
    split = split_labelled_by(net)
    near, far = FGSM(L2(0.001)), FGSM(Linf(0.04))
    both = evaluate(net, split, battery(far, near))
    assert torch.equal(both.ok[2], evaluate(net, split, battery(near)).ok[1])
    assert torch.equal(both.ok[1], evaluate(net, split, battery(far)).ok[1])
    assert both.ok[1].sum() < both.ok[2].sum()


def test_later_attacks_get_only_images_still_correct():
    net = random_conv_net()
    split, counting = split_labelled_by(net), CountingNet(net)
    found = evaluate(counting, split, battery(*(FGSM(Linf(eps)) for eps in RADII)), batch=16)
    standing = found.ok.sum(1).tolist()
    # One pass for every image; then a gradient and a verdict for each that stood before.
    assert counting.seen == 60 + 2 * sum(standing[:-1])
    assert standing[-1] < standing[0] == 50


def test_an_image_leaves_at_the_first_iterate_that_fools():
    net = random_conv_net()
    split, counting = split_labelled_by(net), CountingNet(net)
    attack = PGD(Linf(0.03), steps=20, pace=0.1, random_start=False)
    found = evaluate(counting, split, battery(attack))
    spent = counting.seen - 60
    survivors = int(found.ok[1].sum())
    assert 0 < survivors < 50
    assert 21 * survivors < spent < 0.8 * 21 * 50


def by_hand(net, split, attack, start=None) -> list[bool]:
    """Return which images are correct at every iterate, from the clean image to the last."""
    stands = []
    for i in range(len(split)):
        clean, y = split.images[i : i + 1].float() / 255, split.labels[i : i + 1]
        adv = clean if start is None else start[i : i + 1]
        right = bool(net(clean).argmax(1) == y)
        for _ in range(attack.steps):
            right &= bool(net(adv).argmax(1) == y)
            x = adv.clone().requires_grad_()
            loss = nn.functional.cross_entropy(net(x), y)
            moved = adv + attack.length * torch.autograd.grad(loss, x)[0].sign()
            adv = (clean + (moved - clean).clamp(-attack.ball.eps, attack.ball.eps)).clamp(0, 1)
        stands.append(right and bool(net(adv).argmax(1) == y))
    return stands


def test_results_are_those_of_the_plain_loop():
    net = random_conv_net()
    split = split_labelled_by(net)
    for attack in (FGSM(Linf(0.02)), PGD(Linf(0.02), steps=6, random_start=False)):
        found = evaluate(net, split, battery(attack), batch=7)
        expected = by_hand(net.eval(), split, attack)
        assert found.ok[1].tolist() == expected
        assert 0 < sum(expected) < 50
    attack = PGD(Linf(0.02), steps=6)
    start = attack.ball.sample(split.images.float() / 255, seeded_generator(3))
    found = evaluate(net, split, battery(attack, seed=3))
    assert found.ok[1].tolist() == by_hand(net, split, attack, start)


def test_a_cascade_equals_its_members():
    net = random_conv_net()
    split = split_labelled_by(net)
    ball = Linf(0.02)
    parts = [PGD(ball, steps=k, random_start=False) for k in (1, 4)]
    apart = [evaluate(net, split, battery(part)).ok[1] for part in parts]
    together = evaluate(net, split, battery(Worst((parts[0], Worst((parts[1],))))))
    assert torch.equal(together.ok[1], apart[0] & apart[1])


def test_restarts_start_anew_and_never_help():
    net = random_conv_net()
    split = split_labelled_by(net)
    one = PGD(Linf(0.015), steps=1)
    counts = [int(evaluate(net, split, battery(restarts(one, n))).ok[1].sum()) for n in (1, 5)]
    assert counts[1] < counts[0]


def test_a_result_does_not_depend_on_the_other_images():
    """An image has the same start whichever others are still correct."""
    net = random_conv_net()
    split = split_labelled_by(net, wrong=0)
    ladder = battery(*(restarts(PGD(Linf(eps), steps=1), 2) for eps in RADII))
    whole = evaluate(net, split, ladder).ok
    labels = split.labels.clone()
    labels[::2] = (labels[::2] + 1) % 5  # every other image is wrong, and never attacked
    part = evaluate(net, Split(split.images, labels), ladder, batch=11).ok
    assert not part[:, ::2].any()
    assert torch.equal(part[:, 1::2], whole[:, 1::2])
    assert 0 < whole[-1].sum() < whole[1].sum() < 60


def test_an_attack_that_is_not_iterative():
    """A member of a cascade may be any attack, also one that is not iterative."""
    from adv import Attack

    class Black(Attack):
        ball = Linf(1.0)

        def __call__(self, model, x, y, *, generator=None):
            return torch.zeros_like(x)

    net = random_conv_net()
    split = split_labelled_by(net)
    stays = net.eval()(torch.zeros(1, 3, 8, 8)).argmax(1)
    found = evaluate(net, split, battery(FGSM(Linf(1e-6)), Black()))
    assert torch.equal(found.ok[2], found.ok[1] & (split.labels == stays))


@pytest.mark.parametrize(
    ("attack", "usual"), [(Square(Linf(0.02), 5), 128), (PGD(Linf(0.02), 2), 64)]
)
def test_queries_share_larger_batches_than_gradients(attack, usual):
    net = random_conv_net()
    split = split_labelled_by(net, n=300)
    calls, tables = {}, []
    for batch in (None, 64, 128):
        recording = RecordingNet(net)
        tables.append(evaluate(recording, split, battery(attack), batch=batch).ok)
        calls[batch] = [len(images) for images in recording.calls]
    natural = math.ceil(300 / 64)  # calls without an attack, which are not larger
    assert calls[None][natural:] == calls[usual][math.ceil(300 / usual) :]
    assert calls[64][natural:] != calls[128][math.ceil(300 / 128) :]
    assert torch.equal(tables[0], tables[1]) and torch.equal(tables[0], tables[2])
