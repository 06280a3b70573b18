"""Sets of images from anybody: what is refused, and that damage of any kind is one line."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numpy_strategies

from adv.data import npz_arrays
from adv.data.datasets import Split
from adv.data.names import DataError
from adv.generative.npz_files import SampleSet, read_samples, write_samples

LIKE = Split(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4))
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
LABEL = np.arange(6) % 4


def read(path: Path) -> SampleSet | str:
    """Return the set, or the one line that it was refused with."""
    try:
        return read_samples(path, LIKE, 4)
    except DataError as error:
        return str(error)


def refuse(path: Path, said: str) -> None:
    line = read(path)
    assert isinstance(line, str) and said in line, line
    check_line(path, line)


def check_line(path: Path, line: str) -> None:
    assert line.startswith(f"{path}: ") and len(line.splitlines()) == 1
    assert len(line) < len(str(path)) + 500


def npy(array: object) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that need version 3 of the format
        np.lib.format.write_array(buffer, np.asanyarray(array))
    return buffer.getvalue()


def header(text: str) -> bytes:
    """Return an .npy file that is nothing but a header."""
    content = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(content).to_bytes(2, "little") + content


def described(shape: object, dtype: object = "|u1") -> bytes:
    return header(str({"descr": dtype, "fortran_order": False, "shape": shape}))


def write(path: Path, method: int = zipfile.ZIP_STORED, **members: object) -> Path:
    """Write an archive of arrays or of raw bytes; by default it holds a sound set."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for key, value in ({"image": IMAGE, "label": LABEL} | members).items():
            archive.writestr(f"{key}.npy", value if isinstance(value, bytes) else npy(value))
    return path


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "made.npz"


# --- headers that ask for too much ---

METHODS = pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


@METHODS
@pytest.mark.parametrize("count", [10**6, 10**12, 10**30, -5])
def test_a_header_is_not_believed(path, method, count):
    """Nothing is allocated for the images that a header of a few bytes promises."""
    image = described((count, 32, 32, 3))
    refuse(
        write(path, method, image=image, label=described((count,), "<i8")),
        "image.npy is damaged: its length is not that in its header",
    )


@METHODS
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (header("(" * 5000), "damaged one"),
        (header("[" * 9000 + "]" * 9000), "damaged one"),
        (header("{'descr': " + "'|u1', " * 5000), "damaged one"),
        (described("x" * 8000), "damaged one"),
        (described((1,) * 3000), "image has shape (1, 1, 1"),
        (described((6, 32, 32, 3), [(f"f{i}", "<f8") for i in range(400)]), "image is [('f0'"),
        (described((6, 32, 32, 3), "|O"), "image is object"),
        (described((6, 32, 32, 3), "|V999999999"), "image is |V999999999"),
        (header("__import__('os')"), "damaged one"),
        (b"\x93NUMPY\x09\x09" + bytes(64), "damaged one"),
    ],
)
def test_hostile_headers(path, method, image, said):
    refuse(write(path, method, image=image), said)


def test_a_decompression_bomb_is_not_unpacked(path, monkeypatch):
    monkeypatch.setattr(npz_arrays, "MAX_UNPACKED", 50_000)
    assert isinstance(read(write(path)), SampleSet)  # nothing is unpacked
    write(path, zipfile.ZIP_DEFLATED, image=np.zeros((600, 32, 32, 3), np.uint8), label=[0] * 600)
    assert path.stat().st_size < 5000
    refuse(path, "image.npy has 0.0 GiB unpacked, the limit is 4.65661e-05: save it with np.savez")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(path, method):
    refuse(write(path, method), "image.npy is compressed by a method that numpy does not write")


def test_a_listing_of_many_arrays_stays_short(path):
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(1000):
            archive.writestr(f"{i}\x1b[2J{'x' * 100}.npy", b"")
    refuse(path, "and 990 more; expected are image and label")


# --- nothing is unpickled ---


