"""A final training: it is scored on test images, and so are its examples."""

from dataclasses import replace

import numpy as np

import spaces
from adv import BaseNet, Curriculum, Recipe, load
from search.finals.train_finalist import FinalTraining
from search.record.run_folder import EXAMPLES
from search.trials.train_trial import Training


def test_its_examples_are_test_images(monkeypatch, tmp_path):
    recipe = Recipe(net=BaseNet(), curriculum=Curriculum(eps=0.03, steps=1), epochs=1, batch=32)
    monkeypatch.setattr(Training, "recipe", lambda *_: recipe)
    scale = spaces.scale("laptop", train_images=64, images=12, watch_images=8, votes=2)
    scale = replace(scale, battery_steps=1, test_images=9, strong_steps=1, strong_queries=2)
    data = load("digits")
    *_, last = FinalTraining(Training("smoke", scale, data))({}, 3, tmp_path / "0000")
    assert last.result and last.result.details.images == 9 and last.result.details.validation
    with np.load(tmp_path / "0000" / EXAMPLES) as examples:
        assert examples["split"] == "test"
        assert examples["labels"].tolist() == data.test.head(9).labels.tolist()
        assert np.array_equal(examples["images"], data.test.head(8).images.numpy())
        right = float((examples["labels"] == examples["predicted"]).mean())
    assert right == last.result.objectives["natural_accuracy"]
