"""Measure images per second of adversarial training: ours, a plain PyTorch loop, and ART.

    python benchmarks/train_speed.py
    python benchmarks/train_speed.py --device cuda --nets bignet resnet18 --batches 40

Two trainings: the report's curriculum at half-time (PGD-25 on half of each batch, eps 0.055), and
PGD-10 at 8/255 on whole batches. The plain loop is what one would write first: a DataLoader over
pixels in [0, 1], images in torch's default memory format, torchattacks' PGD, AdamW. ART's is its
AdversarialTrainer (benchmarks/README.md). All train the same net from the
same weights on the same images, in one process, in turns of some batches; the first turn of each is
a warm-up. The table shows the median, the minimum and the maximum, and ratios of adjacent turns. On
a CPU the time is processor time, which other programs disturb less; use one thread
(OMP_NUM_THREADS=1). --write puts the table into a file such as docs/performance.md and replaces the
earlier one.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from markdown_report import command, machine, table, write_section
from peer_attacks import import_peer
from torch import nn
from torch.utils.data import DataLoader, Dataset

from adv import (
    WRN,
    AdamW,
    BaseNet,
    BigNet,
    Curriculum,
    Madry,
    Mixed,
    Recipe,
    ResNet18,
    Split,
    build,
    load,
    train,
)
from adv.evaluation.attack_speed import seconds_of

NETS = {"basenet": BaseNet(), "bignet": BigNet(), "resnet18": ResNet18(), "wrn-16-4": WRN(16, 4)}
DISTRIBUTION = {"torchattacks": "torchattacks", "art": "adversarial-robustness-toolbox"}
PEERS = tuple(DISTRIBUTION)


@dataclass(frozen=True)
class Training:
    """The attack of a training: PGD with `steps` of eps * pace on a share of each batch."""

    eps: float
    steps: int
    pace: float
    fraction: float


TRAININGS = {
    "curriculum": Training(0.055, 25, 0.25, 0.5),
    "pgd-10": Training(8 / 255, 10, 0.25, 1.0),
}
Turns = Iterator[float]
"""Seconds of each turn."""


def our_loop(recipe: Recipe, split: Split, args: argparse.Namespace) -> Turns:
    """Train with `adv.train`."""
    epochs = train(recipe, split, classes=10, seed=0, device=args.device)
    while True:
        yield time_call(lambda: next(epochs), args.device)


class Pixels(Dataset):
    """A data set of single images, as floats in [0, 1]."""

    def __init__(self, split: Split) -> None:
        self.images = split.images.permute(0, 2, 3, 1).numpy()
        self.labels = split.labels.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[i]).permute(2, 0, 1).float().div(255), self.labels[i]


def plain_loop(net: nn.Module, how: Training, split: Split, args: argparse.Namespace) -> Turns:
    """Train in a standard loop around torchattacks' PGD."""
    attack = import_peer("torchattacks").PGD(
        net, eps=how.eps, alpha=how.eps * how.pace, steps=how.steps
    )
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    loader = DataLoader(Pixels(split), batch_size=args.batch, shuffle=True)
    net.train()

    def epoch() -> None:
        for x, y in loader:
            x, y = x.to(args.device), y.to(args.device)
            n = round(how.fraction * len(x))
            x = torch.cat([attack(x[:n], y[:n]), x[n:]])
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()

    while True:
        yield time_call(epoch, args.device)