class Trap:
    """Fails the test that unpickles it."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@METHODS
@pytest.mark.parametrize("key", ["image", "label", "recipe", "hash"])
def test_objects_are_never_unpickled(path, method, key):
    trapped = described((), "|O") + pickle.dumps(Trap())
    found = read(write(path, method, **{key: trapped}))
    if key in ("image", "label"):
        assert isinstance(found, str) and f"{key} is object" in found
    else:  # another program's array of that name
        assert isinstance(found, SampleSet) and (found.recipe, found.digest) == ({}, "")


# --- texts beside the arrays ---


@METHODS
@pytest.mark.parametrize(
    "recipe",
    [
        "[" * 100_000,
        '{"a":' * 50_000,
        "9" * 5000,
        "[1]",
        "",
        np.array(["{}", "{}"]),
        np.float64(3),
        np.array("x" * 300_000),
        described((), "<U9"),
        described((), "<U99999999"),
    ],
    ids=range(10),
)
def test_a_recipe_of_something_else_is_none(path, method, recipe):
    found = read(write(path, method, recipe=recipe))
    assert isinstance(found, SampleSet) and found.recipe == {}


def test_a_damaged_text_is_said(path):
    write(path, hash="0" * 64)
    refuse(path, "damaged: the hash in it is not that of its images")
    write(path, recipe=json.dumps({"source": "x"}))
    content = bytearray(path.read_bytes())
    content[content.index("source".encode("utf-32-le"))] ^= 1
    path.write_bytes(content)
    refuse(path, "not an .npz file, or a damaged one (Bad CRC-32 for file 'recipe.npy')")


# --- damage of any kind ---


def whole(save) -> bytes:
    buffer = io.BytesIO()
    save(buffer, image=IMAGE[:2], label=LABEL[:2], recipe=json.dumps({"a": 1}))
    return buffer.getvalue()


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> list[bytes]:
    """The bytes of our own file, and of numpy's two kinds."""
    ours = tmp_path_factory.mktemp("ours") / "made.npz"
    images = torch.from_numpy(IMAGE[:2]).permute(0, 3, 1, 2)
    write_samples(ours, [(images, torch.from_numpy(LABEL[:2]))], 2, {"source": "x"})
    return [ours.read_bytes(), whole(np.savez), whole(np.savez_compressed)]


UNCHECKED = settings(max_examples=100, deadline=None, suppress_health_check=[*HealthCheck])


@UNCHECKED
@given(st.data())
def test_damaged_files_are_read_or_refused_in_one_line(path, sound, data):
    content = bytearray(data.draw(st.sampled_from(sound)))
    size = len(content)
    ends = st.integers(0, 300) | st.integers(size - 1500, size - 1) | st.integers(0, size - 1)
    for position in data.draw(st.lists(ends, max_size=6)):
        content[position] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(ends) : data.draw(ends)]
    path.write_bytes(content)
    check(path, read(path))


def check(path: Path, found: SampleSet | str) -> None:
    if isinstance(found, str):
        check_line(path, found)
    else:
        images, labels = found.split.images, found.split.labels
        assert images.shape[1:] == (3, 32, 32) and images.dtype == torch.uint8
        assert labels.shape == (len(images),) and 0 <= labels.min() <= labels.max() < 4


DTYPES = (
    numpy_strategies.scalar_dtypes()
    | numpy_strategies.unicode_string_dtypes(max_len=9)
    | numpy_strategies.array_dtypes(max_size=2)
)
ARRAYS = DTYPES.flatmap(
    lambda dtype: numpy_strategies.arrays(
        dtype, numpy_strategies.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
    )
)


@UNCHECKED
@given(
    image=st.just(IMAGE) | ARRAYS | st.binary(max_size=99),
    label=st.just(LABEL) | ARRAYS | st.binary(max_size=99),
    recipe=ARRAYS | st.text(max_size=9) | st.binary(max_size=99),
    mark=ARRAYS | st.text(max_size=9) | st.binary(max_size=99),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
def test_arrays_of_any_kind_are_read_or_refused_in_one_line(
    path, image, label, recipe, mark, method
):
    write(path, method, image=image, label=label, recipe=recipe, hash=mark)
    check(path, read(path))


@UNCHECKED
@given(
    shape=st.lists(st.integers() | st.just(32), max_size=5).map(tuple) | st.text() | st.none(),
    dtype=st.text(max_size=9) | st.recursive(st.just("<f8"), lambda x: st.lists(x, max_size=3)),
    rest=st.binary(max_size=50),
)
def test_headers_of_any_kind_are_refused_in_one_line(path, shape, dtype, rest):
    with np.errstate(all="raise"):
        write(path, image=described(shape, dtype)[:60_000] + rest)
        check(path, read(path))
