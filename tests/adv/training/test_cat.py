"""Curriculum adversarial training: batch mixing by hand, when a lesson ends, and where it goes."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from reproducibility import bit_equal, save_and_load, seeded_generator
from small_nets import BatchNormNet
from torch import nn

from adv import CAT, PGD, RSE, SGD, TRADES, Ladder, Linf, Recipe, build, train
from adv.training.cat import CATRun

BALL = Linf(0.032)


def recipe(cat: CAT, **changes) -> Recipe:
    settings = {"net": BatchNormNet(), "optimizer": SGD(lr=0.02), "epochs": 6, "batch": 25}
    return Recipe(curriculum=cat, **{**settings, **changes})


# --- batch mixing ---


@pytest.mark.parametrize("n", [20, 23, 3])
def test_a_ladder_by_hand(digits, n):
    """Parts of equal size, the rest in the last; step 2 eps / k times a draw from [1, 10 / k]."""
    net = build(Recipe(net=BatchNormNet()), 10, 0).eval()
    x, y = digits.train.images[:n].float() / 255, digits.train.labels[:n]
    adv = Ladder(BALL, 3)(net, x, y, generator=seeded_generator(1))
    generator, size, expected = seeded_generator(1), n // 4, [x[: n // 4]]
    for k in (1, 2, 3):
        rows = slice(k * size, (k + 1) * size) if k < 3 else slice(3 * size, None)
        draw = float(torch.rand((), generator=generator))
        attack = PGD(BALL, steps=k, step_size=0.064 / k * (1 + (10 / k - 1) * draw))
        expected.append(attack(net, x[rows], y[rows], generator=generator))
    assert torch.equal(adv, torch.cat(expected))
    assert torch.equal(adv[:size], x[:size]) and (BALL.distance(adv, x) <= 0.032 + 1e-6).all()
    assert (adv[size:] != x[size:]).any((1, 2, 3)).all()


def test_ladders_are_values_that_leave_no_trace(digits):
    ladder = Ladder(BALL, 2, loss="kl")
    assert pickle.loads(pickle.dumps(ladder)) == ladder == eval(repr(ladder))
    net = build(recipe(CAT(), defences=(RSE(0.1, 0.1),)), 10, 0).train()
    x, y, random = digits.train.images[:6] / 255, digits.train.labels[:6], torch.get_rng_state()
    before = copy.deepcopy(net.state_dict())
    ladder(net, x, y)
    assert bit_equal(dict(net.state_dict()), dict(before)) and all(
        m.training for m in net.modules()
    )
    assert torch.equal(torch.get_rng_state(), random)
    clean = Ladder(BALL, 0)(net, x, y)
    assert torch.equal(clean, x) and clean.data_ptr() != x.data_ptr()
    assert torch.equal(Ladder(Linf(0.0), 3)(net, x, y), x)
    with pytest.raises(ValueError, match="as many labels"):
        ladder(net, x, y[1:])


# --- lessons ---


class Training:
    """What a run sees of a training, with a worst case that is told beforehand."""

    def __init__(self, run: CATRun, worst: list[float]) -> None:
        self.log: list[int] = []
        self.eval_net, self.here = nn.Identity(), 0
        told = iter(worst)
        run._worst_case = lambda net: next(told)  # type: ignore[method-assign]  # told, not measured

    def weights(self):
        return {"epoch": self.here}

    def restore_weights(self, weights):
        self.log.append(weights["epoch"])
        self.here = weights["epoch"]


def lessons(cat: CAT, accuracies, worst, split):
    """The lesson of each epoch, and where training went back to."""
    run = cat.start(split)
    training, seen = Training(run, worst), []
    for n, accuracy in enumerate(accuracies, 1):
        if run.finished:
            break
        run.begin_epoch(training)
        seen.append(run.k)
        training.here = n
        run.end_epoch(training, accuracy)
    return seen, training.log


def test_a_lesson_that_is_learned_is_followed_by_the_next(digits):
    """Above the threshold, and not at it; the last lesson stays."""
    seen = lessons(CAT(most=2), [0.9, 0.95, 0.951, 0.99, 0.99, 0.99], [0.1] * 20, digits.train)
    assert seen == ([0, 0, 0, 1, 2, 2], [])


def test_a_lesson_that_brings_nothing_ends_at_its_best_epoch(digits):
    """Epoch 2 is the best; two epochs later training goes back to it, and that starts lesson 1."""
    worst = [0.3, 0.5, 0.5, 0.4, *(0.35, 0.3, 0.36), 0.2, 0.1]
    seen = lessons(CAT(most=1, patience=2), [0.5] * 20, worst, digits.train)
    # Lesson 1 begins with what epoch 2 is worth under it, 0.35, which epoch 6 surpasses.
    assert seen == ([0, 0, 0, 0, 1, 1, 1, 1], [2])


def test_what_the_training_makes_of_it(digits):
    """A net that stands still: two epochs a lesson but for the first's best, then it is over."""
    still = recipe(CAT(most=2, patience=1), optimizer=SGD(lr=1e-12, weight_decay=0), epochs=20)
    epochs = list(train(still, digits.train.head(100), classes=10, seed=0))
    assert [e.metrics["lesson"] for e in epochs] == [0, 0, 1, 2] and epochs[-1].total == 20
    assert [e.metrics["steps"] for e in epochs] == [0, 0, 1, 2]
    assert all("catastrophic_overfitting" not in e.metrics for e in epochs)
    worst = [e.metrics["worst_case_accuracy"] for e in epochs]
    assert worst == sorted(worst, reverse=True)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_it_goes_back_to_the_best_weights(digits, monkeypatch, ema):
    """Weights, average and optimizer are those of the best epoch when the next lesson begins."""
    told = iter([0.5, 0.4, 0.3, 0.3, 0.3])
    monkeypatch.setattr(CATRun, "_worst_case", lambda *_: next(told))
    taken = []
    begin = CATRun.begin_epoch

    def spied(self, training):
        begin(self, training)
        taken.append(training.weights())

    monkeypatch.setattr(CATRun, "begin_epoch", spied)
    learning = recipe(CAT(most=1, patience=2), epochs=4, ema=ema)
    states = [e.state() for e in train(learning, digits.train.head(50), classes=10, seed=0)]
    kept = {name: states[0][name] for name in ("net", "optimizer", "average")}
    assert bit_equal(taken[3], kept)
    assert not bit_equal(taken[2], kept) and (ema == 0) == (kept["average"] is None)


