"""Examples as the page shows them: pictures, classes, confusions; and files that are none."""

import base64
import io
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from synthetic_studies import build

from adv import Score
from search.record.run_folder import EXAMPLES
from search.record.trial import Trial
from search.reporting.example_images import MAX_LISTED, read_examples

LABELS = np.array([0, 0, 1, 1])


def arrays(**changes):
    rng = np.random.default_rng(1)
    images = rng.integers(40, 200, (2, 3, 5, 7), dtype=np.uint8)
    return {
        "images": images,
        "attacked": images + np.uint8(4),
        "labels": LABELS,
        "predicted": np.array([0, 1, 1, 1]),
        "predicted_attacked": np.array([1, 1, 0]),
        "eps": np.array(8 / 255),
        "attack": np.array("PGD"),
        "norm": np.array("Linf"),
        "split": np.array("test"),
        "classes": np.array(["cat", "dog"]),
        **changes,
    }


def trial_with(folder, **changes) -> Trial:
    path = folder / "trials" / "0000" / EXAMPLES
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays(**changes))
    return build(1, 0).trials[0]


def pixels(uri):
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def test_pictures_and_confusions_are_those_of_the_file(tmp_path):
    found = read_examples(tmp_path, trial_with(tmp_path))
    assert found is not None and found["split"] == "test"
    assert found["attack"] == "PGD, Linf 8/255"
    assert found["natural"] == [[1, 1], [0, 2]] and found["attacked"] == [[0, 2], [1, 0]]
    first = found["shown"][0]
    assert (first["label"], first["before"], first["after"]) == ("cat", "cat", "dog")
    image, attacked = pixels(first["image"]), pixels(first["attacked"])
    assert image.shape == (5, 7, 3) and (attacked - image == 4).all()
    assert (pixels(first["change"]) == 128 + 40).all()
    assert found["rows"] == [["cat", 2, 50.0, None], ["dog", 2, 100.0, None]]


def test_classes_are_attacked_by_the_battery_at_the_radius_of_the_examples(tmp_path):
    trial = trial_with(tmp_path)
    ok = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0]]).bool()
    table = Score(("weak", "strong"), (2 / 255, 7 / 255), ok).to_dict()
    assert trial.result is not None
    details = replace(trial.result.details, table=table)
    trial.result = replace(trial.result, details=details)
    found = read_examples(tmp_path, trial)
    assert found is not None and [row[3] for row in found["rows"]] == [0.0, 50.0]


def test_one_channel_and_many_classes(tmp_path):
    grey = np.zeros((1, 1, 4, 4), dtype=np.uint8)
    many = {"labels": np.arange(30), "predicted": np.arange(30)[::-1].copy()}
    classes = np.array([f"c{k}" for k in range(30)])
    trial = trial_with(tmp_path, images=grey, attacked=grey, classes=classes, **many)
    found = read_examples(tmp_path, trial)
    assert found is not None and pixels(found["shown"][0]["image"]).shape == (4, 4)
    assert len(found["natural"]) == MAX_LISTED and found["natural"][0] == ["c0", "c29", 1]


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0, 0, 1, 7])},
        {"labels": np.array([0, -1, 1, 1])},
        {"images": np.zeros((2, 3, 5, 6), dtype=np.uint8)},
        {"images": np.zeros(3)},
        {"more": np.zeros(2_000_000)},  # which packs into a few KB
        {"classes": np.array([{"cat": 1}, None], dtype=object)},
        {"split": np.array(["a", "b"], dtype=object)},
    ],
)
def test_a_file_that_is_not_ours_is_none(tmp_path, changes):
    assert read_examples(tmp_path, trial_with(tmp_path, **changes)) is None


def test_no_file_no_archive_and_a_link_out_of_the_run_are_none(tmp_path):
    run = tmp_path / "run"
    trial = trial_with(run)
    path = run / "trials" / "0000" / EXAMPLES
    away = tmp_path / "away.npz"
    path.rename(away)
    assert read_examples(run, trial) is None
    path.write_bytes(b"PK\x03\x04 no archive")
    assert read_examples(run, trial) is None
    path.unlink()
    os.symlink(away, path)
    assert read_examples(run, trial) is None
    path.unlink()
    away.rename(path)
    assert read_examples(run, trial) is not None
