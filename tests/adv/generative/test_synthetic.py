"""Sets of generated images: their content, their cache, and their way into a training."""

from __future__ import annotations

import json
import math
import multiprocessing
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from reproducibility import bit_equal, seeded_generator

import adv
from adv import (
    DDLS,
    GAN,
    BaseNet,
    Curriculum,
    FromGAN,
    Gaussian,
    Generated,
    Mixup,
    Npz,
    Recipe,
    Synthetic,
    train,
)
from adv.checkpoints.expressions import parse, to_expression
from adv.data.datasets import Split
from adv.data.names import DataError
from adv.generative.cache import make_once
from adv.generative.classifier import features, laptop_recipe, natural_recipe
from adv.generative.fid import SOURCE, inception_weights_path, standard_fid
from adv.generative.metrics import frechet_distance, memorisation, prdc
from adv.generative.npz_files import read_samples, write_samples
from adv.generative.sample_grid import grid, save_grid
from adv.generative.sampler import sample_batches, stratified_labels

TINY = replace(GAN().small(), width=2, latent=6, steps=4, batch=10, d_steps=1)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path))
    return tmp_path / "synthetic"


def part_of(split: Split, n: int = 100) -> Split:
    return Split(split.images[:n], split.labels[:n])


# --- what has to be beaten ---


def greys(n=3000, seed=0):
    """Return correlated pixels of two classes, far from black and white."""
    draws = seeded_generator(seed)
    flat = torch.randn(n, 4, generator=draws) @ torch.tensor(
        [[9.0, 5, 0, 2], [0, 7, 3, 0], [0, 0, 6, 1], [0, 0, 0, 4]]
    )
    labels = torch.arange(n) % 2
    flat = flat + 100 + 40 * labels[:, None]
    images = torch.zeros(n, 3, 32, 32, dtype=torch.uint8)
    images[:, :, 12, 12:16] = flat.round().clamp(0, 255).byte()[:, None]
    return Split(images, labels)


@pytest.mark.parametrize("rank", [None, 4, 2])
def test_gaussians_have_the_moments_of_their_class(rank):
    real = greys()
    draw = Gaussian(rank).fit(real)
    for label in (0, 1):
        known = real.images[real.labels == label][:, 0, 12, 12:16].double()
        made = draw(torch.full((6000,), label), seeded_generator(1))
        assert torch.equal(made[:, 1], made[:, 0]) and not made[:, :, 13:].any()
        made = made[:, 0, 12, 12:16].double()
        assert torch.allclose(made.mean(0), known.mean(0), atol=0.7)
        wanted = torch.cov(known.T)
        if rank == 2:  # the first two directions as they are, nothing in the others
            values, vectors = torch.linalg.eigh(wanted)
            wanted = (vectors[:, 2:] * values[2:]) @ vectors[:, 2:].T
        assert torch.allclose(torch.cov(made.T), wanted, atol=6)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_low_rank_is_exact_with_few_images_too(rank):
    """With fewer images than pixels the principal directions come from the other matrix."""
    from adv.generative.baselines import _gaussian

    few = torch.randn(8, 30, generator=seeded_generator(0))
    mean, ways = _gaussian(few, rank)
    values, vectors = torch.linalg.eigh(torch.cov(few.T.double()))
    wanted = (vectors[:, -rank:] * values[-rank:]) @ vectors[:, -rank:].T
    assert ways.shape == (rank, 30) and torch.allclose(mean, few.mean(0))
    assert torch.allclose((ways.T @ ways).double(), wanted, atol=1e-4)


def test_a_class_of_one_image_is_drawn_as_it_is(digits):
    one = digits.train.head(1)
    made = Gaussian().fit(one)(one.labels.repeat(3), seeded_generator(0))
    assert torch.equal(made, one.images.repeat(3, 1, 1, 1))


