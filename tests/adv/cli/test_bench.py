"""`python -m adv bench`: what it counts, what it prints, what it refuses."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
import torch
from torch import nn

from adv import APGD, NES, PGD, Linf, Square
from adv.__main__ import run
from adv.evaluation.attack_speed import ATTACKS, _count_images

BALL = Linf(8 / 255)


@pytest.fixture
def bench(monkeypatch, capfd):
    """The command line in this process: (exit code, stdout, stderr)."""

    def called(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["adv", "bench", *words])
        with pytest.raises(SystemExit) as left:
            run()
        return (left.value.code or 0, *capfd.readouterr())

    return called


@pytest.mark.parametrize(
    ("attack", "gradients", "forwards"),
    [
        (PGD(BALL, 3), 3, 0),
        (PGD(BALL, 3, loss="kl"), 3, 1),  # the clean prediction
        (APGD(BALL, 3), 4, 0),
        (NES(BALL, queries=40, samples=20, early_stop=False), 0, 40),
    ],
    ids=repr,
)
def test_passes_are_counted_with_and_without_gradient(attack, gradients, forwards):
    """A net that every image leaves unfooled: none is done before its time."""
    last = nn.Linear(48, 4)
    net = nn.Sequential(nn.Flatten(), last)
    nn.init.zeros_(last.weight)
    last.bias.data[0] = 9
    x, y = torch.rand(5, 3, 4, 4), torch.zeros(5, dtype=torch.long)
    with _count_images(net) as rows:
        attack(net, x, y)
    assert rows[True] == 5 * gradients
    assert rows[False] >= 5 * forwards and (forwards or rows[False] == 0)
    attack(net, x, y)
    assert rows[True] == 5 * gradients  # it no longer counts


def test_steps_mean_what_the_help_says():
    assert ATTACKS["square"](7) == Square(BALL, queries=7)
    iterative: list[Any] = [ATTACKS[kind](7) for kind in ("pgd", "pgd-l2", "apgd", "nes")]
    assert all(attack.steps == 7 for attack in iterative)


def test_the_figures_belong_together(bench):
    words = ("--nets", "basenet,BaseNet(dropout=0.5)", "--attacks", "pgd", "--batch", "4")
    code, out, _ = bench(*words, "--steps", "2", "--json")
    told = json.loads(out)
    assert code == 0 and (told["batch"], told["steps"]) == (4, 2)
    assert [speed["net"] for speed in told["speeds"]] == ["basenet", "BaseNet(dropout=0.5)"]
    for speed in told["speeds"]:
        seconds = sorted(speed["seconds"])
        assert len(seconds) == 3 and speed["steps_per_second"] == pytest.approx(2 / seconds[1])
        assert speed["share"] > 0 and speed["peak_bytes"] > 10**7


def test_the_table(bench):
    words = ("--nets", "basenet", "--attacks", "square", "--batch", "2", "--steps", "2")
    code, out, _ = bench(*words)
    assert code == 0 and "2 images, 2 steps" in out and "torch" in out
    assert "efficiency" in out and "basenet" in out and "MiB" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--nets", "basnet"), "did you mean 'basenet'"),
        (("--nets", "BigNett()"), "did you mean 'BigNet'"),
        (("--nets", "Linf(0.1)"), "nets such as BigNet(2)"),
        (("--nets", ","), "name at least one net and one attack"),
        (("--attacks", "pgd,squared"), "did you mean 'square'"),
        (("--device", "tpu"), "this machine has cpu"),
        (("--device", "cuda:99"), "this machine has cpu"),
        (("--batch", "0"), "--batch"),
    ],
)
def test_what_is_refused_in_one_line(bench, words, said):
    code, out, err = bench(*words)
    assert code == 2 and out == "" and said in err
    assert err.startswith("adv: ") and err.count("\n") == 1
