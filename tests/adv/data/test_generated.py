"""Generated images: their exact share of every batch, invalid files, resuming a training."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reproducibility import bit_equal, save_and_load, seeded_generator
from scipy import stats

from adv import Augment, BaseNet, Curriculum, Generated, Mixed, Recipe, train
from adv.data.datasets import Split
from adv.data.names import DataError


def real(n: int = 100) -> Split:
    """Return real images with even pixels; generated ones are odd, and each is recognisable."""
    levels = (2 * torch.arange(n) % 256).to(torch.uint8)
    images = levels[:, None, None, None].expand(n, 3, 32, 32).contiguous()
    return Split(images, torch.arange(n) % 10)


def arrays(n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    """Return images with [2 i + 1] in the first corner of the i-th, which is of class i % 10."""
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = 2 * np.arange(n) + 1
    return images, np.arange(n, dtype=np.int64) % 10


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "made.npz"


@pytest.fixture
def made(path) -> Path:
    image, label = arrays()
    np.savez(path, image=image, label=label)
    return path


# --- what a batch is made of ---


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.7, 0.999, 1.0])
@pytest.mark.parametrize("size", [1, 3, 10, 64])
def test_the_share_is_exact_to_the_image(made, fraction, size):
    data = real()
    pool = Generated(made, fraction).pool(data, 10)
    rows = torch.arange(size)
    for seed in range(5):
        images, labels = pool.draw_batch(data, rows, seeded_generator(seed))
        assert images.shape == (size, 3, 32, 32) and images.dtype == torch.uint8
        odd = images[:, 0, 0, 0] % 2 == 1
        assert odd.sum() == round(fraction * size)
        assert torch.equal(images[~odd], data.images[rows[~odd]])
        assert torch.equal(labels[~odd], data.labels[rows[~odd]])


@pytest.mark.parametrize("last", [True, False], ids=["channels last", "channels first"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_images_and_labels_are_those_of_the_file(path, last, save, order):
    image, label = arrays()
    kept = image if last else image.transpose(0, 3, 1, 2)
    save(path, image=np.array(kept, order=order), label=label)
    data = real()
    pool = Generated(path, 1.0).pool(data, 10)
    images, labels = pool.draw_batch(data, torch.arange(64), seeded_generator(0))
    number = (images[:, 0, 0, 0].long() - 1) // 2
    assert torch.equal(images, torch.from_numpy(image[number]).permute(0, 3, 1, 2))
    assert torch.equal(labels, number % 10) and labels.dtype == torch.int64


@pytest.mark.parametrize("kind", [np.uint8, np.int32, ">i8", np.uint64])
def test_labels_may_be_any_whole_numbers(path, kind):
    image, label = arrays()
    np.savez(path, image=image, label=label.astype(kind))
    assert torch.equal(Generated(path).pool(real(), 10).labels, torch.from_numpy(label))


def test_positions_and_images_are_uniform(made):
    """1,000 batches of 8: chi-squared over the positions, and over the 50 images."""
    data = real()
    pool, generator = Generated(made, 0.5).pool(data, 10), seeded_generator(0)
    places, numbers = torch.zeros(8), torch.zeros(50)
    for _ in range(1000):
        images, _ = pool.draw_batch(data, torch.arange(8), generator)
        level = images[:, 0, 0, 0].long()
        places += level % 2
        numbers += torch.bincount(level[level % 2 == 1] // 2, minlength=50)
    assert places.sum() == numbers.sum() == 4000
    assert stats.chisquare(places).pvalue > 1e-3
    assert stats.chisquare(numbers).pvalue > 1e-3


def test_only_the_generator_decides_and_real_images_are_unchanged(made):
    data = real()
    kept, before = data.images.clone(), torch.get_rng_state()
    pool = Generated(made).pool(data, 10)
    first, again, other = (
        pool.draw_batch(data, torch.arange(64), seeded_generator(seed))[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(data.images, kept) and torch.equal(torch.get_rng_state(), before)


def test_a_fraction_of_zero_samples_nothing(made):
    generator = seeded_generator(0)
    before = generator.get_state()
    Generated(made, 0).pool(real(), 10).draw_batch(real(), torch.arange(9), generator)
    assert torch.equal(generator.get_state(), before)


def test_an_uncompressed_file_is_memory_mapped(made):
    pool = Generated(made).pool(real(), 10)
    assert isinstance(pool.images, np.memmap) and not pool.images.flags.writeable


# --- training with them ---


SEEN: list[tuple[torch.Tensor, torch.Tensor]] = []


@dataclass(frozen=True)
class Recorded(Mixed):
    """An objective that records the images and labels of every batch."""

    def attack(self, net, batch):
        SEEN.append((batch.x.clone(), batch.y.clone()))
        return super().attack(net, batch)


def recipe(path: Path, **settings) -> Recipe:
    lesson = Curriculum(eps=0.03, steps=1, pace=1.0)
    settings = {"epochs": 2, "batch": 24, "generated": Generated(path, 0.7), **settings}
    return Recipe(net=BaseNet(), curriculum=lesson, objective=Recorded(), **settings)


def trained(chosen: Recipe, state=None, seed=0, n=48):
    """Return the last epoch, the states after each, and the batches, on `n` real images."""
    SEEN.clear()
    states = []
    for epoch in train(chosen, real(n), classes=10, seed=seed, state=state):
        states.append(epoch.state())
    return epoch, states, list(SEEN)


def test_an_epoch_has_as_many_batches_of_the_same_sizes(made):
    """Of 100 images: four batches of 24 with 17 generated ones, and one of 4 with 3."""
    epoch, _, batches = trained(recipe(made), n=100)
    assert [len(x) for x, _ in batches] == 2 * [24, 24, 24, 24, 4]
    odd = [(255 * x[:, 0, 0, 0]).round() % 2 == 1 for x, _ in batches]
    assert [int(o.sum()) for o in odd] == 2 * [17, 17, 17, 17, 3]
    for half in (slice(0, 5), slice(5, 10)):  # no real image twice in an epoch
        parts = zip(batches[half], odd[half], strict=True)
        levels = [(255 * x[~o, 0, 0, 0]).round() for (x, _), o in parts]
        assert len(torch.cat(levels).unique()) == 4 * 7 + 1
    assert epoch.metrics.keys() >= {"clean_accuracy", "attacked_accuracy"}


def test_the_net_takes_its_statistics_from_real_images(made):
    net = trained(recipe(made, epochs=1))[0].net
    alone = trained(recipe(made, epochs=1, generated=None))[0].net
    assert torch.equal(net[0].mean, alone[0].mean) and torch.equal(net[0].std, alone[0].std)


def test_a_fraction_of_zero_trains_the_net_of_real_images(made):
    _, (*_, none), _ = trained(recipe(made, generated=None))
    _, (*_, zero), _ = trained(recipe(made, generated=Generated(made, 0)))
    _, (*_, some), _ = trained(recipe(made, generated=Generated(made, 0.1)))
    assert bit_equal(none["net"], zero["net"])
    assert not bit_equal(none["net"], some["net"])


@pytest.mark.parametrize("cutmix", [0.0, 0.5])
def test_a_resumed_training_equals_an_uninterrupted_one(made, cutmix):
    chosen = recipe(made, augment=Augment(flip=0.5, cutout=8, cutmix=cutmix, idbh="weak"))
    _, states, _ = trained(chosen)
    _, (again,), _ = trained(chosen, save_and_load(states[0]))
    assert bit_equal(again, states[1])
    _, (_, twin), _ = trained(chosen)
    assert bit_equal(twin, states[1])
    _, (_, other), _ = trained(chosen, seed=1)
    assert not bit_equal(other["net"], states[1]["net"])


def test_resuming_with_other_images_is_refused(made):
    _, (state, _), _ = trained(recipe(made))
    image, label = arrays()
    image[3, 5, 5, 0] ^= 1
    np.savez(made, image=image, label=label)
    with pytest.raises(
        DataError, match=r"made\.npz: these are not the images that this training began"
    ):
        trained(recipe(made), state)
    with pytest.raises(ValueError, match="belongs to another recipe"):
        trained(recipe(made, generated=None), state)


def test_an_invalid_file_fails_before_the_training(made):
    with pytest.raises(
        DataError, match="label 5 of image 5 is not a class: the data has 5, 0 to 4"
    ):
        next(train(recipe(made), real(), classes=5, seed=0))


def test_a_recipe_with_generated_images_is_a_value(made):
    chosen = recipe(made)
    assert chosen == recipe(made) and hash(chosen) == hash(recipe(made))
    assert chosen != replace(chosen, generated=Generated(made, 0.5))
    assert chosen.gradient_steps(100) == replace(chosen, generated=None).gradient_steps(100)
    assert pickle.loads(pickle.dumps(chosen.generated)) == chosen.generated


# --- the value ---


def test_a_setting_is_a_plain_value():
    setting = Generated(Path("sets") / "1m.npz", 0.3)
    assert setting == Generated("sets/1m.npz", 0.3) and hash(setting) == hash(
        Generated("sets/1m.npz", 0.3)
    )
    assert repr(setting) == "Generated(path='sets/1m.npz', fraction=0.3)"
    assert pickle.loads(pickle.dumps(setting)) == setting


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan")])
def test_a_fraction_outside_its_range(fraction):
    with pytest.raises(
        ValueError, match=r"^the fraction of generated images must be in \[0, 1\], not"
    ):
        Generated("1m.npz", fraction)


def test_the_fingerprint_tells_another_file_from_the_same_one(tmp_path):
    image, label = arrays()
    other = image.copy()
    other[7, 3, 3, 1] ^= 1
    marks = []
    for name, save, a, b in (
        ("plain", np.savez, image, label),
        ("packed", np.savez_compressed, image, label),
        ("pixel", np.savez, other, label),
        ("label", np.savez, image, label[::-1]),
    ):
        save(tmp_path / f"{name}.npz", image=a, label=b)
        marks.append(Generated(tmp_path / f"{name}.npz").pool(real(), 10).fingerprint)
    assert marks[0] == marks[1] and len(set(marks)) == 3
    assert all(len(mark) == 16 and int(mark, 16) for mark in marks)


# --- files that are refused ---


IMAGE, LABEL = arrays(6)
RENAMED = {"image": None, "images": IMAGE}
BYTES = "expected bytes (uint8) from 0 to 255. If yours are floats from 0 to 1, save (255 *"
SHAPES = "expected (n, 32, 32, 3) or (n, 3, 32, 32)"
WHOLE = "expected integers, such as int64"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            RENAMED,
            "no array 'image' in it. did you mean 'images'? It holds label, images; expected",
        ),
        ({"label": None}, "no array 'label' in it. It holds image; expected are image and label"),
        ({"image": None, "label": None}, "It holds nothing"),
        ({"image": IMAGE / np.float32(255)}, f"image is float32, {BYTES}"),
        ({"image": np.full((6, 32, 32, 3), np.nan)}, f"image is float64, {BYTES}"),
        ({"image": IMAGE.astype(np.int64)}, f"image is int64, {BYTES}"),
        ({"image": np.array([None])}, f"image is object, {BYTES}"),
        ({"image": IMAGE[:, :28, :28]}, f"image has shape (6, 28, 28, 3), {SHAPES}"),
        ({"image": IMAGE[..., :1]}, f"image has shape (6, 32, 32, 1), {SHAPES}"),
        ({"image": IMAGE[0]}, f"image has shape (32, 32, 3), {SHAPES}"),
        ({"image": np.uint8(3)}, f"image has shape (), {SHAPES}"),
        ({"image": IMAGE[:0], "label": LABEL[:0]}, "contains no images"),
        ({"label": LABEL[:5]}, "6 images but 5 labels"),
        ({"label": LABEL + 5}, "label 10 of image 5 is not a class: the data has 10, 0 to 9"),
        ({"label": LABEL - 1}, "label -1 of image 0 is not a class"),
        ({"label": LABEL * np.nan}, f"label is float64, {WHOLE}"),
        ({"label": np.array(list("abcdef"))}, f"label is <U1, {WHOLE}"),
        ({"label": np.array([1, None] * 3)}, f"label is object, {WHOLE}"),
        ({"label": LABEL[:, None]}, "label has shape (6, 1), expected (n,)"),
    ],
)
def test_arrays_that_do_not_fit(path, changed, said):
    saved = {"image": IMAGE, "label": LABEL} | changed
    np.savez(path, **{key: array for key, array in saved.items() if array is not None})
    refused(path, said)


def refused(path: Path, said: str) -> None:
    with pytest.raises(DataError) as error:
        Generated(path).pool(real(), 10)
    line = str(error.value)
    assert line.startswith(f"{path}: ") and said in line and "\n" not in line


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


def test_files_that_are_no_npz(path, tmp_path):
    refused(path, "no such file of generated images")
    refused(tmp_path, "no such file")
    for content in (b"", b"image and label", b"\x93NUMPY\x01\x00"):
        path.write_bytes(content)
        refused(path, "not an .npz file, or a damaged one (File is not a zip file)")


def test_files_that_are_damaged(path):
    image, label = arrays()
    np.savez_compressed(path, image=image, label=label)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(path, "not an .npz file, or a damaged one")
    path.write_bytes(damaged(content))
    refused(path, "not an .npz file, or a damaged one")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("cut", ["no array", "shorter than it says"])
def test_incomplete_members(path, compression, cut):
    members = {}
    for name, array in (("image.npy", IMAGE), ("label.npy", LABEL)):
        np.save(path.with_name(name), array)
        members[name] = path.with_name(name).read_bytes()
    members["image.npy"] = b"a picture" if cut == "no array" else members["image.npy"][:-100]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    refused(path, "damaged")


def test_a_relative_path_is_named_in_full(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as error:
        Generated("nowhere.npz").pool(real(), 10)
    assert str(error.value).startswith(str(tmp_path / "nowhere.npz"))
