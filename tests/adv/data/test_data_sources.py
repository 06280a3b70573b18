"""Data of a user's own: arrays, functions, folders in other layouts, and what is refused."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from split_contents import counts

from adv.data import assemble
from adv.data.datasets import DataError, load
from adv.data.names import check_name, check_run, resolve_name

N = 40


def arrays(shape=(12, 10), classes=2, n=N, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), np.arange(n) % classes


def npz(path: Path, **members) -> str:
    np.savez(path, **members)
    return str(path)


@pytest.mark.parametrize(
    ("shape", "found"),
    [((12, 10), (1, 12, 10)), ((12, 10, 3), (3, 12, 10)), ((3, 12, 10), (3, 12, 10))],
)
@pytest.mark.parametrize("scale", [1, 255], ids=["bytes", "floats"])
def test_arrays_are_read_in_any_layout_and_split(tmp_path, shape, found, scale):
    image, label = arrays(shape)
    held = image if scale == 1 else (image / np.float32(255))
    data = load(npz(tmp_path / "own.npz", image=held, label=label), tmp_path)
    assert data.shape == found and data.classes == ("0", "1")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [29, 3, 8]
    assert counts(data.test, 2) == [4, 4]
    every = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert int(every.sum()) == int(image.sum())  # each image once, floats give their bytes back
    assert any("a fifth is the test split" in note for note in data.notes)


def test_arrays_of_each_split_and_labels_by_name_are_kept_apart(tmp_path):
    image, _ = arrays()
    names = np.array(["dog", "cat"])[np.arange(N) % 2]
    members: dict[str, np.ndarray] = {}
    for split, rows in {"train": range(20), "val": range(20, 30), "test": range(30, N)}.items():
        members |= {f"{split}_images": image[rows], f"{split}_labels": names[rows]}
    data = load(npz(tmp_path / "own.npz", **members), tmp_path)
    assert data.classes == ("cat", "dog")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [20, 10, 10]
    assert int(data.validation.images.sum()) == int(image[20:30].sum())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        ({"label": np.eye(2)[np.arange(N) % 2]}, "one-hot labels become numbers by argmax"),
        ({"label": np.arange(N) % 2 - 1}, "label -1 of image 0 is negative"),
        ({"label": np.arange(N) % 2 / 1.0}, "labels are float64, expected whole numbers"),
        ({"label": np.arange(N - 1)}, "40 images but 39 labels"),
        ({"label": np.zeros(N, int)}, "1 class, at least 2 are needed"),
        ({"label": np.arange(N) % 2, "classes": np.array(["a"])}, "not a class: the data has 1"),
        ({"image": np.full((N, 4, 4), np.nan)}, "holds NaN"),
        ({"image": np.full((N, 4, 4), 1.5)}, "floats from 1.5 to 1.5, expected [0, 1]: divide"),
        ({"image": np.full((N, 4, 4), -1.0)}, "undo the normalisation"),
        ({"image": np.full((N, 4, 4), 256)}, "whole numbers from 256 to 256, expected bytes"),
        ({"image": np.zeros((N, 5, 4, 4), np.uint8)}, "shape (5, 4, 4), expected (h, w)"),
        ({"image": np.zeros((0, 4, 4), np.uint8), "label": np.arange(0)}, "no images"),
    ],
)
def test_arrays_that_are_no_data_are_refused_in_one_line(tmp_path, spoil, said):
    image, label = arrays()
    path = npz(tmp_path / "own.npz", **{"image": image, "label": label, **spoil})
    with pytest.raises(DataError, match=re.escape(said)) as error:
        load(path, tmp_path)
    assert "\n" not in str(error.value) and path in str(error.value)
    assert [file.name for file in tmp_path.iterdir()] == ["own.npz"]


def function(path: Path, body: str) -> str:
    path.write_text(
        "import numpy as np, torch\nfrom torch.utils.data import Dataset\n"
        "class Own(Dataset):\n"
        "    classes = ('a', 'b')\n"
        "    def __init__(self, n=40): self.n = n\n"
        "    def __len__(self): return self.n\n"
        "    def __getitem__(self, i): return self.image(i), self.label(i)\n"
        "    def image(self, i): return torch.full((1, 6, 8), i / 255)\n"
        "    def label(self, i): return i % 2\n" + body
    )
    return f"{path}:make"


def test_a_function_returns_one_data_set_or_its_splits(tmp_path):
    one = load(function(tmp_path / "one.py", "def make(): return Own()\n"), tmp_path)
    assert one.shape == (1, 6, 8) and one.classes == ("a", "b")
    assert [len(s) for s in (one.train, one.validation, one.test)] == [29, 3, 8]
    pixels = torch.cat([s.images[:, 0, 0, 0] for s in (one.train, one.validation, one.test)])
    assert sorted(pixels.tolist()) == list(range(40))
    body = "def make(): return {'train': Own(30), 'val': Own(6), 'test': Own(4)}\n"
    three = load(function(tmp_path / "three.py", body), tmp_path, image_size="3x16x16")
    assert three.shape == (3, 16, 16)
    assert [len(s) for s in (three.train, three.validation, three.test)] == [30, 6, 4]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def make(: pass\n", "line 10: "),
        ("def made(): return Own()\n", "no function 'make' in it: did you mean 'made'?"),
        ("def make(): raise RuntimeError('boom')\n", "make fails: RuntimeError: boom"),
        ("def make(): return 3\n", "its train set is a int, expected a torch Dataset"),
        ("def make(): return Own(), Own(), Own(), Own()\n", "has 4 data sets"),
        ("def make(): return Own(), Own(0)\n", "the test split has no images"),
        (
            "def make():\n    Own.label = lambda s, i: 2\n    return Own()\n",
            "label 2 of image 0 is",
        ),
        ("def make():\n    Own.label = lambda s, i: 0.\n    return Own()\n", "labels are float64"),
        ("def make():\n    Own.label = lambda s, i: [0, 1]\n    return Own()\n", "one-hot"),
        (
            "def make():\n    Own.image = lambda s, i: torch.zeros(1, 6, 8 + (i == 7))\n"
            "    return Own()\n",
            "image 7 is 1x6x9, the first image is 1x6x8: --image-size 6x8 crops and resizes",
        ),
        (
            "def make():\n    Own.image = lambda s, i: torch.rand(1, 6, 8)\n    return Own()\n",
            "differs from reading to reading: leave random transforms out",
        ),
        (
            "def make():\n    Own.image = lambda s, i: torch.randn(1, 6, 8) * 0 - 1\n"
            "    return Own()\n",
            "undo the normalisation",
        ),
    ],
)
def test_functions_that_give_no_data_are_refused_in_one_line(tmp_path, body, said):
    with pytest.raises(DataError, match=re.escape(said)) as error:
        load(function(tmp_path / "own.py", body), tmp_path / "root")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "root").exists()


def test_a_file_is_run_only_where_its_user_names_it(tmp_path):
    name = function(tmp_path / "own.py", "raise SystemExit\n")
    check_name(name)
    with pytest.raises(DataError, match=r"say --data .*own\.py:make"):
        check_run(name, "runs/somebody")
    check_run("digits", "runs/somebody")
    assert resolve_name("~/a.py:f") == f"{Path.home()}/a.py:f"


def test_names_of_files_that_are_not_there_are_refused(tmp_path):
    for name in (tmp_path / "no.npz", f"{tmp_path}/no.py:f"):
        with pytest.raises(DataError, match="no such file of data"):
            check_name(str(name))


def picture(path: Path, image: Image.Image, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def pets(folder: Path, size=(20, 24), n=10) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for i in range(n):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            picture(folder / name / f"{i}.png", Image.fromarray(pixels))
    return folder


def test_a_folder_without_test_images_is_split_once_and_that_is_written_down(tmp_path):
    folder = pets(tmp_path / "pets")
    data = load(str(folder), tmp_path / "root")
    assert data.shape == (3, 20, 24)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [14, 2, 4]
    (table,) = (tmp_path / "root" / "folders").glob("*-split.csv")
    assert table.read_text().count(",test") == 4
    assert str(table) in data.notes[0]
    before = {row.numpy().tobytes() for row in data.test.images}
    picture(folder / "cat" / "0a.png", Image.new("RGB", (24, 20), "red"))
    after = {row.numpy().tobytes() for row in load(str(folder), tmp_path / "root").test.images}
    assert before <= after


def test_a_folder_of_validation_images_is_used(tmp_path):
    for split, n in (("train", 6), ("val", 4), ("test", 2)):
        pets(tmp_path / "pets" / split, n=n)
    data = load(str(tmp_path / "pets"), tmp_path / "root")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [12, 8, 4]


def test_what_was_done_to_unusual_images_is_said(tmp_path):
    folder = pets(tmp_path / "pets")
    deep = Image.fromarray(np.full((20, 24), 40_000, np.uint16))
    picture(folder / "cat" / "deep.png", deep)
    picture(folder / "cat" / "ink.jpg", Image.new("CMYK", (24, 20)))
    picture(folder / "dog" / "few.png", Image.new("P", (24, 20)))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(folder / "dog" / "turned.jpg", Image.new("RGB", (20, 24)), exif=exif)
    picture(folder / "dog" / "large.png", Image.new("RGB", (48, 48)))
    data = load(str(folder), tmp_path / "root")
    said = " ".join(data.notes)
    for kind in ("16 bits: 1 of 25", "CMYK: 1 of", "palette: 1 of", "rotated by EXIF: 1 of"):
        assert kind in said
    assert "images of 20x24 to 48x48 are cropped and resized to 32x32; --image-size" in said
    assert data.shape == (3, 32, 32)
    assert load(str(folder), tmp_path / "root").notes == data.notes  # from the cache
    assert load(str(folder), tmp_path / "root", "1x8x12").shape == (1, 8, 12)


def test_a_mapped_set_holds_the_same_images(tmp_path, monkeypatch):
    folder = pets(tmp_path / "pets")
    held = npz(tmp_path / "own.npz", image=arrays((3, 9, 7))[0], label=arrays()[1])
    whole = [load(name, tmp_path / "a") for name in (str(folder), held)]
    monkeypatch.setattr(assemble, "MAP_FROM", 1)
    for name, data in zip((str(folder), held), whole, strict=True):
        for _ in range(2):
            mapped = load(name, tmp_path / "b")
            assert mapped.fingerprint == data.fingerprint
        part = mapped.train.head(20).tail(5)
        packed = pickle.dumps(part)
        again = pickle.loads(packed)
        assert torch.equal(again.images, part.images) and torch.equal(again.labels, part.labels)
        assert len(packed) < 2000  # the place of the pixels, not the pixels
        whole_part = pickle.loads(pickle.dumps(data.train.head(20).tail(5)))
        assert torch.equal(whole_part.images, part.images)
        assert len(list((tmp_path / "b" / "mapped").glob("*.npy"))) >= 1
