"""Image folders: the images read, the cache of decoded pixels, and invalid folders."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from split_contents import counts, hashes

from adv import BaseNet, Recipe, build, restore, save
from adv.data import image_folder
from adv.data.datasets import DataError, load, stratified_order
from adv.data.image_file import decode
from adv.data.names import SUFFIXES, check_name


def write_image(path: Path, rng: np.random.Generator, size=(32, 32), mode="RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)


@pytest.fixture
def tree(tmp_path) -> Path:
    """Two classes, 20 and 5 training images, 4 and 3 test images."""
    rng = np.random.default_rng(0)
    for part, sizes in (("train", {"cat": 20, "dog": 5}), ("test", {"cat": 4, "dog": 3})):
        for name, count in sizes.items():
            for i in range(count):
                write_image(tmp_path / "pets" / part / name / f"{i:03}.png", rng)
    return tmp_path / "pets"


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The files decoded so far."""
    seen: list[str] = []
    real = decode

    def spy(path: str, shape):
        seen.append(path)
        return real(path, shape)

    monkeypatch.setattr(image_folder, "decode", spy)
    return seen


def test_folder_splits(tree, tmp_path):
    data = load(str(tree), tmp_path / "root")
    assert (data.name, data.classes) == (str(tree), ("cat", "dog"))
    assert counts(data.test, 2) == [4, 3]
    assert sum(counts(data.validation, 2)) == 2 and min(counts(data.validation, 2)) == 1
    assert len(data.train) == 23
    originals = Counter(
        np.asarray(Image.open(path)).transpose(2, 0, 1).tobytes()
        for path in tree.glob("train/*/*.png")
    )
    assert hashes(data.train) + hashes(data.validation) == originals  # 32 x 32: pixels unchanged
    for row, label in zip(data.test.images, data.test.labels, strict=True):
        name = data.classes[int(label)]
        assert any(
            (np.asarray(Image.open(path)).transpose(2, 0, 1) == row.numpy()).all()
            for path in tree.glob(f"test/{name}/*.png")
        )


def test_folder_is_decoded_once_until_it_changes(tree, tmp_path, decoded):
    first = load(str(tree), tmp_path / "root")
    assert len(decoded) == 32
    second = load(str(tree), tmp_path / "root")
    assert len(decoded) == 32
    assert second.fingerprint == first.fingerprint

    write_image(tree / "train" / "dog" / "new.png", np.random.default_rng(1))
    grown = load(str(tree), tmp_path / "root")
    assert len(grown.train) + len(grown.validation) == 26
    assert len(decoded) == 32 + 33

    touched = tree / "test" / "cat" / "000.png"
    os.utime(touched, ns=(1, 1))
    load(str(tree), tmp_path / "root")
    assert len(decoded) == 32 + 33 + 33
    assert len(list((tmp_path / "root" / "folders").iterdir())) == 1  # old pixels are replaced


def test_two_folders_of_one_name_are_kept_apart(tree, tmp_path, decoded):
    other = tmp_path / "elsewhere" / "pets"
    other.parent.mkdir()
    tree.rename(other)
    first = load(str(other), tmp_path / "root")
    for part in ("train", "test"):  # the same names, sizes and times, other pixels
        for path in (other / part).glob("*/*.png"):
            copy = tree / path.relative_to(other)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
            os.utime(copy, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    assert load(str(tree), tmp_path / "root").fingerprint == first.fingerprint
    assert len(decoded) == 64


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: b"not a zip file",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:5000] + bytes([whole[5000] ^ 255]) + whole[5001:],
        lambda whole: pickle.dumps({"key": 1}),
    ],
    ids=["empty", "text", "half", "flipped", "pickle"],
)
def test_a_damaged_cache_is_made_again(tree, tmp_path, decoded, damage):
    first = load(str(tree), tmp_path / "root")
    (kept,) = (tmp_path / "root" / "folders").iterdir()
    kept.write_bytes(damage(kept.read_bytes()))
    assert load(str(tree), tmp_path / "root").fingerprint == first.fingerprint
    assert len(decoded) == 64
    load(str(tree), tmp_path / "root")
    assert len(decoded) == 64


