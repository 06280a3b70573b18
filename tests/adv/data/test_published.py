"""Published data sets, read from small files of the published formats."""

from __future__ import annotations

import hashlib
import struct
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from PIL import Image
from split_contents import counts
from torchvision import datasets

from adv.data import published
from adv.data.datasets import DataError, load

RNG = np.random.default_rng(0)


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.tobytes())


def picture(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist(tmp_path, name, kind):
    images = RNG.integers(0, 256, (70, 28, 28), dtype=np.uint8)
    labels = (np.arange(70) % 10).astype(np.uint8)
    for split, rows in (("train", slice(0, 50)), ("t10k", slice(50, 70))):
        raw = tmp_path / kind / "raw"
        write_idx(raw / f"{split}-images-idx3-ubyte", images[rows])
        write_idx(raw / f"{split}-labels-idx1-ubyte", labels[rows])
    data = load(name, tmp_path)
    assert data.shape == (1, 28, 28) and len(data.classes) == 10
    assert [len(s) for s in (data.train, data.validation, data.test)] == [40, 10, 20]
    assert int(data.test.images.sum()) == int(images[50:].sum())
    assert load(name, tmp_path, "3x32x32").shape == (3, 32, 32)


def test_svhn(tmp_path, monkeypatch):
    lists = {}
    for split, n in (("train", 40), ("test", 20)):
        path = tmp_path / f"{split}_32x32.mat"
        pixels = RNG.integers(0, 256, (32, 32, 3, n), dtype=np.uint8)
        labels = np.arange(n)[:, None] % 10 + 1
        scipy.io.savemat(path, {"X": pixels, "y": labels.astype(np.uint8)})
        lists[split] = ["http://127.0.0.1:9/none", path.name, md5(path)]
    monkeypatch.setattr(datasets.SVHN, "split_list", lists)
    data = load("svhn", tmp_path)
    assert data.shape == (3, 32, 32) and counts(data.test, 10) == [2] * 10
    (row,) = [
        i
        for i in range(20)
        if (data.test.images[i].numpy() == pixels[..., 9].transpose(2, 0, 1)).all()
    ]
    assert data.test.labels[row] == 0  # 10 in the file


def test_stl10(tmp_path, monkeypatch):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    lists: dict[str, list] = {"train": [], "test": []}
    for split, n in (("train", 20), ("test", 10)):
        pixels = RNG.integers(0, 256, (n, 3, 96, 96), dtype=np.uint8)
        (folder / f"{split}_X.bin").write_bytes(pixels.tobytes())
        (folder / f"{split}_y.bin").write_bytes((np.arange(n) % 10 + 1).astype(np.uint8).tobytes())
        lists[split] = [[f"{split}_{k}.bin", md5(folder / f"{split}_{k}.bin")] for k in "Xy"]
    monkeypatch.setattr(datasets.STL10, "train_list", lists["train"])
    monkeypatch.setattr(datasets.STL10, "test_list", lists["test"])
    data = load("stl10", tmp_path)
    assert data.shape == (3, 96, 96) and data.classes[3] == "cat"
    found = {row.numpy().tobytes() for row in data.test.images}
    assert found == {row.transpose(0, 2, 1).tobytes() for row in pixels}  # columns come first


def test_gtsrb(tmp_path):
    base = tmp_path / "gtsrb"
    for label in range(43):
        for i in range(2):
            picture(base / "GTSRB" / "Training" / f"{label:05d}" / f"{i}.ppm", (20 + i, 30))
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for i in range(43):
        picture(base / "GTSRB" / "Final_Test" / "Images" / f"{i:05d}.ppm", (25, 25))
        lines.append(f"{i:05d}.ppm;25;25;0;0;9;9;{i}")
    (base / "GT-final_test.csv").write_text("\n".join(lines) + "\n")
    data = load("gtsrb", tmp_path)
    assert data.shape == (3, 32, 32) and len(data.classes) == 43
    assert counts(data.test, 43) == [1] * 43
    assert "images of 20x30 to 21x30 are cropped and resized to 32x32" in data.notes[0]


def test_eurosat(tmp_path):
    for name in ("Forest", "River"):
        for i in range(10):
            picture(tmp_path / "eurosat" / "2750" / name / f"{i}.jpg", (64, 64))
    data = load("eurosat", tmp_path)
    assert data.shape == (3, 64, 64) and data.classes == ("Forest", "River")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [14, 2, 4]


def tiny_imagenet(folder: Path) -> Path:
    base = folder / "tiny-imagenet-200"
    for name in ("n01", "n02"):
        for i in range(3):
            picture(base / "train" / name / "images" / f"{name}_{i}.JPEG", (64, 64))
        picture(base / "val" / "images" / f"val_{name}.JPEG", (64, 64))
    rows = "val_n01.JPEG\tn01\t0\t0\t9\t9\nval_n02.JPEG\tn02\t0\t0\t9\t9\n"
    (base / "val" / "val_annotations.txt").write_text(rows)
    (base / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tbullfrog\n")
    archive = folder / "tiny.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(base.rglob("*.*")):
            file.write(path, path.relative_to(folder))
    return archive


@pytest.fixture
def server(tmp_path):
    """A server of the files in `source`; its address."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "source"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_tiny_imagenet_is_downloaded_whole_or_not_at_all(tmp_path, monkeypatch, server):
    archive = tiny_imagenet(tmp_path / "source")
    monkeypatch.setattr(published, "TINY_URL", f"{server}/tiny.zip")
    root = tmp_path / "root"
    with pytest.raises(DataError, match="tiny-imagenet-200: cannot be downloaded into"):
        load("tiny-imagenet", root)  # of another checksum
    assert [path.name for path in root.iterdir() if path.is_dir()] == []
    monkeypatch.setattr(published, "TINY_MD5", md5(archive))
    data = load("tiny-imagenet", root)
    assert data.shape == (3, 64, 64) and data.classes == ("goldfish (n01)", "bullfrog (n02)")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [4, 2, 2]
    archive.unlink()
    assert load("tiny-imagenet", root).fingerprint == data.fingerprint
    assert not (root / "tiny-imagenet-200.new").exists()