def test_mixed_images_lie_between_two_of_their_class():
    images = torch.stack(
        [torch.full((3, 32, 32), v, dtype=torch.uint8) for v in (0, 100, 200, 250)]
    )
    real = Split(images, torch.tensor([0, 0, 1, 1]))
    y = torch.tensor([0, 1]).repeat(2000)
    made = Mixup().fit(real)(y, seeded_generator(0))
    level = made[:, 0, 0, 0].double()
    assert level[y == 0].max() <= 100 and level[y == 1].min() >= 200
    # Half are two different images, at uniform shares: the mean is the middle, and so is a third
    # of the variance of 0 and 100, plus that of the other half.
    assert float(level[y == 0].mean()) == pytest.approx(50, abs=3)
    assert float(level[y == 0].var()) == pytest.approx(0.5 * 2500 + 0.5 * 100**2 / 12, rel=0.1)
    first, again, other = (Mixup().fit(real)(y[:50], seeded_generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_labels_are_stratified_to_the_image():
    labels = stratified_labels((10, 0, 20, 3), 100, seeded_generator(0))
    assert labels.bincount(minlength=4).tolist() == [30, 0, 61, 9]
    assert not torch.equal(labels, labels.sort()[0])
    for count in (1, 2, 7):
        assert len(stratified_labels((1, 1, 1), count, seeded_generator(0))) == count


# --- files ---


def chunks(n=10, seed=0):
    draws = seeded_generator(seed)
    for size in (n - n // 2, n // 2):
        yield (
            torch.randint(0, 256, (size, 3, 32, 32), generator=draws, dtype=torch.uint8),
            torch.arange(size) % 10,
        )


def test_a_set_comes_back_with_its_recipe_and_hash(digits, tmp_path):
    path = tmp_path / "a" / "made.npz"
    digest = write_samples(path, chunks(), 10, {"source": "x", "n": 1})
    images = torch.cat([x for x, _ in chunks()])
    back = read_samples(path, digits.train, 10)
    assert torch.equal(back.split.images, images) and back.digest == digest
    assert back.recipe == {"source": "x", "n": 1}
    with np.load(path) as plain:  # as anybody reads it
        assert plain["image"].shape == (10, 32, 32, 3) and plain["label"].dtype == np.int64
        assert json.loads(str(plain["recipe"]))["n"] == 1 and str(plain["hash"]) == digest
    pool = Generated(path).pool(digits.train, 10)
    assert isinstance(pool.images, np.memmap)  # mapped, not read
    assert write_samples(tmp_path / "b.npz", chunks(), 10, {}) == digest
    assert write_samples(tmp_path / "c.npz", chunks(seed=1), 10, {}) != digest


def test_images_that_are_not_those_of_the_hash(digits, tmp_path):
    path = tmp_path / "made.npz"
    write_samples(path, chunks(), 10, {})
    with np.load(path) as kept:
        arrays = dict(kept)
    arrays["label"] = arrays["label"][::-1]
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="the hash in it is not that of its images"):
        read_samples(path, digits.train, 10)


def test_sets_of_other_programs_are_read(digits, tmp_path):
    path = tmp_path / "theirs.npz"
    image = np.zeros((4, 3, 32, 32), dtype=np.uint8)
    np.savez(path, image=image, label=np.arange(4), recipe="stir")
    back = read_samples(path, digits.train, 10)
    assert (back.digest, back.recipe, len(back.split)) == ("", {}, 4)


def test_a_set_is_never_overwritten(tmp_path):
    path = tmp_path / "made.npz"
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"made\.npz exists: name another file"):
        write_samples(path, chunks(), 10, {})

    def late():
        yield from chunks()
        (tmp_path / "b.npz").write_bytes(b"theirs")  # comes to exist while we write

    with pytest.raises(DataError, match=r"b\.npz exists: name another file"):
        write_samples(tmp_path / "b.npz", late(), 10, {})
    assert path.read_bytes() == b"mine" and (tmp_path / "b.npz").read_bytes() == b"theirs"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("count", "name", "said"),
    [
        (0, "a.npz", "a set needs 1 image or more, got 0"),
        (10, "a.zip", r"the name of a set of images must end in \.npz"),
        (11, "a.npz", "expected 11 images, got 10"),
    ],
)
def test_invalid_requests(tmp_path, count, name, said):
    with pytest.raises(ValueError, match=said):
        write_samples(tmp_path / name, chunks(), count, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [100, 20_000, 30_900], ids=["head", "images", "end"])
def test_a_disk_that_fills_leaves_nothing(tmp_path, size, file_size_limit):
    with file_size_limit(size), pytest.raises(DataError) as error:
        write_samples(tmp_path / "made.npz", chunks(), 10, {"long": "x" * 1000})
    line = str(error.value)
    assert line == f"{tmp_path / 'made.npz'}: cannot be written: File too large"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(DataError, match="cannot be written: "):
        write_samples(Path("/proc/made.npz"), chunks(), 10, {})


def test_batches_do_not_depend_on_each_other():
    y = torch.arange(25) % 10

    def draw(labels, generator):
        return torch.rand(len(labels), generator=generator)

    whole = [x for x, _ in sample_batches(draw, y, 3, 10)]
    assert [len(x) for x in whole] == [10, 10, 5]
    assert bit_equal(whole, [x for x, _ in sample_batches(draw, y, 3, 10)])
    assert not torch.equal(whole[0], whole[1])