def test_the_held_out_images_are_the_last_and_not_trained_on(digits):
    split = digits.train.head(200)
    run = CAT(held=0.1).start(split)
    assert bit_equal(run.split.images, split.images[:180]) and bit_equal(
        run.held.images, split.images[180:]
    )
    assert len(CAT().start(split).held) == 4 and len(CAT().start(split.head(5)).held) == 1
    with pytest.raises(ValueError, match="1 images are too few to hold some out"):
        CAT().start(split.head(1))
    (epoch,) = train(recipe(CAT(held=0.1), epochs=1), split, classes=10, seed=0)
    net: Any = epoch.net
    pixels = split.images[:180].float() / 255
    assert torch.allclose(net[0].mean, pixels.mean((0, 2, 3)).reshape(3, 1, 1), atol=1e-5)


def test_the_worst_case_is_over_all_steps_up_to_the_lessons(digits):
    """Right after no attack and after each PGD; the same at each call, a random net's too."""
    *_, epoch = train(recipe(CAT()), digits.train.head(300), classes=10, seed=0)
    run = CAT().start(digits.train)
    found = []
    for run.k in (0, 2, 5):
        found.append(run._worst_case(epoch.net))
        assert run._worst_case(epoch.net) == found[-1]
    x, y = run.held.images.float() / 255, run.held.labels
    assert found[0] == pytest.approx((epoch.net.eval()(x).argmax(1) == y).float().mean().item())
    assert found[0] >= found[1] >= found[2]


@pytest.mark.parametrize("done", [1, 2, 3, 4])
def test_going_on_is_never_having_stopped(digits, monkeypatch, done):
    """Across the ends of lessons, with an average, noise, dropout and another objective."""
    learning = recipe(
        CAT(most=2, patience=1, held=0.1),
        net=BatchNormNet(dropout=0.2),
        defences=(RSE(0.1, 0.1),),
        objective=TRADES(),
        epochs=5,
        ema=0.9,
    )
    split = digits.train.head(60)
    whole = [(e.state(), dict(e.metrics)) for e in train(learning, split, classes=10, seed=2)]
    assert len({metrics["lesson"] for _, metrics in whole}) > 1
    stored = save_and_load(whole[done - 1][0]) if done < len(whole) else whole[-1][0]
    for _ in range(2):
        again = list(train(learning, split, classes=10, seed=2, state=stored))
        assert [dict(e.metrics) for e in again] == [metrics for _, metrics in whole[done:]]
        if again:
            assert bit_equal(again[-1].state(), whole[-1][0])


def test_what_it_costs_at_most():
    """As if every epoch were of the last lesson: k / 2 steps an image, and one to learn."""
    assert recipe(CAT(most=6), epochs=4, batch=100).gradient_steps(1000) == 4 * 10 * (1 + 3)
    assert CAT().cap_steps(3) == CAT(most=3) and CAT(most=2).cap_steps(3) == CAT(most=2)
    assert CAT().cap_steps(None) == CAT()
    assert CAT(most=0).lessons(2)[-1].attack == Ladder(BALL, 0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CAT(eps=-1), "eps is a radius"),
        (lambda: CAT(most=-1), "0 steps or more, got -1"),
        (lambda: CAT(threshold=95), r"accuracy lies in \[0, 1\], got 95"),
        (lambda: CAT(patience=0), "patience is 1 epoch or more, got 0"),
        (lambda: CAT(held=0.0), r"held out lies in \(0, 0.5\], got 0"),
        (lambda: Ladder(BALL, -1), "steps must be 0 or more, got -1"),
        (lambda: Recipe(patience=0), "patience is 1 epoch or more, got 0"),
        (lambda: Recipe(ema=1.0), r"ema lies in \[0, 1\), got 1.0"),
    ],
)
def test_settings_out_of_range(make, said):
    with pytest.raises(ValueError, match=said):
        make()
