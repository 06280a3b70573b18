"""The benchmarks of training: fused replicas are what they are alone, and each command runs."""

from __future__ import annotations

import re

import pytest
import torch


def batches(count: int):
    draw = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = torch.rand(6, 3, 32, 32, generator=draw)
        y = torch.randint(10, (6,), generator=draw)
        yield x, y, 2 * torch.rand(2, 3, 3, 32, 32, generator=draw) - 1


def test_a_fused_replica_is_trained_as_it_is_alone(benchmark):
    """Two that differ in rate and radius: each becomes what it becomes without the other."""
    stacked = benchmark("stacked_training")
    settings = [stacked.Replica(0, 0, lr=1e-3, eps=0.03), stacked.Replica(0, 0, lr=4e-3, eps=0.1)]
    both = stacked.StackedTraining(settings, 2, "cpu")
    first, second = (stacked.StackedTraining([one], 2, "cpu") for one in settings)
    second.weights = {name: w[1:].clone() for name, w in both.weights.items()}  # another seed
    for x, y, starts in batches(2):
        both.step(x, y, starts)
        first.step(x, y, starts[:1])
        second.step(x, y, starts[1:])
    for name, weights in both.weights.items():
        assert not torch.allclose(weights[0], weights[1], atol=1e-4), name
        for mine, alone in zip(weights, (first, second), strict=True):
            # AdamW divides by the gradient: where that is 0 to rounding, the sign is anyone's.
            close = torch.isclose(mine, alone.weights[name][0], atol=1e-5, rtol=1e-4)
            assert close.float().mean() > 0.99, name


def test_a_fused_replica_is_trained_as_adv_trains(benchmark):
    """Its attack, gradient and AdamW are those of `adv.train`: one step on one batch."""
    from adv import PGD, Lesson, Linf, Mixed
    from adv.attacks.attack import initial_state
    from adv.runtime.frozen import frozen
    from adv.training.objective import Batch

    stacked = benchmark("stacked_training")
    together = stacked.StackedTraining([stacked.Replica(0, 0, lr=1e-3, eps=0.05)], 2, "cpu")
    net = stacked.NoisyBigNet().net
    net.load_state_dict(
        {k.removeprefix("net."): v[0] for k, v in together.weights.items()}
        | {k.removeprefix("net."): v[0] for k, v in together.buffers.items()}
    )
    ((x, y, starts),) = batches(1)
    together.step(x, y, starts[:1])
    attack = PGD(Linf(0.05), steps=2)
    start = (x[:3] + 0.05 * starts[0]).clamp(0, 1)
    state = initial_state(x[:3], y[:3], start, torch.Generator(), eps=0.05, step_size=attack.length)
    with frozen(net):
        for _ in range(2):
            state = attack.step(net, state)
    Mixed().backward(net, Batch(x, y, Lesson(attack, 0.5)), state.adv)
    torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01).step()
    for name, weight in net.named_parameters():
        close = torch.isclose(together.weights[f"net.{name}"][0], weight, atol=1e-5)
        assert close.float().mean() > 0.99, name


def test_a_way_that_fails_is_left_out_with_its_reason(benchmark, monkeypatch, capsys):
    packed = benchmark("trials_per_hour")
    monkeypatch.setattr(packed.shutil, "which", lambda _: None)
    monkeypatch.setattr(packed, "threads", lambda count, job, split: 36.0 / count)
    packed.main(["--ways", "mps", "threads", "--at-once", "1", "2", "--images", "450"])
    said = capsys.readouterr()
    assert said.err.count("nvidia-cuda-mps-control is not installed") == 2
    # 36 s for a hundredth of an epoch of one trial: 216,000 s for 60; two in half of that
    assert "| mps | none | none |" in said.out
    assert "| threads | 0.0167 (0.0167 to 0.0167) | 0.0667 (0.0667 to 0.0667) |" in said.out


@pytest.mark.slow
def test_ways_to_pack_trials_run_on_a_processor(benchmark, capsys):
    words = "--images 16 --batch 8 --steps 1 --at-once 2 --rounds 1 --ways processes threads fused"
    benchmark("trials_per_hour").main(words.split())
    rows = re.findall(r"\| (\w+) \| ([\d.]+) \(", capsys.readouterr().out)
    assert [way for way, _ in rows] == ["processes", "threads", "fused"]
    assert all(float(rate) > 0 for _, rate in rows)


@pytest.mark.slow
def test_training_is_timed_beside_a_plain_loop(benchmark, torchattacks, capsys):
    words = "--nets basenet --peers torchattacks --batch 8 --batches 1 --repeats 1"
    benchmark("train_speed").main(words.split())
    out = capsys.readouterr().out
    assert out.count("| basenet, ") == 2 and "ours / torchattacks" in out


@pytest.mark.slow
@pytest.mark.parametrize("goal", ["accuracy", "minutes"])
def test_the_speedrun_runs(benchmark, capsys, goal, monkeypatch):
    run = benchmark("speedrun")
    monkeypatch.setattr(
        run, "autoattack", lambda ball, classes: run.Battery((("a", run.PGD(ball)),))
    )
    run.main(
        f"--goal {goal} --point 2 --epochs 1 --minutes 0.01 --images 16 --batch 16 --judge 8 "
        "--target 0".split()
    )
    out = capsys.readouterr().out
    assert "seed 0" in out and "of 8 test images" in out
    assert ("1 of 1 seeds reached 0 %" in out) == (goal == "accuracy")