def test_a_cache_of_the_wrong_shape_is_made_again(tree, tmp_path, decoded):
    load(str(tree), tmp_path / "root")
    (kept,) = (tmp_path / "root" / "folders").iterdir()
    with np.load(kept) as arrays:
        key = arrays["key"]
    np.savez(kept, key=key, pixels=np.zeros((3, 3, 32, 32), dtype=np.uint8))
    load(str(tree), tmp_path / "root")
    assert len(decoded) == 64


def test_an_unwritable_cache_only_warns(tree, tmp_path, decoded):
    blocked = tmp_path / "root"
    blocked.write_text("a file where a folder should be")  # holds for root as well, unlike chmod
    for _ in range(2):
        with pytest.warns(UserWarning, match="decoded images cannot be cached in"):
            assert len(load(str(tree), blocked).train) == 23
    assert len(decoded) == 64


def test_a_failed_write_leaves_nothing(tree, tmp_path, monkeypatch, decoded):
    def full_disk(*args, **arrays):
        args[0].write(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full_disk)
        with pytest.warns(UserWarning, match="No space left on device"):
            load(str(tree), tmp_path / "root")
    assert list((tmp_path / "root" / "folders").iterdir()) == []
    load(str(tree), tmp_path / "root")
    load(str(tree), tmp_path / "root")
    assert len(decoded) == 64


def test_progress_is_shown_on_terminals_only_and_never_on_stdout(
    tree, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(image_folder, "_PROGRESS_FROM", 1)
    load(str(tree), tmp_path / "a")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    load(str(tree), tmp_path / "b")
    shown = capsys.readouterr()
    assert "decoding pets" in shown.err
    assert shown.out == ""


def test_default_root_comes_from_the_environment(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path / "mine"))
    load(str(tree))
    assert len(list((tmp_path / "mine" / "folders").iterdir())) == 1


def test_other_sizes_and_modes(tmp_path):
    rng = np.random.default_rng(0)
    write_image(tmp_path / "wide.png", rng, size=(80, 40))
    write_image(tmp_path / "grey.png", rng, mode="L")
    Image.new("RGBA", (9, 5), (200, 100, 50, 255)).save(tmp_path / "clear.webp", lossless=True)
    Image.new("P", (64, 64), 3).save(tmp_path / "palette.png")
    for name in ("wide.png", "grey.png", "clear.webp", "palette.png"):
        pixels = decode(str(tmp_path / name))
        assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8
    assert (decode(str(tmp_path / "clear.webp"))[:, 16, 16] == [200, 100, 50]).all()

    # Centre crop: black but for a white middle third, which is all that stays of 96 x 32.
    strip = np.zeros((32, 96, 3), dtype=np.uint8)
    strip[:, 32:64] = 255
    Image.fromarray(strip).save(tmp_path / "strip.png")
    assert (decode(str(tmp_path / "strip.png")) == 255).all()


