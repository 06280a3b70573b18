"""AutoAttack's line-ups: what is in them, how they cascade, and torchattacks as the oracle.

Its results were recorded by `benchmarks/record_peers.py`.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import recorded
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import (
    APGD,
    L2,
    Battery,
    Linf,
    Split,
    Square,
    Worst,
    autoattack,
    autoattack_rand,
    evaluate,
    load,
)
from adv.runtime.random_layers import Noise

BALL = Linf(0.02)


def problem(classes: int, n: int = 40) -> tuple[nn.Module, Split]:
    """Return a random conv net and images labelled by its predictions, the last four wrongly."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(288, classes))
        for weight in net.parameters():
            weight.data *= 3
    images = torch.randint(0, 256, (n, 3, 8, 8), generator=seeded_generator(1), dtype=torch.uint8)
    with torch.no_grad():
        labels = net(images.float() / 255).argmax(1)
    labels[n - 4 :] = (labels[n - 4 :] + 1) % classes
    return net, Split(images, labels)


def targets(attack) -> list[int | None]:
    parts: tuple[Any, ...] = attack.attacks if isinstance(attack, Worst) else (attack,)
    assert all(part.loss == "dlr-targeted" for part in parts)
    return [part.target for part in parts]


# --- what is in them ---


@pytest.mark.parametrize("ball", [BALL, L2(0.5)], ids=["linf", "l2"])
def test_the_standard_line_up(ball):
    battery = autoattack(ball)
    names = [name for name, _ in battery.attacks]
    assert names == ["apgd-ce", "apgd-t", "square"]
    attacks: dict[str, Any] = dict(battery.attacks)
    assert attacks["square"] == Square(ball, queries=5000)
    assert attacks["apgd-ce"] == APGD(ball, steps=100, loss="ce")
    assert targets(attacks["apgd-t"]) == list(range(1, 10))
    assert {part.steps for part in attacks["apgd-t"].attacks} == {100}
    assert all(attack.ball == ball for attack in attacks.values())
    assert pickle.loads(pickle.dumps(battery)) == battery


def test_the_line_up_for_random_nets():
    battery = autoattack_rand(BALL)
    assert battery.attacks == (("apgd-ce", APGD(BALL)), ("apgd-dlr", APGD(BALL, loss="dlr")))
    assert battery.draws == 20 and battery.votes >= 20


@pytest.mark.parametrize(("classes", "wanted"), [(4, 3), (5, 4), (10, 9), (100, 9)])
def test_there_are_no_more_targets_than_wrong_classes(classes, wanted):
    assert targets(dict(autoattack(BALL, classes).attacks)["apgd-t"]) == list(range(1, wanted + 1))


def test_the_margin_replaces_an_undefined_dlr():
    for battery, name in (
        (autoattack(BALL, 2), "apgd-margin"),
        (autoattack(BALL, 3), "apgd-margin"),
        (autoattack_rand(BALL, 2), "apgd-margin"),
        (autoattack_rand(BALL, 3), "apgd-dlr"),
    ):
        assert battery.attacks[1][0] == name
    net, split = problem(2)
    assert evaluate(net, split, short(autoattack_rand(BALL, 2))).worst < 0.9


# --- how they run ---


def short(battery: Battery, steps: int = 8) -> Battery:
    """Return the battery with fewer steps."""

    def cut(attack):
        if isinstance(attack, Worst):
            return Worst(tuple(cut(part) for part in attack.attacks))
        if isinstance(attack, Square):
            return Square(attack.ball, 5 * steps)
        return APGD(attack.ball, steps, attack.loss, attack.target)

    attacks = tuple((name, cut(attack)) for name, attack in battery.attacks)
    return Battery(attacks, draws=2, votes=8)


@pytest.mark.parametrize("classes", [4, 6, 12])
def test_the_net_says_how_many_targets_there_are(classes):
    net, split = problem(classes)
    seen = evaluate(net, split, short(autoattack(BALL)))
    told = evaluate(net, split, short(autoattack(BALL, classes)))
    assert torch.equal(seen.ok, told.ok)
    assert 0 < seen.ok[3].sum() < seen.ok[0].sum() == 36


def test_three_classes_raise_a_helpful_error():
    net, split = problem(3)
    with pytest.raises(ValueError, match=r"^dlr-targeted needs 4 classes or more, the net has 3$"):
        evaluate(net, split, short(autoattack(BALL)))
    assert evaluate(net, split, short(autoattack(BALL, classes=3))).worst < 0.9


def test_each_attack_gets_only_images_still_correct():
    """Over equal balls the last row holds the images correct under all attacks."""
    net, split = problem(6)
    battery = short(autoattack(BALL))
    found = evaluate(net, split, battery)
    assert all((found.ok[k + 1] <= found.ok[k]).all() for k in range(3))
    assert found.worst == found.attacked_accuracies[-1]
    alone = [evaluate(net, split, Battery((entry,))).ok[1] for entry in battery.attacks]
    assert found.ok[1].equal(alone[0])
    both = (alone[0] & alone[1] & alone[2]).sum()
    assert abs(found.ok[3].sum() - both) <= 1  # an attack's seed is that of its place


