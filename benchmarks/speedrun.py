"""How soon is a net robust? Seconds of training to 45 % under PGD-50-10, and what 10 minutes buy.

    python benchmarks/speedrun.py --data cifar10 --device cuda
    python benchmarks/speedrun.py --data cifar10 --device cuda --goal minutes
    python benchmarks/speedrun.py --point 2 --epochs 1 --images 64 --judge 32 --target 0

The recipes are the known points of the space `speedrun`, at 8/255. `accuracy`: train point 0 for
--epochs, judge the epochs from 60 % of them on by PGD-50 with 10 restarts on test images, and say
how many seconds of training the first took that reaches --target (Fast AT's 6 minutes is the
anchor). `minutes`: see how long an epoch of point 1 takes, train it for as many as fit into
--minutes, judge the last by AutoAttack. The clock runs while it trains, captures of graphs
included; it stands while data are read and nets are judged. One seed a run; --seeds 3 for a spread.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import replace

import torch

import spaces
from adv import (
    PGD,
    Battery,
    Data,
    Epoch,
    Linf,
    Recipe,
    Score,
    autoattack,
    evaluate,
    load,
    restarts,
    train,
)
from adv.evaluation.attack_speed import machine
from adv.intervals import wilson

BALL = Linf(8 / 255)
PROBE = 2  # epochs, of which the last is timed


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--goal", choices=("accuracy", "minutes"), default="accuracy")
    parser.add_argument("--data", default="digits", help="digits, cifar10 or a folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--point", type=int, help="of the space; default: 0, for minutes 1")
    parser.add_argument("--epochs", type=int, default=15, help="for accuracy")
    parser.add_argument("--target", type=float, default=45.0, help="percent, for accuracy")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, help="of training; default: all")
    parser.add_argument("--judge", type=int, default=1000, help="test images")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args(words)
    data = load(args.data)
    known = spaces.load("speedrun").known
    chosen = int(args.goal == "minutes") if args.point is None else args.point
    if not 0 <= chosen < len(known):
        parser.error(f"--point {chosen}: the space speedrun has points 0 to {len(known) - 1}")
    recipe = replace(spaces.load("speedrun").build(**known[chosen]), batch=args.batch)
    at = machine(torch.device(args.device))
    print(f"{at['device']}, torch {at['torch']}; {args.data}; point {chosen} of speedrun: "
          f"{known[chosen]}")  # fmt: skip
    run = to_accuracy if args.goal == "accuracy" else in_minutes
    seconds = [run(recipe, data, args, seed) for seed in range(args.seeds)]
    there = [s for s in seconds if s is not None]
    if args.goal == "accuracy" and there:
        middle, low, high = statistics.median(there), min(there), max(there)
        print(f"\n{len(there)} of {args.seeds} seeds reached {args.target:g} %")
        print(f"seconds of training: median {middle:.1f} ({low:.1f} to {high:.1f})")


def epochs(recipe: Recipe, data: Data, args: argparse.Namespace, seed: int) -> Iterator[Epoch]:
    """The training, on the device."""
    images = data.train.head(args.images or len(data.train))
    return train(recipe, images, classes=len(data.classes), seed=seed, device=args.device)


def to_accuracy(recipe: Recipe, data: Data, args: argparse.Namespace, seed: int) -> float | None:
    """Seconds of training until the judge finds the target, None where it never does."""
    battery = Battery((("pgd50-10", restarts(PGD(BALL, steps=50), 10)),))
    clock = 0.0
    for epoch in epochs(replace(recipe, epochs=args.epochs), data, args, seed):
        clock += epoch.seconds
        if epoch.number < 0.6 * args.epochs:
            continue
        score = evaluate(epoch.net, data.test.head(args.judge), battery)
        found = said(score, "PGD-50-10")
        print(f"seed {seed}, epoch {epoch.number}: {clock:.1f} s, {found}", flush=True)
        if 100 * score.worst >= args.target:
            return clock
    return None


def said(score: Score, judge: str) -> str:
    """The score in words."""
    low, high = wilson(score.worst, score.images)
    between = f"{100 * low:.1f} to {100 * high:.1f}"
    natural = f"natural {100 * score.natural_accuracy:.1f} %"
    return f"{natural}, {judge} {100 * score.worst:.1f} % ({between}) of {score.images} test images"


def in_minutes(recipe: Recipe, data: Data, args: argparse.Namespace, seed: int) -> float:
    """Train for as long as that, judge by AutoAttack; seconds that it took."""
    *_, probe = epochs(replace(recipe, epochs=PROBE), data, args, seed)
    count = max(1, int(60 * args.minutes / probe.seconds))
    clock = 0.0
    for epoch in epochs(replace(recipe, epochs=count), data, args, seed):
        clock += epoch.seconds
    score = evaluate(epoch.net, data.test.head(args.judge), autoattack(BALL, len(data.classes)))
    print(f"seed {seed}: {count} epochs in {clock:.1f} s, {said(score, 'AutoAttack')}", flush=True)
    return clock


if __name__ == "__main__":
    main()