# --- scores ---


def test_the_frechet_distance_of_normal_distributions():
    draws = seeded_generator(0)
    a = torch.randn(50_000, 3, generator=draws, dtype=torch.float64)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + torch.tensor([1.0, 2, 0])) == pytest.approx(5, abs=1e-9)
    # Variances s and t that commute: sum (sqrt s - sqrt t)^2.
    assert frechet_distance(a, 3 * a) == pytest.approx(3 * 4, rel=0.03)
    b = a @ torch.randn(3, 3, generator=draws, dtype=torch.float64)
    from scipy.linalg import sqrtm

    first, second = np.cov(a.T), np.cov(b.T)
    wanted = float(((a.mean(0) - b.mean(0)) ** 2).sum())
    wanted += np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    with pytest.raises(ValueError, match="two sets of two or more features"):
        frechet_distance(a, a[:1])


def test_prdc_by_hand():
    """On a line, k = 1: real at 0, 1, 10, 11; each ball has radius 1."""
    real = torch.tensor([[0.0], [1], [10], [11]])
    made = torch.tensor([[0.5], [0.9], [5.0], [30.0]])
    found = prdc(real, made, k=1)
    assert found.precision == 2 / 4  # 0.5 and 0.9 lie in balls of 0 and of 1
    assert found.density == (2 + 2) / 4
    assert found.coverage == 2 / 4
    # Balls of the made: 0.5 and 0.9 of 0.4; 5.0 of 4.1 (from 0.9 to 9.1); 30 of 25 (from 5 on).
    assert found.recall == 3 / 4
    same_ = prdc(real, real, k=1)
    assert (same_.precision, same_.recall, same_.coverage) == (1, 1, 1)
    with pytest.raises(ValueError, match="4 neighbours need more images than 4"):
        prdc(real, made, k=4)


def test_a_collapsed_set_has_precision_without_recall():
    draws = seeded_generator(0)
    real = torch.randn(400, 2, generator=draws)
    made = 0.1 * torch.randn(400, 2, generator=draws)
    found, honest = prdc(real, made), prdc(real, torch.randn(400, 2, generator=draws))
    assert found.precision > 0.95 and found.recall < 0.2 and found.coverage < 0.4
    assert min(honest.precision, honest.recall, honest.coverage) > 0.85


def test_copies_are_found(digits):
    known, held = digits.train.images, digits.test.images
    copied = torch.cat([known[:30], digits.validation.images[:70]])
    found, honest = (
        memorisation(known, held, copied),
        memorisation(known, held, digits.validation.images),
    )
    assert (found.copies, found.images) == (30, 100) and found.close >= 0.3
    assert honest.copies == 0 and honest.close < 0.04
    assert honest.nearest == pytest.approx(1, abs=0.1)
    assert memorisation(known, held, known[:50]).nearest == 0


def test_features_are_the_inputs_of_the_last_linear_layer():
    net: Any = adv.build(Recipe(net=BaseNet()), 10, 0).eval()
    images = torch.randint(0, 256, (7, 3, 32, 32), generator=seeded_generator(0), dtype=torch.uint8)
    found = features(net, images)
    assert found.shape == (7, 84) and found.dtype == torch.float64
    logits = net(images.float() / 255)
    assert torch.allclose(net[-1](found.float()), logits, atol=1e-5)
    with pytest.raises(ValueError, match="no linear layer"):
        features(torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3)), images)


def test_the_standard_fid_says_why_it_is_missing(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)  # not installed
    line = standard_fid(digits.train, digits.test)
    assert line.endswith("torch-fidelity is not installed (pip install '.[fid]')")
    monkeypatch.setitem(sys.modules, "torch_fidelity", object())  # never called
    path = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    line = standard_fid(digits.train, digits.test)
    assert line == f"standard FID: not computed, put {SOURCE} at {path}" and not path.exists()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    line = standard_fid(digits.train, digits.test)
    assert line.startswith(f"standard FID: not computed, {path} is damaged")