def test_a_random_net_is_classified_by_votes_once_per_attack():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen = 0

        def forward(self, x):
            self.seen += len(x)
            return x

    net, split = problem(6)
    counting = Counting()
    battery = short(autoattack_rand(Linf(1e-6)), steps=3)
    found = evaluate(nn.Sequential(Noise(1e-6), counting, net), split, battery)
    assert found.ok[2].sum() == 36 and (found.draws, found.votes) == (2, 8)
    # Five of eight votes on all; for each attack 1 + 3 gradients of two draws and one verdict. And
    # whether the noise can repeat images is tried once, with two draws of two, both ways.
    assert counting.seen == 40 * 5 + 2 * 36 * (4 * 2 + 5) + 2 * 2 * 2


def test_starts_do_not_depend_on_the_other_images_or_the_batch(monkeypatch):
    """Also where the images fill several blocks, whose starts are drawn one after another."""

    net, split = problem(6)
    from adv.evaluation import evaluator

    monkeypatch.setattr(evaluator, "BLOCK", 16)
    battery = Battery((("a", APGD(BALL, steps=1)), ("b", APGD(Linf(0.03), steps=1))))
    whole = evaluate(net, split, battery).ok
    labels = split.labels.clone()
    labels[:20] = (labels[:20] + 1) % 6  # the first block is not even begun
    labels[20:36:2] = (labels[20:36:2] + 1) % 6
    part = evaluate(net, Split(split.images, labels), battery, batch=5).ok
    assert not part[:, :20].any() and not part[:, 20:36:2].any()
    assert torch.equal(part[:, 21:36:2], whole[:, 21:36:2])
    assert 0 < whole[1].sum() < whole[0].sum()


def test_starts_are_drawn_for_a_block_at_a_time(monkeypatch):

    sizes = []

    class Watched(APGD):
        def start(self, x, y, generator):
            sizes.append(len(x))
            return super().start(x, y, generator)

    net, split = problem(6)
    from adv.evaluation import evaluator

    monkeypatch.setattr(evaluator, "BLOCK", 16)
    evaluate(net, split, Battery((("a", Watched(BALL, steps=1)),)))
    assert sizes == [16, 16, 8]


def test_blocks_have_starts_of_their_own(monkeypatch):

    begun = []

    class Watched(APGD):
        def start(self, x, y, generator):
            state = super().start(x, y, generator)
            begun.append(state.adv - x)
            return state

    net, split = problem(6, n=8)
    twice = Split(split.images.repeat(2, 1, 1, 1), split.labels.repeat(2))
    from adv.evaluation import evaluator

    monkeypatch.setattr(evaluator, "BLOCK", 8)
    evaluate(net, twice, Battery((("a", Watched(BALL, steps=1)),)))
    first, second = begun
    assert (first != second).float().mean() > 0.9


# --- torchattacks as the oracle ---


@pytest.fixture(scope="module")
def digits() -> Split:
    return recorded.read_digits()


@pytest.fixture(scope="module")
def robust() -> nn.Module:
    return recorded.read_trained_net("robust")


ALIKE = 0.005 + 1e-6  # half a point


def test_the_recorded_problem_is_the_one_that_is_meant(robust, digits):
    """The test digits of the data set, and nets that learned from the training digits."""
    test = load("digits").test
    assert torch.equal(digits.images, test.images) and torch.equal(digits.labels, test.labels)
    for net in (robust, recorded.read_trained_net("plain")):
        with torch.no_grad():
            right = net(digits.images.float() / 255).argmax(1) == digits.labels
        assert right.float().mean() > 0.5


@pytest.mark.slow
@pytest.mark.parametrize("ball", [Linf(0.06), L2(1.0)], ids=["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_apgd_is_not_weaker_than_that_of_torchattacks(robust, digits, ball, loss):
    """Means of three starts: with a single one, chance alone changes two images of 360."""
    steps, starts = 15, range(3)
    targets = (1, 2) if loss == "dlr-targeted" else (None,)
    parts = tuple(APGD(ball, steps, loss, target) for target in targets)
    tried = [Battery((("apgd", Worst(parts)),), seed=seed) for seed in starts]
    ours = np.mean([evaluate(robust, digits, battery).worst for battery in tried])
    right = recorded.read("autoattack")[f"apgd {type(ball).__name__} {loss}"]
    assert right.shape == (len(starts), len(digits)) == (3, 360)
    theirs = right.mean()
    assert 0.02 < ours <= theirs + ALIKE
    assert ours > theirs - 0.06  # else the budgets are not equal


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "eps"), [("plain", 0.04), ("robust", 0.06)])
def test_autoattack_is_not_weaker_than_that_of_torchattacks(kind, eps, digits):
    """Theirs has FAB, but takes 10 steps where ours, as published, takes 100."""
    net, split, ball = recorded.read_trained_net(kind), digits.head(40), Linf(eps)
    attacks = (*autoattack(ball).attacks[:2], ("square", Square(ball, 200)))
    ours = evaluate(net, split, Battery(attacks)).worst
    right = recorded.read("autoattack")[f"autoattack {kind}"]
    assert right.shape == (40,)
    assert 0 < ours <= right.mean() + ALIKE
