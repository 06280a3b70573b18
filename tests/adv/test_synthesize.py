"""`python -m adv synthesize` as a user meets it."""

from __future__ import annotations

import resource
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adv import GAN, BaseNet, Recipe, build, load, save
from adv.__main__ import run

TRAIN = ("--steps", 4, "--every", 2, "--width", 2, "--batch", 10, "--images", 60)


@pytest.fixture
def adv(monkeypatch, capfd, tmp_path):
    """The command line in this process: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("ROBUSTUNE_DATA", str(tmp_path / "cache"))

    def called(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["adv", "synthesize", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            run()
        return (left.value.code or 0, *capfd.readouterr())

    return called


@pytest.fixture(scope="module")
def gan(tmp_path_factory):
    """Trained by the command itself."""
    from adv.generative.making import Work, make_gan

    path = tmp_path_factory.mktemp("gan") / "gan.safetensors"
    digits = load("digits")
    tiny = replace(GAN().small(), steps=4, width=2, batch=10)
    make_gan(tiny, Work(digits.train.head(60), digits.classes, "digits"), path, lambda _: None)
    return path


@pytest.mark.parametrize("verb", ["train", "sample", "score"])
def test_each_verb_explains_itself_with_an_example(adv, verb):
    code, out, _ = adv(verb, "--help")
    assert code == 0 and out.count(f"python -m adv synthesize {verb}") >= 2


def test_training_says_where_it_is_and_gives_the_gan(adv, gan):
    code, out, err = adv("train", "--data", "digits", *TRAIN, "--out", "a.safetensors")
    assert code == 0, err
    for text in ("step 2/4", "step 4/4", "d_loss", "log-odds = ", "uncalibrated", "a.safetensors"):
        assert text in out
    from adv.generative.kept import restore_gan

    mine, theirs = restore_gan(Path("a.safetensors")), restore_gan(gan)
    assert mine.odds == theirs.odds


def test_a_set_is_drawn_labelled_and_scored(adv, gan, tmp_path):
    recipe = Recipe(net=BaseNet())
    classes = tuple("0123456789")
    save("net.safetensors", build(recipe, 10, 0), recipe, classes=classes, data="digits")
    code, out, err = adv(
        *("sample", gan, "--count", 150, "--ddls", "--ddls-steps", 2, "--out", "a.npz"),
        *("--relabel", "net.safetensors"),
    )
    assert code == 0, err
    for text in ("150 images, hash ", "mean energy (after steps): ", "accepted ", "the net names "):
        assert text in out
    code, out, err = adv(
        *("score", "a.npz", "--data", "digits", "--net", "net.safetensors", "--images", 80),
        *("--grid", "grid.png"),
    )
    assert code == 0, err
    for text in (
        '"relabel": "net.safetensors"',
        "own-Frechet",
        "real, held out",
        "a.npz: 0 copies",
    ):
        assert text in out
    assert "standard FID" in out and (tmp_path / "grid.png").stat().st_size > 1000
    code, _, err = adv("sample", gan, "--count", 9, "--out", "a.npz")
    assert (code, err) == (2, "adv: a.npz exists: name another file\n")


def test_equal_flags_give_equal_images(adv):
    flags = ("sample", "--source", "gaussian", "--rank", 3, "--data", "digits", "--count", 30)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        code, _, err = adv(*flags, "--seed", seed, "--out", f"{name}.npz")
        assert code == 0, err
    a, b, c = (np.load(f"{name}.npz") for name in "abc")
    assert str(a["hash"]) == str(b["hash"]) != str(c["hash"])
    assert np.bincount(a["label"]).tolist() == [3] * 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sample", "--count", 0, "--out", "a.npz"], "0 is not in the range x>=1"),
        (["sample", "--count", 5, "--out", "a.npz"], "name a GENERATOR or a --source, one of them"),
        (["sample", "GAN", "--source", "mixup", "--count", 5, "--out", "a.npz"], "one of them"),
        (
            ["sample", "GAN", "--rank", 3, "--count", 5, "--out", "a.npz"],
            "--rank belongs to --sour",
        ),
        (["sample", "GAN", "--ula", "--count", 5, "--out", "a.npz"], "--ula belongs to --ddls"),
        (["sample", "GAN", "--count", 5, "--out", "a.zip"], "a set of images is called NAME.npz"),
        (["sample", "NET", "--count", 5, "--out", "a.npz"], "holds a classifier, wanted is a GAN"),
        (["sample", "no.safetensors", "--count", 5, "--out", "a.npz"], "no checkpoint at no.safe"),
        (["sample", "--source", "gaussian", "--count", 5, "--out", "a.npz"], "needs --data"),
        (["sample", "--source", "gauss", "--count", 5, "--out", "a.npz"], "'gauss' is not one of"),
        (["train", "--out", "a.pt"], "a generator is called NAME.safetensors"),
        (
            ["train", "--recipe", "Recipe()", "--out", "a.safetensors"],
            "--recipe is a GAN(...), not",
        ),
        (["train", "--data", "digit", "--out", "a.safetensors"], "did you mean 'digits'?"),
        (["score", "no.npz", "--data", "digits"], "there is no such file of generated images"),
        (["score", "BAD", "--data", "digits"], "image is float64, wanted are bytes"),
    ],
    ids=str,
)
def test_mistakes_are_one_line_and_leave_nothing(adv, gan, tmp_path, arguments, said):
    recipe = Recipe(net=BaseNet())
    net, bad = gan.with_name("net.safetensors"), gan.with_name("bad.npz")
    save(net, build(recipe, 10, 0), recipe, classes=tuple("0123456789"))
    np.savez(bad, image=np.full((2, 32, 32, 3), np.nan), label=np.arange(2))
    names = {"GAN": gan, "NET": net, "BAD": bad}
    code, _, err = adv(*(names.get(one, one) for one in arguments))
    assert code == 2 and err.startswith("adv: ") and err.count("\n") == 1
    assert said in err
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_a_disk_that_fills_is_one_line(adv, gan, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        code, _, err = adv("sample", gan, "--count", 200, "--out", tmp_path / "a.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    line = f"adv: {tmp_path / 'a.npz'}: cannot be written: File too large\n"
    assert (code, err) == (2, line) and list(tmp_path.iterdir()) == []
