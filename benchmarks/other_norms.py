"""Compare attacks in L2 and L1 with those of torchattacks and foolbox, on the recorded nets.

    python benchmarks/other_norms.py --images 60

The nets and the digits are those of `benchmarks/recorded.py`: one trained on natural images, one
adversarially. The table gives the accuracy in percent that each attack leaves (less is stronger),
and processor seconds. What an attack returns is projected onto the ball first: foolbox's
SparseL1DescentAttack leaves it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import recorded
import rich_click as click
import torch
from markdown_report import command, machine, table
from peer_attacks import import_peer
from torch import Tensor, nn

import adv
from adv import APGD, L1, L2, PGD, Ball, Square

BALLS: tuple[Ball, ...] = (L2(0.5), L2(1.0), L1(3.0), L1(8.0), L1(12.0))
STEPS, QUERIES = 100, 1000
Attack = Callable[[Tensor, Tensor], Tensor]


@click.command()
@click.option("--images", type=click.IntRange(1), default=60, show_default=True)
def main(images: int) -> None:
    """Attack each net in each ball with our attacks and the peers'."""
    part = recorded.read_digits().head(images)
    x, y = part.images.float() / 255, part.labels
    peers = ("torchattacks", "foolbox")
    print(f"`{command(sys.argv[1:])}`: {images} digits; {machine('cpu', peers)}")
    for kind in ("robust", "plain"):
        net = recorded.read_trained_net(kind).eval()
        found = {str(ball): measure_all(net, ball, x, y) for ball in BALLS}
        print(f"\n{kind}, natural accuracy {100 * accuracy(net, x, y):.1f} %\n")
        print(table(["ball", "attack", "accuracy", "seconds"], rows(found)))


def rows(found: dict[str, dict[str, tuple[float, float]]]) -> list[list[str]]:
    """Return the rows of a net's table."""
    return [
        [ball, name, f"{100 * share:.1f}", f"{seconds:.1f}"]
        for ball, attacks in found.items()
        for name, (share, seconds) in attacks.items()
    ]


def measure_all(net: nn.Module, ball: Ball, x: Tensor, y: Tensor) -> dict[str, tuple[float, float]]:
    """Return for each attack the accuracy that it leaves, and its processor seconds."""
    found = {}
    for name, attack in {**our_attacks(net, ball), **peer_attacks(net, ball)}.items():
        torch.manual_seed(0)
        begun = time.process_time()
        moved = attack(x, y).detach()
        seconds = time.process_time() - begun
        found[name] = accuracy(net, ball.project(moved, x), y), seconds
    return found


def our_attacks(net: nn.Module, ball: Ball) -> dict[str, Attack]:
    """Return our attacks in a ball."""
    ours = {
        f"PGD, {STEPS} steps": PGD(ball, STEPS),
        f"APGD on the cross-entropy, {STEPS} steps": APGD(ball, STEPS),
        f"APGD on the margin, {STEPS} steps": APGD(ball, STEPS, loss="margin"),
        "APGD on the margin, 20 steps": APGD(ball, 20, loss="margin"),
        f"Square, {QUERIES} queries": Square(ball, queries=QUERIES),
    }
    return {name: _call(attack, net) for name, attack in ours.items()}


def _call(attack: adv.Attack, net: nn.Module) -> Attack:
    return lambda x, y: attack(net, x, y)


def peer_attacks(net: nn.Module, ball: Ball) -> dict[str, Attack]:
    """Return the peers' attacks in a ball, with as many steps."""
    if isinstance(ball, L2):
        torchattacks = import_peer("torchattacks")
        pgd = torchattacks.PGDL2(net, eps=ball.eps, alpha=ball.eps / 4, steps=STEPS)
        apgd = torchattacks.APGD(net, norm="L2", eps=ball.eps, steps=STEPS)
        return {"torchattacks PGDL2": pgd, "torchattacks APGD, cross-entropy": apgd}
    foolbox = import_peer("foolbox")
    fool = foolbox.PyTorchModel(net, bounds=(0, 1))
    found: dict[str, Attack] = {}
    for name in ("L1PGD", "SparseL1DescentAttack"):
        attack = getattr(foolbox.attacks, name)(steps=STEPS, rel_stepsize=0.1)
        found[f"foolbox {name}"] = partial(_run, attack, fool, ball.eps)
    return found


def _run(attack: Any, model: Any, eps: float, x: Tensor, y: Tensor) -> Tensor:
    found: Tensor = attack.run(model, x, y, epsilon=eps)
    return found


def accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Return the share of the images that the net classifies correctly."""
    with torch.no_grad():
        return float((net(x).argmax(1) == y).double().mean())


if __name__ == "__main__":
    main()