def art_trainer(net: nn.Module, how: Training, split: Split, args: argparse.Namespace) -> Turns:
    """Train with the AdversarialTrainer of the Adversarial Robustness Toolbox."""
    from art.attacks.evasion import ProjectedGradientDescent
    from art.defences.trainer import AdversarialTrainer
    from art.estimators.classification import PyTorchClassifier

    classifier = PyTorchClassifier(
        net,
        nn.CrossEntropyLoss(),
        (3, 32, 32),
        10,
        torch.optim.AdamW(net.parameters(), lr=1e-3),
        clip_values=(0.0, 1.0),
        device_type="cpu" if args.device == "cpu" else "gpu",
    )
    attack = ProjectedGradientDescent(
        classifier,
        eps=how.eps,
        eps_step=how.eps * how.pace,
        max_iter=how.steps,
        num_random_init=1,
        batch_size=args.batch,
        verbose=False,
    )
    trainer = AdversarialTrainer(classifier, attack, ratio=how.fraction)
    x = (split.images.contiguous().float() / 255).numpy()
    y = np.eye(10, dtype=np.float32)[split.labels.numpy()]

    def epoch() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            trainer.fit(x, y, batch_size=args.batch, nb_epochs=1)

    while True:
        yield time_call(epoch, args.device)


def time_call(run: Callable[[], object], device: str) -> float:
    """Return the seconds of a call; on a CPU processor time, which other programs disturb less."""
    if device != "cpu":
        return seconds_of(run, torch.device(device))
    began = time.process_time()
    run()
    return time.process_time() - began


def compare(name: str, kind: str, split: Split, args: argparse.Namespace) -> list[str]:
    """Return a row of the table: images per second of each, and ratios."""
    how = TRAININGS[kind]
    recipe = Recipe(
        net=NETS[name],
        optimizer=AdamW(),
        objective=Madry() if how.fraction == 1 else Mixed(),
        curriculum=Curriculum(how.eps, how.steps, how.pace, how.fraction),
        epochs=args.repeats + 1,
        batch=args.batch,
    )
    net = build(recipe, 10, 0).to(args.device)
    loops: dict[str, Callable[[], Turns]] = {
        "ours": lambda: our_loop(recipe, split, args),
        "torchattacks": lambda: plain_loop(copy.deepcopy(net), how, split, args),
        "art": lambda: art_trainer(copy.deepcopy(net), how, split, args),
    }
    turns = {who: loops[who]() for who in ("ours", *args.peers)}
    seconds: dict[str, list[float]] = {who: [] for who in turns}
    for _ in range(args.repeats + 1):
        for who, turn in turns.items():
            seconds[who].append(next(turn))
    cells = [f"{name}, {kind}"]
    for found in seconds.values():
        rates = [len(split) / s for s in found[1:]]
        cells.append(f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})")
    for peer in args.peers:
        pairs = zip(seconds[peer][1:], seconds["ours"][1:], strict=True)
        ratios = [theirs / mine for theirs, mine in pairs]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print(f"| {' | '.join(cells)} |", flush=True)
    return cells


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, cifar10 or a folder")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=["bignet"])
    parser.add_argument("--trainings", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--batches", type=int, default=2, help="batches per turn")
    parser.add_argument("--repeats", type=int, default=5, help="timed turns")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    args = parser.parse_args(words)
    split = load(args.data).train.head(args.batch * args.batches)
    if len(split) < args.batch * args.batches:
        parser.error(f"{args.data} has {len(split)} training images: less than a turn")
    for peer in args.peers:
        import_peer(DISTRIBUTION[peer])  # before anything is timed
    names = ("ours", *args.peers, *(f"ours / {p}" for p in args.peers))
    heads = ["images a second", *names]
    print(table(heads, []), flush=True)
    rows = [compare(name, kind, split, args) for name in args.nets for kind in args.trainings]
    peers = [DISTRIBUTION[peer] for peer in args.peers]
    told = (
        f"`{command(words)}`: {args.batches} batches of {args.batch} a turn, {args.repeats} turns; "
        f"medians, smallest and largest. {machine(args.device, peers)}."
    )
    print(f"\n{told}")
    if args.write:
        name = f"train_speed {args.device} {' '.join((*args.nets, *args.trainings))}"
        write_section(args.write, name, f"{told}\n\n{table(heads, rows)}")


if __name__ == "__main__":
    main()
