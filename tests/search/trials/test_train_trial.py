"""Training of a trial with patience, weight averaging and CAT, also when it is interrupted."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import spaces
from adv import CAT, SGD, BaseNet, Curriculum, Recipe, Score, load
from adv.checkpoints.checkpoint import read_checkpoint
from adv.training.schedules import Piecewise
from search.record.run_folder import EXAMPLES
from search.trials.rung_evaluation import RungEvaluator
from search.trials.train_trial import Training
from search.trials.trial_state import BEST, load_state

RECIPES = {
    "patience": Recipe(
        net=BaseNet(),
        optimizer=SGD(lr=1e-9),  # nothing rises after the first epoch
        curriculum=Curriculum(eps=0.03, kind="n-fgsm"),
        epochs=6,
        batch=32,
        patience=2,
    ),
    "average": Recipe(
        net=BaseNet(), curriculum=Curriculum(eps=0.03, steps=1), epochs=3, batch=32, ema=0.99
    ),
    "lessons": Recipe(
        net=BaseNet(),
        optimizer=SGD(lr=1e-9),
        curriculum=CAT(most=1, patience=1),
        epochs=9,
        batch=32,
    ),
}


@pytest.fixture(scope="module")
def run():
    scale = spaces.scale(
        "laptop", train_images=96, images=20, watch_images=16, gap_images=2, votes=2
    )
    return Training("smoke", replace(scale, battery_steps=1), load("digits"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_trial_that_is_cut_off_goes_on_as_if_nothing_had_happened(
    run, monkeypatch, tmp_path, name
):
    monkeypatch.setattr(Training, "recipe", lambda *_: RECIPES[name])
    whole = list(run({}, 3, tmp_path / "whole"))
    ended = {"patience": 3, "average": 3, "lessons": 3}[name]
    epochs = RECIPES[name].epochs
    assert [v.epoch for v in whole] == [*range(1, ended + 1), ended]
    assert [v.epochs for v in whole] == [epochs] * ended + [ended]
    assert whole[-1].result and not any(v.result for v in whole[:-1])
    with np.load(tmp_path / "whole" / EXAMPLES) as examples:
        assert examples["split"] == "validation" and len(examples["labels"]) == run.scale.images
    for cuts in [(1,), range(2, ended + 1)]:  # cut off once, and again and again
        folder = tmp_path / f"cut-{cuts[0]}"
        for cut in cuts:
            first = run({}, 3, folder)
            told = [next(first) for _ in range(cut)]
            first.close()
            assert [v.metrics for v in told] == [v.metrics for v in whole[:cut]]
        again = list(run({}, 3, folder))
        assert [v.metrics for v in again] == [v.metrics for v in whole]
        assert [v.epoch for v in told] == [v.epoch for v in again[:cut]]
        assert again[-1].result.objectives == whole[-1].result.objectives
        assert again[-1].result.details.table == whole[-1].result.details.table
        mine, theirs = (read_checkpoint(p / BEST) for p in (folder, tmp_path / "whole"))
        assert mine[1] == theirs[1]
        assert all(torch.equal(mine[0][k], theirs[0][k]) for k in theirs[0])


def test_a_trial_is_measured_once_its_learning_rate_has_begun_to_fall(run):
    late = SGD(0.1, decay=Piecewise((0.0, 0.6), (2.0, 0.2)))
    recipe = replace(RECIPES["patience"], optimizer=late, epochs=10)
    evaluator = RungEvaluator(recipe, run.scale, run.watch_split)
    assert evaluator.learning_rates == pytest.approx([1.0] * 6 + [0.1] * 4)
    assert evaluator.epochs == (7,)
    constant = RungEvaluator(RECIPES["patience"], run.scale, run.watch_split)
    assert constant.learning_rates == [1.0] * 6 and constant.epochs == (2, 4)


def test_a_rung_changes_nothing_in_the_training_and_is_told_again(run, monkeypatch, tmp_path):
    monkeypatch.setattr(Training, "recipe", lambda *_: RECIPES["average"])
    plain = list(run({}, 3, tmp_path / "plain"))
    stairs = replace(run, rungs=True)
    told = list(stairs({}, 3, tmp_path / "rungs"))
    assert [v.metrics for v in told] == [v.metrics for v in plain]
    assert told[-1].result.details.table == plain[-1].result.details.table
    assert [v.epoch for v in told if v.rung] == [1, 2] and not any(v.rung for v in plain)
    rung = told[0].rung
    assert rung.key == (1, 10)  # the attack is at its full strength from the first epoch on
    score = Score.from_dict(rung.table)
    assert score.images == 16 and len(score.names) == 6
    assert rung.point == (score.natural_accuracy, score.attacked_score)
    each = 100 * score.ok[1:].double().sum(0)
    assert rung.sd[1] == pytest.approx(float(each.std() / 4))
    assert [v.rung for v in stairs({}, 3, tmp_path / "rungs")] == [v.rung for v in told]


def test_what_is_kept_is_the_average(run, monkeypatch, tmp_path):
    monkeypatch.setattr(Training, "recipe", lambda *_: RECIPES["average"])
    *_, last = run({}, 3, tmp_path)
    state = load_state(tmp_path).training
    assert state is not None
    kept, card = read_checkpoint(tmp_path / BEST)
    if card["epoch"] == 3:
        assert all(torch.equal(kept[k], v) for k, v in state["average"]["net"].items())
    assert not any(torch.equal(kept[k], state["net"][k]) for k in kept if k.endswith("weight"))
    assert last.result.details.best_epoch == card["epoch"]
