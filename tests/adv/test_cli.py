"""`python -m adv` as a user meets it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def adv(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "adv", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    done = adv("train", "--space", "smoke", "--set", "sigma=0.1", "--epochs", 1, "--out", path)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stdout and str(path) in done.stdout
    return path


@pytest.mark.parametrize("verb", ["train", "evaluate", "attack"])
def test_each_verb_explains_itself(verb):
    done = adv(verb, "--help")
    assert done.returncode == 0
    assert "--data" in done.stdout and "python -m adv" in done.stdout


def test_a_checkpoint_is_judged_by_the_battery(checkpoint):
    done = adv("evaluate", checkpoint, "--split", "test", "--images", 30, "--steps", 1)
    assert done.returncode == 0, done.stderr
    for text in ("30 test images", "pgd1-0.1", "aggregated attacked score", "sigma=0.1", "votes"):
        assert text in done.stdout


def test_an_attack_saves_its_images(checkpoint, tmp_path):
    done = adv(
        *("attack", checkpoint, "--norm", "l2", "--eps", 0.5, "--steps", 2, "--restarts", 2),
        *("--draws", 2, "--images", 10, "--save", tmp_path / "images.npz"),
    )
    assert done.returncode == 0, done.stderr
    saved = np.load(tmp_path / "images.npz")
    change = (saved["adversarial"] - saved["clean"]).reshape(10, -1)
    lengths = np.linalg.norm(change, axis=1)
    assert (lengths > 0).all() and (lengths <= 0.5 + 1e-5).all()
    assert saved["adversarial"].min() >= 0 and saved["adversarial"].max() <= 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["evaluat", "x"], "evaluate"),
        (["evaluate", "nowhere.safetensors"], "no checkpoint at nowhere.safetensors"),
        (["evaluate", "README.md"], "not a checkpoint"),
        (["train", "--space", "smok", "--out", "x"], "did you mean 'smoke'"),
        (["train", "--space", "smoke", "--set", "sigm=1", "--out", "x"], "did you mean 'sigma'"),
        (["train", "--space", "smoke", "--set", "sigma=9", "--out", "x"], "0 to 0.2"),
        (["train", "--space", "smoke", "--set", "sigma=a", "--out", "x"], "0 to 0.2"),
        (["train", "--space", "smoke", "--scale", "lap", "--out", "x"], "laptop"),
        (["train", "--space", "smoke", "--out", "README.md"], "exists"),
        (["attack", "x", "--norm", "l1"], "linf, l2"),
        (["attack", "x", "--attack", "pgdd"], "did you mean 'pgd'"),
        (["attack", "x", "--steps", "0"], "--steps"),
    ],
)
def test_a_mistake_is_one_line(arguments, hint):
    done = adv(*arguments)
    assert done.returncode == 2
    assert hint in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1
    assert not (ROOT / "x").exists()
