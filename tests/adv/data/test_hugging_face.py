"""Data of Hugging Face, from a local set: nothing is downloaded."""

import numpy as np
import pytest

from adv.data.datasets import DataError, load

datasets = pytest.importorskip("datasets", reason="needs robustune[hf]")


def table(n: int, **columns):
    rng = np.random.default_rng(n)
    images = [rng.integers(0, 256, (9, 12, 3), dtype=np.uint8) for _ in range(n)]
    features = datasets.Features(
        {"img": datasets.Image(), "fine": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"img": images, "fine": [i % 2 for i in range(n)]} | columns
    return datasets.Dataset.from_dict(rows, features=features if not columns else None)


def test_splits_classes_and_columns_are_found(tmp_path):
    splits = {"train": table(30), "validation": table(8), "test": table(6)}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "pets"))
    data = load(f"hf:{tmp_path}/pets", tmp_path / "root")
    assert data.shape == (3, 9, 12) and data.classes == ("cat", "dog")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [30, 8, 6]
    first = np.asarray(splits["test"][0]["img"]).transpose(2, 0, 1)
    (row,) = [i for i, x in enumerate(data.test.images.numpy()) if np.array_equal(x, first)]
    assert int(data.test.labels[row]) == 0


def test_a_single_table_gives_its_test_split(tmp_path):
    table(20).save_to_disk(str(tmp_path / "one"))
    data = load(f"hf:{tmp_path}/one", tmp_path / "root", "1x8x8")
    assert data.shape == (1, 8, 8)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [14, 2, 4]


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    with pytest.raises(DataError, match="hf: is followed by OWNER/NAME"):
        load("hf:", tmp_path)
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(str(tmp_path / "text"))
    with pytest.raises(DataError, match="no column of images among text"):
        load(f"hf:{tmp_path}/text", tmp_path / "root")