def test_images_are_rotated_upright(tmp_path):
    left = np.zeros((32, 32, 3), dtype=np.uint8)
    left[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn a quarter clockwise to see it upright
    Image.fromarray(left).save(tmp_path / "turned.png", exif=exif)
    pixels = decode(str(tmp_path / "turned.png"))
    assert (pixels[:, :16] == 255).all() and (pixels[:, 16:] == 0).all()


def test_hidden_and_other_files_are_no_images(tree, tmp_path):
    (tree / "train" / "cat" / "._000.png").write_bytes(b"resource fork")
    (tree / "train" / "cat" / "notes.txt").write_text("hello")
    (tree / "train" / ".checkpoints").mkdir()
    (tree / "README.md").write_text("hello")
    with pytest.warns(UserWarning, match=r"1 of 33 entries are left out: \.txt \(1\)"):
        assert len(load(str(tree), tmp_path / "root").train) == 23


def test_files_that_are_left_out_are_counted_in_one_line(tree, tmp_path):
    for i in range(20):
        (tree / "train" / "cat" / f"{i}.gif").write_bytes(b"GIF89a")
    for name in ("a.jfif", "b.AVIF", "without"):
        (tree / "test" / "dog" / name).write_bytes(b"an image")
    (tree / "train" / "dog" / "more").mkdir()
    (tree / "train" / "loose.png").write_bytes(b"an image")
    for _ in range(2):  # however often: the pixels come from the cache the second time
        with pytest.warns(UserWarning, match="are left out") as caught:
            assert len(load(str(tree), tmp_path / "root").train) == 23
        (line,) = (str(warning.message) for warning in caught)
        assert line.startswith(f"{tree}: 25 of 57 entries are left out: .gif (20), ")
        kinds = (".png beside the class folders (1)", "folders (1)", ".jfif (1)", ".avif (1)")
        assert sum(kind in line for kind in kinds) == 3 and " and 2 more. " in line
        assert line.endswith("are read if they end in " + ", ".join(SUFFIXES))


def test_the_count_is_one_line_on_the_terminal(tree, tmp_path):
    (tree / "train" / "cat" / "a\x1b[31m.\x1b[2J").write_text("hello")
    done = subprocess.run(
        [sys.executable, "-c", f"from adv import load; load({str(tree)!r})"],
        env={**os.environ, "ROBUSTUNE_DATA": str(tmp_path / "root")},
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert done.stdout == "" and done.stderr.count("\n") == 1 and "\x1b" not in done.stderr
    assert "1 of 33 entries are left out: .\\x1b[2j (1)" in done.stderr


@pytest.mark.parametrize("target", ["/nowhere/1.png", "new1.png"], ids=["nowhere", "itself"])
def test_broken_links_are_refused_by_name(tree, tmp_path, target):
    for i in (1, 2):
        (tree / "train" / "dog" / f"new{i}.png").symlink_to(target)
    with pytest.raises(DataError) as error:
        load(str(tree), tmp_path / "root")
    paths = ", ".join(str(tree / "train" / "dog" / f"new{i}.png") for i in (1, 2))
    assert str(error.value) == (
        f"2 broken links: {paths}: restore what they lead to, or delete them"
    )


@pytest.mark.parametrize("target", ["/nowhere", "bird"], ids=["nowhere", "itself"])
def test_a_class_behind_a_broken_link_is_refused(tree, target):
    for part in ("train", "test"):
        (tree / part / "bird").symlink_to(target)
    for ask in (check_name, load):
        with pytest.raises(DataError, match=r"a broken link: .*train/bird: restore what"):
            ask(str(tree))


def test_links_to_images_and_folders_are_followed(tree, tmp_path):
    (tree / "test").rename(tmp_path / "held")
    (tree / "test").symlink_to(tmp_path / "held")
    (tree / "train" / "dog" / "new.png").symlink_to(tree / "train" / "dog" / "000.png")
    data = load(str(tree), tmp_path / "root")
    assert len(data.train) + len(data.validation) == 26 and len(data.test) == 7


def test_a_folder_that_contains_itself_is_read_once(tree, tmp_path):
    (tree / "train" / "cat" / "up").symlink_to("..")
    with pytest.warns(UserWarning, match=r"left out: folders \(1\)"):
        assert len(load(str(tree), tmp_path / "root").train) == 23


def test_a_folder_that_is_a_loop_is_unknown(tmp_path):
    (tmp_path / "pets").symlink_to("pets")
    with pytest.raises(DataError, match="unknown data"):
        check_name(str(tmp_path / "pets"))


def test_names_that_are_not_utf_8_are_escaped(tree, tmp_path):
    for part in ("train", "test"):
        (tree / part / "cat").rename(tree / part / os.fsdecode(b"caf\xe9"))
        (tree / part / "dog").rename(tree / part / "dog\x1b[2J\n")
    image = next((tree / "test").glob("caf*/*.png"))
    image.rename(image.with_name(os.fsdecode(b"\xff.png")))
    data = load(str(tree), tmp_path / "root")
    assert data.classes == ("caf\\xe9", "dog\\x1b[2J\\n")
    assert counts(data.test, 2) == [4, 3]
    data.classes[0].encode()  # reports and tables are UTF-8
    path = tmp_path / "net.safetensors"
    recipe = Recipe(net=BaseNet())
    net = build(recipe, 2, 0)
    for names in (data.classes, (os.fsdecode(b"caf\xe9"), "dog\x1b[2J\n")):  # of earlier versions
        save(path, net, recipe, classes=names)
        assert restore(path).classes == data.classes
    image.with_name(os.fsdecode(b"\xff.png")).write_bytes(b"no image")
    with pytest.raises(DataError, match=r"caf\\xe9/\\xff\.png: cannot be read") as error:
        load(str(tree), tmp_path / "root")
    str(error.value).encode()  # any UTF-8 output can hold it


def test_a_folder_of_any_name_is_shown_while_it_is_decoded(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(image_folder, "_PROGRESS_FROM", 1)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    named = tree.rename(tree.with_name(os.fsdecode(b"[b]caf\xe9")))
    load(str(named), tmp_path / "root")
    assert "[b]caf\\xe9" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["~nobody-of-this-name/x", "x" * 5000, "x\0y"])
def test_names_that_are_no_folders(name):
    for ask in (check_name, load):
        with pytest.raises(DataError, match="unknown data"):
            ask(name)


def remove(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def one_class(tree: Path) -> None:
    remove(tree / "train" / "dog")
    remove(tree / "test" / "dog")


def no_part(tree: Path) -> None:
    (tree / "train").rename(tree / "val")


def empty_class(tree: Path) -> None:
    remove(tree / "test" / "dog")
    (tree / "test" / "dog").mkdir()


def other_classes(tree: Path) -> None:
    (tree / "test" / "dog").rename(tree / "test" / "wolf")


def no_classes(tree: Path) -> None:
    one_class(tree)
    remove(tree / "train" / "cat")
    remove(tree / "test" / "cat")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_part, "no folder train/ in it; expected train/<class>/*"),
        (one_class, "train: 1 class folders, at least 2 are needed"),
        (no_classes, "train: 0 class folders"),
        (empty_class, "test/dog: no image in this class"),
        (other_classes, "different classes: 'dog' is only in train, 'wolf' is only in test"),
    ],
)
def test_invalid_folders(tree, tmp_path, spoil, said):
    spoil(tree)
    for ask in (check_name, load):
        with pytest.raises(DataError) as error:
            ask(str(tree))
        assert said in str(error.value) and str(tree) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_long_list_of_differing_classes_stays_one_line(tree):
    for i in range(30):
        (tree / "train" / f"extra{i:02}").mkdir()
    with pytest.raises(DataError, match=r"'extra03' is only in train and 26 more$"):
        check_name(str(tree))


