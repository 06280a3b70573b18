"""Watching: the best epoch is known, the training ends in time, and both survive a break."""

from __future__ import annotations

import pytest
import torch
from reproducibility import bit_equal, save_and_load
from small_nets import BatchNormNet

from adv import PGD, SGD, Battery, Best, Curriculum, Linf, Recipe, Score, train, watch

BATTERY = Battery((("pgd", PGD(Linf(0.05), steps=2)),))


def score(robust: float, natural: float) -> Score:
    ok = torch.arange(100) < torch.tensor([[100 * natural], [100 * robust]])
    return Score(("pgd",), (0.05,), ok)


def test_the_best_is_robust_first_and_the_last_of_equals():
    seen, best = [], Best()
    for n, pair in enumerate([(0.2, 0.9), (0.4, 0.5), (0.4, 0.6), (0.3, 1), (0.4, 0.6)], 1):
        best = best.after(n, score(*pair))
        seen.append((best.epoch, best.rose, best.seen))
    assert seen == [(1, 1, 1), (2, 2, 2), (3, 2, 3), (3, 2, 4), (5, 2, 5)]
    assert best.rank == pytest.approx((0.4, 0.6))
    tired = {None: False, 5: False, 4: False, 3: True, 1: True}
    assert {patience: best.out_of_patience(patience) for patience in tired} == tired
    assert not Best().out_of_patience(1)


def recipe(**changes) -> Recipe:
    curriculum = Curriculum(eps=0.03, steps=1)
    return Recipe(net=BatchNormNet(), curriculum=curriculum, epochs=5, batch=32, **changes)


@pytest.mark.parametrize(("patience", "ends"), [(None, 5), (1, 2), (3, 4), (9, 5)])
def test_it_asks_for_no_more_epochs_than_its_patience(digits, patience, ends):
    """A net that does not learn: the first epoch is the best, and equals do not count."""
    asked = []

    def count(epochs):
        for epoch in epochs:
            asked.append(epoch.number)
            yield epoch

    still = recipe(optimizer=SGD(lr=1e-12, weight_decay=0, momentum=0))
    epochs = count(train(still, digits.train.head(32), classes=10, seed=0))
    held = digits.validation.head(20)
    seen = [
        (w.epoch.number, w.best.rose, w.seconds >= w.epoch.seconds)
        for w in watch(epochs, held, BATTERY, patience=patience)
    ]
    assert seen == [(n, 1, True) for n in range(1, ends + 1)] and asked == list(range(1, ends + 1))


def test_a_watch_that_goes_on_is_one_that_never_stopped(digits):
    learning, split, held = recipe(), digits.train.head(64), digits.validation.head(30)

    def watched(state=None, best=None):
        epochs = train(learning, split, classes=10, seed=1, state=state)
        return watch(epochs, held, BATTERY, patience=2, best=best)

    whole = [(w.best, w.is_best, w.score.ok, w.epoch.state()) for w in watched()]
    assert len(whole) >= 2 and whole[0][1]
    for done, (best, _, _, state) in enumerate(whole, 1):
        again = list(watched(save_and_load(state), best))
        assert [(w.best, w.is_best) for w in again] == [row[:2] for row in whole[done:]]
        assert all(
            torch.equal(w.score.ok, row[2]) for w, row in zip(again, whole[done:], strict=True)
        )
        if again:
            assert bit_equal(again[-1].epoch.state(), whole[-1][3])


def test_watching_leaves_no_trace_in_the_training(digits):
    learning, split = recipe(), digits.train.head(64)
    plain = [epoch.state() for epoch in train(learning, split, classes=10, seed=1)]
    epochs = train(learning, split, classes=10, seed=1)
    seen = [w.epoch.state() for w in watch(epochs, digits.validation.head(20), BATTERY)]
    assert bit_equal(plain, seen)