def test_the_standard_fid_goes_through_torch_fidelity(digits, tmp_path, monkeypatch):
    """With a linear net in place of Inception, the distance is that of our own code."""
    pytest.importorskip("torch_fidelity")
    from torch_fidelity import registry
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Linear(FeatureExtractorBase):
        def __init__(self, name, wanted, feature_extractor_weights_path, **_):
            super().__init__(name, wanted)
            state = torch.load(feature_extractor_weights_path, weights_only=True)
            self.weight = torch.nn.Parameter(state["weight"])

        @staticmethod
        def get_provided_features_list():
            return ("told", "logits")

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "told" if metric == "fid" else "logits"

        def forward(self, x):
            told = x.float().flatten(1) @ self.weight / 255
            held = {"told": told, "logits": torch.zeros(len(x), 10)}
            return tuple(held[name] for name in self.features_list)

    monkeypatch.setitem(registry.FEATURE_EXTRACTORS_REGISTRY, "inception-v3-compat", Linear)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weight = 10 * torch.randn(3 * 32 * 32, 6, generator=seeded_generator(0))
    inception_weights_path().parent.mkdir(parents=True)
    torch.save({"weight": weight}, inception_weights_path())
    line = standard_fid(digits.train, digits.test)
    real, made = (
        (split.images.double().flatten(1) @ weight.double() / 255)
        for split in (digits.train, digits.test)
    )
    said = re.fullmatch(
        r"standard FID ([\d.]+) \(360 against 1000 images\), Inception score 1\.00 \+- 0\.00", line
    )
    assert said, line
    assert float(said[1]) == pytest.approx(frechet_distance(real, made), rel=1e-3)


def test_a_grid_has_a_row_for_each_class(digits, tmp_path):
    picture = grid(digits.train, 10, 4)
    assert picture.shape[0] == 3 and picture.dtype == torch.uint8
    times = picture.shape[2] // (4 * 9)
    first = digits.train.images[digits.train.labels == 3][1]
    place = picture[:, 27 * times : 35 * times : times, 9 * times : 17 * times : times]
    assert torch.equal(place, first[:, 12:20, 12:20])
    path = tmp_path / "grid.png"
    save_grid(path, digits.train, 10, 4)
    with Image.open(path) as image:
        assert image.size == (picture.shape[2], picture.shape[1])
    with pytest.raises(ValueError, match=r"the name of a grid must end in \.png"):
        save_grid(tmp_path / "grid.jpg", digits.train, 10)


# --- as a part of a recipe ---


def recipe(made: Synthetic | Generated | None, epochs: int = 1) -> Recipe:
    lesson = Curriculum(eps=0.03, steps=1, pace=1.0)
    return Recipe(net=BaseNet(), curriculum=lesson, epochs=epochs, batch=25, generated=made)


def last(chosen: Recipe, split: Split, state=None):
    *_, epoch = train(chosen, split, classes=10, seed=0, state=state)
    return epoch.state()


ALL = [
    Gaussian(),
    Mixup(0.4),
    FromGAN(TINY, ema=False),
    FromGAN(TINY, ddls=DDLS(2)),
]


@pytest.fixture(scope="module")
def alone(digits):
    """The net of the recipe below without generated images."""
    return last(recipe(None), part_of(digits.train, 50))["net"]


@pytest.mark.parametrize("source", ALL, ids=lambda s: f"{type(s).__name__}")
def test_a_recipe_makes_its_images_once_and_trains_on_them(digits, cache, alone, source):
    split = part_of(digits.train, 50)
    chosen = recipe(Synthetic(source, 0.5, count=40))
    assert parse(to_expression(chosen)) == chosen
    first = last(chosen, split)
    (path,) = cache.glob("*.npz")
    back = read_samples(path, split, 10)
    assert len(back.split) == 40 and back.recipe["source"] == repr(source)
    assert not any(file.suffix == ".state" for file in cache.iterdir())
    before = path.stat().st_mtime_ns
    again = last(chosen, split)
    assert bit_equal(first, again) and path.stat().st_mtime_ns == before
    plain = last(recipe(Generated(path, 0.5)), split)
    assert bit_equal(first["net"], plain["net"])  # the same images, the same training
    assert not bit_equal(first["net"], alone)


def test_a_killed_training_resumes_with_generated_images(digits, cache):
    split = part_of(digits.train, 50)
    chosen = recipe(Synthetic(Gaussian(), 0.5, count=40, relabel=LABELS), epochs=2)
    states = [epoch.state() for epoch in train(chosen, split, classes=10, seed=0)]
    assert bit_equal(last(chosen, split, states[0]), states[1])


LABELS = replace(laptop_recipe(natural_recipe()), net=BaseNet(), epochs=1)