def test_one_training_image_is_too_few(tree, tmp_path):
    for path in sorted((tree / "train" / "dog").iterdir())[1:]:
        path.unlink()
    check_name(str(tree))
    with pytest.raises(DataError, match="train/dog: 1 image, at least 2 are needed"):
        load(str(tree), tmp_path / "root")


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_an_unreadable_image_is_named(tree, tmp_path, content):
    path = tree / "test" / "dog" / "001.png"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DataError, match=re.escape(f"{path}: cannot be read as an image: ")):
        load(str(tree), tmp_path / "root")


def test_deep_grey_is_scaled_rather_than_clipped(tmp_path):
    levels = np.array([[0, 128, 257, 40000, 65535]], dtype=np.uint16)
    Image.fromarray(levels.repeat(5, 0)).save(tmp_path / "deep.png")
    found = decode(str(tmp_path / "deep.png"), (1, 5, 5))
    assert found[0, 0].tolist() == [0, 0, 1, 156, 255]
    Image.fromarray(np.full((4, 4), 0.5, dtype=np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match="32 bits per channel"):
        decode(str(tmp_path / "float.tiff"))


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=2, max_size=6))
def test_small_and_uneven_classes_are_in_train_and_validation(sizes):
    """How `load` splits classes of any size, without files."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = max(len(sizes), round(len(labels) / 10))
    order = stratified_order(labels)
    assert set(labels[order[:held]]) == set(labels[order[held:]]) == set(range(len(sizes)))
