"""`python -m adv synthesize` as a user runs it."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from adv import GAN, BaseNet, Recipe, build, load, save
from adv.cli.synthesis.display import progress_bar
from adv.generative.sample_journal import append_batch

TRAIN = ("--steps", 4, "--every", 2, "--width", 2, "--batch", 10, "--d-steps", 1, "--images", 60)


@pytest.fixture
def adv(monkeypatch, run_adv, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path / "cache"))
    return partial(run_adv, "synthesize")


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """Return the GAN that the command writes with the flags of TRAIN, made without the command."""
    from adv.generative.gan_file import GANData, make_gan

    path = tmp_path_factory.mktemp("gan") / "gan.safetensors"
    digits = load("digits")
    tiny = replace(GAN().small(), steps=4, width=2, batch=10, d_steps=1)
    make_gan(tiny, GANData(digits.train.head(60), digits.classes, "digits"), path, lambda _: None)
    return path


@pytest.fixture(scope="module")
def files(gan, tmp_path_factory):
    """Return the files named in capitals below: a GAN, two nets, a set of floats."""
    folder = tmp_path_factory.mktemp("files")
    recipe = Recipe(net=BaseNet())
    held = {"GAN": gan, "BAD": folder / "bad.npz"}
    for name, classes in (("NET", "0123456789"), ("OTHER", "abc")):
        held[name] = folder / f"{name.lower()}.safetensors"
        net = build(recipe, len(classes), 0)
        save(held[name], net, recipe, classes=tuple(classes), data="digits")
    np.savez(held["BAD"], image=np.full((2, 32, 32, 3), np.nan), label=np.arange(2))
    return held


@pytest.mark.parametrize("verb", ["train", "sample", "score"])
def test_each_verb_explains_itself_with_an_example(adv, verb):
    code, out, _ = adv(verb, "--help")
    assert code == 0 and out.count(f" adv synthesize {verb}") >= 2
    assert "python -m adv" not in out  # what was typed is `adv`


def test_training_reports_progress_and_writes_the_gan(adv, gan):
    code, out, err = adv("train", "--data", "digits", *TRAIN, "--out", "a.safetensors")
    assert code == 0, err
    for text in ("step 2/4", "step 4/4", "d_loss", "log-odds = ", "uncalibrated", "a.safetensors"):
        assert text in out
    from adv.generative.gan_checkpoint import restore_gan

    mine, theirs = restore_gan(Path("a.safetensors")), restore_gan(gan)
    assert mine.odds == theirs.odds


def test_a_set_is_sampled_labelled_and_scored(adv, files, tmp_path):
    gan, net = files["GAN"], files["NET"]
    code, out, err = adv(
        *("sample", gan, "--count", 150, "--ddls", "--ddls-steps", 2, "--out", "a.npz"),
        *("--relabel", net),
    )
    assert code == 0, err
    for text in (
        "150 images, hash ",
        "mean energy (after steps): ",
        "accepted ",
        "the net agrees with ",
    ):
        assert text in out
    code, out, err = adv(
        *("score", "a.npz", "--data", "digits", "--net", net, "--images", 80),
        *("--grid", "grid.png"),
    )
    assert code == 0, err
    for text in (
        f'"relabel": "{net}"',
        "own-Frechet",
        "real, held out",
        "a.npz: 0 copies",
    ):
        assert text in out
    assert "standard FID" in out and (tmp_path / "grid.png").stat().st_size > 1000
    code, _, err = adv("sample", gan, "--count", 9, "--out", "a.npz")
    assert (code, err) == (2, "adv: a.npz exists: name another file\n")


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_the_figures_too(monkeypatch, capfd, terminal):
    """On a terminal above a bar that disappears; else the same lines on stdout."""
    monkeypatch.setenv("TERM", "xterm")
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: terminal)
    with progress_bar("training", 60) as tell:
        for step in range(1, 61):
            tell(step, f"step {step}/60  d_loss 1.234")
    out, err = capfd.readouterr()
    lines = [f"step {step}/60  d_loss 1.234" for step in range(3, 61, 3)]
    if terminal:
        assert [line for line in lines if line in err] == lines and out == ""
        assert "60/60" in err and err.count("d_loss") == 20
    else:
        assert out.splitlines() == lines and err == ""


def test_equal_flags_give_equal_images(adv):
    flags = ("sample", "--source", "gaussian", "--rank", 3, "--data", "digits", "--count", 30)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        code, _, err = adv(*flags, "--seed", seed, "--out", f"{name}.npz")
        assert code == 0, err
    with np.load("a.npz") as a, np.load("b.npz") as b, np.load("c.npz") as c:
        assert str(a["hash"]) == str(b["hash"]) != str(c["hash"])
        assert np.bincount(a["label"]).tolist() == [3] * 10


def test_images_of_another_shape(adv, tmp_path):
    """A GAN and a Gaussian of grey images that are not square, scored and trained on."""
    pixels = np.random.default_rng(0).integers(0, 256, (300, 20, 24), dtype=np.uint8)
    np.savez("grey.npz", image=pixels, label=np.arange(300) % 3)
    recipe = "GAN(width=1, latent=2, steps=2, batch=8, d_steps=1)"
    assert adv("train", "--data", "grey.npz", "--out", "g.safetensors", "--recipe", recipe)[0] == 0
    gaussian = ("--source", "gaussian", "--data", "grey.npz")
    for name, source in (("a.npz", ("g.safetensors",)), ("b.npz", gaussian)):
        code, _, err = adv("sample", *source, "--count", 30, "--out", name)
        assert code == 0, err
        with np.load(name) as made:
            assert made["image"].shape == (30, 20, 24, 1)
        code, _, err = adv("score", name, "--data", "grey.npz", "--grid", f"{name}.png")
        assert code == 0, err


def test_a_killed_sampling_resumes(adv, gan, tmp_path, monkeypatch):
    """Killed in a batch and before the set is written, it gives the same set."""
    from adv.cli.synthesis import run

    flags = ("sample", gan, "--count", 250, "--ddls", "--ddls-steps", 1)
    assert adv(*flags, "--out", "whole.npz")[0] == 0
    state = tmp_path / "a.npz.state"

    def interrupted(*_):
        raise KeyboardInterrupt

    def killed(path, number, chunk):
        return interrupted() if number == 2 else append_batch(path, number, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(run, "append_batch", killed)
        assert adv(*flags, "--out", "a.npz")[0] == 130
    with state.open("ab") as file:
        file.write(bytes(1000))
    assert not (tmp_path / "a.npz").exists()
    code, _, err = adv(*flags, "--seed", 1, "--out", "a.npz")
    assert code == 2
    assert err == "adv: a.npz.state was started with other flags: delete it to start anew\n"
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_samples", interrupted)
        assert adv(*flags, "--out", "a.npz")[0] == 130
    half = tmp_path / ".a.npz.4321"  # what kill -9 leaves of the writing of a set
    half.write_bytes(bytes(1000))
    code, out, err = adv(*flags, "--out", "a.npz")
    assert code == 0, err
    assert "resuming from a.npz.state: 250 images" in out
    assert Path("a.npz").read_bytes() == Path("whole.npz").read_bytes()
    assert not state.exists() and not half.exists()


def test_a_chain_that_diverges_leaves_nothing(adv, gan, tmp_path):
    """So that the same command can be given again with smaller steps."""
    flags = ("sample", gan, "--count", 5, "--ddls", "--ula", "--ddls-steps", 2, "--out", "a.npz")
    code, _, err = adv(*flags, "--step-size", 1e30)
    assert (code, err) == (2, "adv: a chain diverged: use a step size below 1e+30\n")
    assert list(tmp_path.iterdir()) == []
    code, _, err = adv(*flags, "--step-size", 0.1)
    assert code == 0, err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "--count", 0, "--out", "a.npz"], "0 is not in the range x>=1"),
        (["sample", "--count", 5, "--out", "a.npz"], "name either a GENERATOR or a --source"),
        (
            ["sample", "GAN", "--source", "mixup", "--count", 5, "--out", "a.npz"],
            "either a GENERATOR or a --source",
        ),
        (
            ["sample", "GAN", "--rank", 3, "--count", 5, "--out", "a.npz"],
            "--rank needs --sour",
        ),
        (["sample", "GAN", "--ula", "--count", 5, "--out", "a.npz"], "--ula needs --ddls"),
        (
            ["sample", "GAN", "--count", 5, "--out", "a.zip"],
            "the name of a set of images must end in .npz",
        ),
        (["sample", "NET", "--count", 5, "--out", "a.npz"], "holds a classifier, not a GAN"),
        (["sample", "no.safetensors", "--count", 5, "--out", "a.npz"], "no checkpoint at no.safe"),
        (["sample", "--source", "gaussian", "--count", 5, "--out", "a.npz"], "needs --data"),
        (["sample", "--source", "gauss", "--count", 5, "--out", "a.npz"], "'gauss' is not one of"),
        (["train", "--out", "a.pt"], "the name of a generator must end in .safetensors"),
        (
            ["train", "--recipe", "Recipe()", "--out", "a.safetensors"],
            "--recipe must be a GAN(...), not",
        ),
        (["train", "--data", "digit", "--out", "a.safetensors"], "did you mean 'digits'?"),
        (
            ["sample", "GAN", "--relabel", "OTHER", "--count", 5, "--out", "a.npz"],
            "other.safetensors has 3 classes, and ",
        ),
        (["score", "BAD", "--data", "digits", "--net", "OTHER"], "has 3 classes, and digits has"),
        (
            ["score", "BAD", "--data", "digits", "--grid", "a.jpg"],
            "the name of a grid must end in .png",
        ),
        (["score", "no.npz", "--data", "digits"], "no such file of generated images"),
        (["score", "BAD", "--data", "digits"], "image is float64, expected bytes"),
    ],
    ids=str,
)
def test_mistakes_are_one_line_and_leave_nothing(adv, files, tmp_path, arguments, said):
    code, _, err = adv(*(files.get(one, one) for one in arguments))
    assert code == 2 and err.startswith("adv: ") and err.count("\n") == 1
    assert said in err
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_a_disk_that_fills_is_one_line(adv, gan, tmp_path, file_size_limit):
    with file_size_limit(100_000):
        code, _, err = adv("sample", gan, "--count", 200, "--out", tmp_path / "a.npz")
    line = f"adv: {tmp_path / 'a.npz.state'}: cannot be written: File too large\n"
    assert (code, err) == (2, line) and list(tmp_path.iterdir()) == []
