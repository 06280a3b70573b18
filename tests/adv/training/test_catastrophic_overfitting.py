"""Catastrophic overfitting: seen where it is known to be, and not where it is not."""

from __future__ import annotations

import pytest
import torch
from reproducibility import bit_equal
from small_nets import BatchNormNet
from torch import nn

from adv import (
    CAT,
    FGSM,
    NFGSM,
    PGD,
    AdamW,
    BaseNet,
    Battery,
    Curriculum,
    Ladder,
    Lesson,
    Linf,
    Madry,
    Ramp,
    Recipe,
    Split,
    evaluate,
    train,
)
from adv.training.catastrophic_overfitting import (
    has_collapsed,
    measure,
    one_step_attack,
    probe_images,
)

BALL = Linf(0.1)


class Valley(nn.Module):
    """Wrong where the mean pixel is between 0.5 and 0.6: a full step lands beyond."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.low = 0.51 if wrong else 9.0

    def forward(self, x):
        depth = 50 * ((x.mean((1, 2, 3)) - self.low - 0.04).abs() - 0.03)
        return torch.stack([depth, -depth], 1)


def grey(n: int) -> Split:
    images = torch.full((n, 3, 32, 32), 127, dtype=torch.uint8)
    return Split(images, torch.zeros(n, dtype=torch.int64))


def test_a_net_that_one_step_misses_and_ten_find():
    found = measure(Valley(True), grey(20), FGSM(BALL), seed=0)
    overfitted = {"one_step_accuracy": 1.0, "pgd_accuracy": 0.0, "catastrophic_overfitting": 1.0}
    assert found == overfitted
    assert measure(Valley(True), grey(20), FGSM(BALL), seed=0) == found
    sound = {"one_step_accuracy": 1.0, "pgd_accuracy": 1.0, "catastrophic_overfitting": 0.0}
    assert measure(Valley(False), grey(20), FGSM(BALL), seed=0) == sound
    # Of two images nobody can tell.
    assert measure(Valley(True), grey(2), FGSM(BALL), seed=0)["catastrophic_overfitting"] == 0


@pytest.mark.parametrize(
    ("one_step", "pgd", "images", "collapsed"),
    [
        (26 / 31, 2 / 31, 31, True),  # FGSM training at radius .1, digits
        (20 / 31, 0.0, 31, True),
        (20 / 31, 6 / 31, 31, False),  # PGD training there: a step is weaker on any net
        (0.31, 0.09, 100, False),  # and at .14
        (0.31, 0.0, 100, True),
        (1.0, 0.49, 128, False),
        (0.0, 0.0, 128, False),
    ],
)
def test_a_collapse_is_more_than_a_weak_step(one_step, pgd, images, collapsed):
    assert has_collapsed(one_step, pgd, images) == collapsed


def test_which_lessons_and_which_images_it_is_for(digits):
    cheap: list[PGD | NFGSM] = [FGSM(BALL), PGD(BALL, steps=1), NFGSM(BALL)]
    assert [one_step_attack(Lesson(attack)) for attack in cheap] == cheap
    for attack in (PGD(BALL, steps=2), FGSM(Linf(0.0)), Ladder(BALL, 1)):
        assert one_step_attack(Lesson(attack)) is None
    sizes = {n: len(probe_images(grey(n))) for n in (10, 100, 1000, 9000)}
    assert sizes == {10: 10, 100: 16, 1000: 31, 9000: 128}


@pytest.mark.parametrize(
    ("curriculum", "said"),
    [
        (Curriculum(eps=0.03, kind="fgsm-rs"), True),
        (Curriculum(eps=0.03, steps=1), True),
        (Curriculum(eps=0.03, steps=2), False),
        (Curriculum(eps=0.0, kind="fgsm"), False),
        (Curriculum(eps=0.03, kind="fgsm", fraction=0), False),
        (CAT(most=1), False),
    ],
    ids=["fgsm-rs", "pgd-1", "pgd-2", "no ball", "no attack", "cat"],
)
def test_training_on_one_step_says_it(digits, curriculum, said):
    recipe = Recipe(net=BatchNormNet(), curriculum=curriculum, epochs=1, batch=32)
    random = torch.get_rng_state()
    (epoch,) = train(recipe, digits.train.head(64), classes=10, seed=0)
    names = {"one_step_accuracy", "pgd_accuracy", "catastrophic_overfitting"}
    assert names & set(epoch.metrics) == (names if said else set())
    assert torch.equal(torch.get_rng_state(), random)


def test_looking_changes_nothing(digits, monkeypatch):
    """The training goes on as if nobody had looked: no draw, no statistic, no gradient."""
    recipe = Recipe(
        net=BatchNormNet(dropout=0.3),
        curriculum=Curriculum(eps=0.03, kind="n-fgsm"),
        epochs=2,
        batch=32,
    )
    states = []
    for looks in (True, False):
        if not looks:
            monkeypatch.setattr("adv.training.catastrophic_overfitting.measure", lambda *_: {})
        split = digits.train.head(64)
        states.append([e.state() for e in train(recipe, split, classes=10, seed=0)])
    assert bit_equal(*states)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "overfits"), [("fgsm", True), ("n-fgsm", False), ("pgd", False)])
def test_fgsm_overfits_on_digits_and_n_fgsm_and_pgd_do_not(digits, kind, overfits):
    """All 1000 digits, eps rising to 0.1; PGD-20 on 200 others is the judge."""
    recipe = Recipe(
        net=BaseNet("gelu"),
        optimizer=AdamW(lr=4e-3),
        curriculum=Curriculum(eps=Ramp(0.0, 0.1, until=0.5), steps=3, kind=kind),
        objective=Madry(),
        epochs=10,
        batch=32,
    )
    epochs, found = [], []
    for epoch in train(recipe, digits.train, classes=10, seed=0):
        epochs.append(epoch)
        # Asked the same question, all kinds answer it, PGD's as well, which training never asks.
        found.append(measure(epoch.net, digits.train.head(100), FGSM(BALL), seed=0))
    flags = [e.metrics.get("catastrophic_overfitting", 0.0) for e in epochs]
    battery = Battery((("pgd", PGD(BALL, steps=20)),))
    score = evaluate(epochs[-1].net, digits.validation.head(200), battery)
    collapses = [each["catastrophic_overfitting"] for each in found]
    assert collapses[-1] == overfits
    if overfits:
        assert all(each["pgd_accuracy"] < each["one_step_accuracy"] / 2 for each in found[-4:])
        assert sum(collapses[-4:]) >= 3 and flags[-1] == 1.0 and sum(flags[-4:]) >= 2
        assert score.mean < 0.1 and score.natural_accuracy > 0.8
        assert epochs[-1].metrics["attacked_accuracy"] > 0.6
    else:
        assert not any(flags) and score.mean > 0.4