def test_images_are_labelled_by_a_classifier_of_real_ones(digits, cache):
    split = part_of(digits.train, 300)
    made = Synthetic(Gaussian(), 0.5, count=50, relabel=replace(LABELS, epochs=8))
    pool, plain = made.pool(split, 10), replace(made, relabel=None).pool(split, 10)
    assert np.array_equal(pool.images, plain.images)
    assert pool.fingerprint != plain.fingerprint
    agreed = float((pool.labels == plain.labels).double().mean())
    assert 0.2 < agreed < 1
    assert torch.equal(made.pool(split, 10).labels, pool.labels)
    (kept,) = cache.glob("labels-*.npy")
    whole = kept.read_bytes()
    for damaged in (b"", whole[:-8], whole[:-1] + b"\x7f", whole.replace(b"(50,)", b"(9,) ")):
        kept.write_bytes(damaged)
        with pytest.raises(DataError, match=r"labels-.*\.npy is damaged: delete it to label"):
            made.pool(split, 10)


def test_other_images_are_another_set(digits, cache):
    made = Synthetic(Gaussian(), 0.5, count=20)
    changes = {"seed": 1}, {"count": 21}, {"source": Gaussian(3)}, {"fraction": 0.9}
    sources = [(made, 100), (made, 99), *((replace(made, **change), 100) for change in changes)]
    prints = {one.pool(part_of(digits.train, n), 10).fingerprint for one, n in sources}
    assert len(prints) == len(list(cache.glob("*.npz"))) == 5  # the fraction alone is no other set


def test_a_file_of_another_generator(digits, cache):
    made = Synthetic(Npz("theirs.npz"), 1.0)
    with pytest.raises(DataError, match=r"synthetic/theirs\.npz: no such file"):
        made.pool(digits.train, 10)
    cache.mkdir()
    image = np.full((3, 32, 32, 3), 9, dtype=np.uint8)
    np.savez(cache / "theirs.npz", image=image, label=np.array([1, 2, 3]))
    images, _ = made.pool(digits.train, 10).draw_batch(
        digits.train, torch.arange(5), seeded_generator(0)
    )
    assert (images == 9).all()


def test_a_cache_that_cannot_be_written(digits, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written to .* set ROBUSTUNE_DATA") as error:
        Synthetic(Gaussian(), count=5).pool(digits.train, 10)
    assert "\n" not in str(error.value)


def make_slowly(path: str, log: str, ready) -> None:
    def make(target: Path) -> None:
        ready.wait()  # all processes have come
        with Path(log).open("a") as file:
            file.write("made\n")
        target.write_text("whole")

    make_once(Path(path), make)


def test_one_of_many_processes_makes_the_set(tmp_path):
    """The process with the lock waits until the others wait for it."""
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    path, log = tmp_path / "set", tmp_path / "log"
    workers = [
        context.Process(target=make_slowly, args=(str(path), str(log), ready)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    ready.set()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert log.read_text() == "made\n" and path.read_text() == "whole"


def test_partial_files_of_killed_processes_are_removed(tmp_path):
    path = tmp_path / "set[1].npz"
    (tmp_path / ".set[1].npz.4321").write_bytes(b"half")
    (tmp_path / ".set1.npz.4321").write_bytes(b"another's")
    make_once(path, lambda target: target.write_text("whole"))
    make_once(path, lambda _: pytest.fail("it is there"))
    left = {file.name for file in tmp_path.iterdir() if file.suffix != ".lock"}
    assert left == {"set[1].npz", ".set1.npz.4321"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": "gan"}, r"source must be Gaussian\(\), Mixup\(\), FromGAN"),
        ({"fraction": 1.5}, r"the fraction of generated images must be in \[0, 1\], not 1.5"),
        ({"fraction": math.nan}, "the fraction of generated images"),
        ({"count": 0}, "count must be 1 or more, got 0"),
    ],
)
def test_invalid_settings(settings, said):
    with pytest.raises(ValueError, match=said):
        Synthetic(**{"source": Gaussian(), **settings})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Gaussian(0), "the rank must be 1 or more"),
        (lambda: Mixup(0), "alpha must be above 0, got 0"),
        (lambda: Mixup(math.inf), "alpha must be above 0"),
    ],
)
def test_invalid_baselines(make, said):
    with pytest.raises(ValueError, match=said):
        make()


def test_small_is_small():
    made = Synthetic(FromGAN(ddls=DDLS(500)), 0.7, relabel=natural_recipe()).small()
    assert isinstance(made.source, FromGAN) and made.source.ddls and made.relabel
    assert made.source.gan == GAN().small() and made.source.ddls.steps == 30
    assert made.count == 2000 and made.relabel.net == adv.BigNet() and made.fraction == 0.7
    assert Generated("a.npz", 0.3).small() == Generated("a.npz", 0.3)
    assert Synthetic(Gaussian(), count=7).small() == Synthetic(Gaussian(), count=7)
