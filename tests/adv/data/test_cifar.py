"""CIFAR downloads from a local server: intact, damaged, missing, and many at once."""

from __future__ import annotations

import hashlib
import http.server
import io
import pickle
import re
import tarfile
import threading
from collections import Counter

import numpy as np
import pytest
from split_contents import counts, hashes
from torchvision.datasets import CIFAR10, CIFAR100

from adv.data.datasets import DataError, load


def digest(value: bytes) -> str:
    return hashlib.md5(value, usedforsecurity=False).hexdigest()


class Server:
    """Serves `content` on 127.0.0.1 for every path, and counts the requests."""

    def __init__(self) -> None:
        self.content, self.cut, self.requests = b"", None, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests += 1
                self.send_response(200)
                self.send_header("Content-Length", str(len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content[: outer.cut])

            def log_message(self, *args) -> None:
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/cifar.tar.gz"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.stop()


def cifar_files(rng: np.random.Generator, sizes: dict[str, int], key: str) -> dict[str, bytes]:
    files = {}
    for name, size in sizes.items():
        pixels = rng.integers(0, 256, (size, 3072), dtype=np.uint8)
        files[name] = pickle.dumps({"data": pixels, key: [i % 10 for i in range(size)]})
    return files


def tar(folder: str, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def cifar(server, monkeypatch) -> dict[str, bytes]:
    """A CIFAR-10 of 5 x 40 training and 60 test images, in the published layout."""
    sizes = {**{f"data_batch_{i}": 40 for i in range(1, 6)}, "test_batch": 60}
    files = cifar_files(np.random.default_rng(0), sizes, "labels")
    files["batches.meta"] = pickle.dumps({"label_names": [f"class{i}" for i in range(10)]})
    server.content = tar(CIFAR10.base_folder, files)
    monkeypatch.setattr(CIFAR10, "url", server.url)
    monkeypatch.setattr(CIFAR10, "tgz_md5", digest(server.content))
    batches = [[name, digest(files[name])] for name in sizes]
    monkeypatch.setattr(CIFAR10, "train_list", batches[:5])
    monkeypatch.setattr(CIFAR10, "test_list", batches[5:])
    meta = {**CIFAR10.meta, "md5": digest(files["batches.meta"])}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return files


def test_cifar_is_downloaded_once(cifar, server, tmp_path):
    data = load("cifar10", tmp_path)
    asked = server.requests
    assert asked >= 1
    assert [len(s) for s in (data.train, data.validation, data.test)] == [180, 20, 60]
    assert data.classes[3] == "class3"
    assert counts(data.validation, 10) == [2] * 10
    assert counts(data.test.head(30), 10) == [3] * 10
    rows = np.concatenate([pickle.loads(cifar[f"data_batch_{i}"])["data"] for i in range(1, 6)])
    assert hashes(data.train) + hashes(data.validation) == Counter(row.tobytes() for row in rows)
    first = data.test.images[0].numpy().ravel()  # channels first, as in the archive
    test = pickle.loads(cifar["test_batch"])
    (index,) = np.flatnonzero((test["data"] == first).all(axis=1))
    assert test["labels"][index] == data.test.labels[0]

    server.content = b"gone"
    assert load("cifar10", tmp_path).fingerprint == data.fingerprint
    assert server.requests == asked


def test_an_archive_put_there_by_hand_needs_no_network(cifar, server, tmp_path):
    (tmp_path / CIFAR10.filename).write_bytes(server.content)
    assert len(load("cifar10", tmp_path).test) == 60
    assert server.requests == 0


@pytest.mark.parametrize("how", ["other bytes", "half", "broken off", "empty"])
def test_a_damaged_download_is_reported_and_removed(cifar, server, tmp_path, how):
    whole = server.content
    if how == "broken off":
        server.cut = len(whole) // 2
    else:
        server.content = {"other bytes": b"x" * 999, "half": whole[: len(whole) // 2]}.get(how, b"")
    with pytest.raises(DataError, match=r"is incomplete or damaged .* try again, or") as e:
        load("cifar10", tmp_path)
    assert server.url in str(e.value) and "'digits'" in str(e.value) and "\n" not in str(e.value)
    assert not (tmp_path / CIFAR10.filename).exists()
    server.content, server.cut = whole, None
    assert len(load("cifar10", tmp_path).test) == 60


def test_a_damaged_unpacked_file_is_unpacked_again(cifar, server, tmp_path):
    first = load("cifar10", tmp_path)
    asked = server.requests
    batch = tmp_path / CIFAR10.base_folder / "data_batch_2"
    batch.write_bytes(batch.read_bytes()[:1000])
    assert load("cifar10", tmp_path).fingerprint == first.fingerprint
    assert server.requests == asked


def test_a_damaged_copy_without_its_archive(cifar, server, tmp_path):
    load("cifar10", tmp_path)
    (tmp_path / CIFAR10.filename).unlink()
    batch = tmp_path / CIFAR10.base_folder / "test_batch"
    batch.write_bytes(batch.read_bytes()[:1000])
    server.stop()
    with pytest.raises(DataError, match="cannot be downloaded"):
        load("cifar10", tmp_path)


def test_an_archive_with_the_wrong_files(cifar, server, tmp_path, monkeypatch):
    """The archive is the published one but its content is not: only a person can fix that."""
    server.content = tar(CIFAR10.base_folder, {**cifar, "test_batch": cifar["test_batch"][:1000]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", digest(server.content))
    with pytest.raises(DataError, match=r"damaged or unreadable .*: delete this") as error:
        load("cifar10", tmp_path)
    assert str(tmp_path / CIFAR10.base_folder) in str(error.value)
    assert str(tmp_path / CIFAR10.filename) in str(error.value)


def test_no_server(cifar, server, tmp_path):
    server.stop()
    with pytest.raises(DataError, match=r"cannot be downloaded .*put the file into") as error:
        load("cifar10", tmp_path)
    assert str(tmp_path) in str(error.value) and "a folder of images" in str(error.value)


def test_a_root_that_cannot_be_written(cifar, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(DataError, match=re.escape(str(blocked))):
        load("cifar10", blocked)


def test_trials_that_start_together_download_once(cifar, server, tmp_path):
    """Threads stand in for trials; the lock holds between processes too."""
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(load("cifar10", tmp_path).fingerprint))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1
    assert server.requests <= 2  # torchvision asks once for redirects, once for the file


def test_cifar100(server, tmp_path, monkeypatch):
    files = cifar_files(np.random.default_rng(0), {"train": 100, "test": 20}, "fine_labels")
    files["meta"] = pickle.dumps({"fine_label_names": [f"fine{i}" for i in range(10)]})
    server.content = tar(CIFAR100.base_folder, files)
    monkeypatch.setattr(CIFAR100, "url", server.url)
    monkeypatch.setattr(CIFAR100, "tgz_md5", digest(server.content))
    monkeypatch.setattr(CIFAR100, "train_list", [["train", digest(files["train"])]])
    monkeypatch.setattr(CIFAR100, "test_list", [["test", digest(files["test"])]])
    monkeypatch.setattr(CIFAR100, "meta", {**CIFAR100.meta, "md5": digest(files["meta"])})
    data = load("cifar100", tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [90, 10, 20]
    assert data.classes[9] == "fine9"
