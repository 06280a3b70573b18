"""PGD and FGSM against torchattacks and foolbox: the same start gives the same image, each pixel.

Their results were recorded by `benchmarks/record_peers.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
import recorded
import torch
from reproducibility import seeded_generator

from adv import FGSM, L2, PGD, Linf, frozen
from adv.attacks.attack import initial_state

N = 8
BALLS = pytest.mark.parametrize("ball", recorded.BALLS)
STARTS = pytest.mark.parametrize("start", recorded.STARTS)


@pytest.fixture(scope="module", params=recorded.NETS)
def problem(request):
    """The recording's name for the net, the net, images, and the net's answers as labels."""
    net, x = recorded.make_random_net(request.param), recorded.read_pgd_images()
    assert len(x) == N and {0.0, 1.0} >= set(x[:, :, :8].unique().tolist())
    return request.param, net, x, net(x).argmax(1)


def pgd(ball: str, *, random: bool) -> PGD:
    return PGD(recorded.BALLS[ball], 10, recorded.STEP_SIZES[ball], random_start=random)


def from_start(attack: PGD, net, x, y, start):
    """Run the attack from a given starting point."""
    state = initial_state(
        x, y, start, seeded_generator(), eps=attack.ball.eps, step_size=attack.length
    )
    with frozen(net):
        for _ in range(attack.steps):
            state = attack.step(net, state)
    return state.adv


def agree(ours: torch.Tensor, theirs: torch.Tensor, x: torch.Tensor) -> None:
    assert (theirs - x).abs().amax((1, 2, 3)).min() > 0.001
    assert torch.allclose(ours, theirs, atol=2e-6, rtol=0)


@BALLS
@STARTS
def test_pgd_is_that_of_torchattacks(problem, ball, start):
    name, net, x, y = problem
    random = start == "a random point"
    attack = pgd(ball, random=random)
    begun = recorded.read_pgd_start(ball)
    ours = from_start(attack, net, x, y, begun) if random else attack(net, x, y)
    agree(ours, recorded.read_pgd_results(name, ball)["torchattacks", start], x)


@BALLS
@STARTS
def test_pgd_is_that_of_foolbox(problem, monkeypatch, ball, start):
    name, net, x, y = problem
    random = start == "a random point"
    attack = pgd(ball, random=random)
    assert torch.equal(attack.start(x, y, seeded_generator(4)).adv, x) != random
    if random:
        begun = recorded.read_pgd_start(ball)
        assert not torch.equal(begun, x)

        def begin(attack: PGD, x, y, generator):
            eps, length = attack.ball.eps, attack.length
            return initial_state(x, y, begun, generator, eps=eps, step_size=length)

        monkeypatch.setattr(PGD, "start", begin)
    theirs = recorded.read_pgd_results(name, ball)["foolbox", start]
    agree(attack(net, x, y, generator=seeded_generator(4)), theirs, x)


def test_fgsm_is_that_of_torchattacks(problem):
    name, net, x, y = problem
    agree(FGSM(Linf(0.03))(net, x, y), recorded.read_one_step(name)["torchattacks linf"], x)


@BALLS
def test_fgsm_is_that_of_foolbox(problem, ball):
    name, net, x, y = problem
    theirs = recorded.read_one_step(name)[f"foolbox {ball}"]
    agree(FGSM(recorded.BALLS[ball])(net, x, y), theirs, x)


def test_a_relative_step_is_that_of_foolbox(problem):
    name, net, x, y = problem
    theirs = recorded.read_one_step(name)["relative"]
    agree(PGD(Linf(0.02), steps=5, pace=0.2, random_start=False)(net, x, y), theirs, x)


def test_a_random_start_lies_in_its_ball():
    x = recorded.read_pgd_images()
    for name, ball in (("linf", Linf(0.03)), ("l2", L2(0.5))):
        assert recorded.BALLS[name] == ball
        start = recorded.read_pgd_start(name)
        assert (ball.distance(start, x) <= ball.eps + 1e-6).all() and not torch.equal(start, x)
        assert start.min() >= 0 and start.max() <= 1


def test_the_problems_are_those_that_were_recorded():
    for name, tensors in recorded.PROBLEMS.items():
        now = recorded.fingerprint(*tensors())
        assert recorded.read(name)["fingerprint"] == now, f"record {name} again"


def test_recordings_are_small_plain_and_name_their_makers():
    files = sorted(recorded.FOLDER.glob("*.npz"))
    assert len(files) == 14 and sum(path.stat().st_size for path in files) < 1_500_000
    for path in files:
        assert path.stat().st_size < 200_000, path.name
        found = recorded.read(path.stem)  # without pickle
        assert all(array.dtype.kind in "fiubU" for array in found.values()), path.name
        libraries = [line.split()[0] for line in found["versions"]]
        assert libraries == ["torchattacks", "foolbox", "torch", "numpy"]
        assert all(np.isfinite(array).all() for array in found.values() if array.dtype.kind == "f")
