"""The comparison of minimum-norm attacks with attacks by radius: its table, and its command."""

from __future__ import annotations

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from adv import BaseNet, Recipe, build, save


def test_differences_are_those_from_the_reference(benchmark):
    judge = benchmark("minimum_norm")
    rows = {
        "weaker": {"shares": [0.5, 0.3, 0.2, 0.1, 0.1, 0.0], "gradients": 12, "seconds": 1.25},
        judge.REFERENCE: {"shares": [0.4, 0.3, 0.2, 0.1, 0.0, 0.0], "gradients": 900, "seconds": 9},
    }
    weaker, exact = judge.format_table(rows).splitlines()[2:]
    assert weaker.split(" | ")[7:] == ["120.0", "+3.33", "+10.0", "12", "1.2 |"]
    assert exact.split(" | ")[7:] == ["100.0", "+0.00", "+0.0", "900", "9.0 |"]


def test_gradients_are_counted(benchmark):
    judge = benchmark("minimum_norm")
    net = nn.Flatten()

    def attack(net: nn.Module, part: torch.Tensor) -> list[float]:
        with torch.no_grad():
            net(part)
        for _ in range(3):
            net(part)
        return [1.0]

    found = judge.measure(net, attack, torch.zeros(5, 2))
    assert found["gradients"] == 3 and found["shares"] == [1.0] and not net._forward_pre_hooks


@pytest.mark.slow
def test_the_command_prints_a_table_for_each_net(benchmark, tmp_path):
    recipe, classes = Recipe(net=BaseNet()), tuple("0123456789")
    for name in "ab":
        net = build(recipe, 10, seed=0)
        save(tmp_path / f"{name}.safetensors", net, recipe, classes=classes, data="digits")
    words = [*map(str, sorted(tmp_path.iterdir())), "--data", "digits", "--images", "4"]
    done = CliRunner().invoke(benchmark("minimum_norm").main, words)
    assert done.exit_code == 0, done.output
    assert done.output.count("| AutoAttack's APGD |") == 2
