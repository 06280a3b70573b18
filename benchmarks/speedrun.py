"""Measure the training time to 45 % accuracy under PGD-50-10, and what ten minutes achieve.

    python benchmarks/speedrun.py --data cifar10 --device cuda
    python benchmarks/speedrun.py --data cifar10 --device cuda --goal minutes
    python benchmarks/speedrun.py --point 2 --epochs 1 --images 64 --judge 32 --target 0

The recipes are the known configurations of the space `speedrun`, at eps 8/255. `accuracy`: train
configuration 0 for --epochs, evaluate every epoch from 60 % of them on with PGD-50 and 10 restarts
on test images, and print the seconds of training until the first one reaches --target (for
comparison: Fast AT takes 6 minutes). `minutes`: time an epoch of configuration 1, train it for as
many epochs as fit into --minutes, and evaluate the last one with AutoAttack. The clock counts
training, with the capture of CUDA graphs, but neither reading data nor evaluation. One seed per
run; --seeds 3 shows the spread.
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
    parser.add_argument(
        "--point", type=int, help="known configuration of the space; default: 0, for minutes 1"
    )
    parser.add_argument("--epochs", type=int, default=15, help="epochs of the goal accuracy")
    parser.add_argument(
        "--target", type=float, default=45.0, help="target of the goal accuracy, in percent"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, help="training images; default: all")
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
    print(
        f"{at['device']}, torch {at['torch']}; {args.data}; point {chosen} of speedrun: "
        f"{known[chosen]}"
    )
    run = seconds_to_accuracy if args.goal == "accuracy" else train_for_minutes
    seconds = [run(recipe, data, args, seed) for seed in range(args.seeds)]
    there = [s for s in seconds if s is not None]
    if args.goal == "accuracy" and there:
        middle, low, high = statistics.median(there), min(there), max(there)
        print(f"\n{len(there)} of {args.seeds} seeds reached {args.target:g} %")
        print(f"seconds of training: median {middle:.1f} ({low:.1f} to {high:.1f})")


def start_training(
    recipe: Recipe, data: Data, args: argparse.Namespace, seed: int
) -> Iterator[Epoch]:
    """Start the training on the device."""
    images = data.train.head(args.images or len(data.train))
    return train(recipe, images, classes=len(data.classes), seed=seed, device=args.device)


def seconds_to_accuracy(
    recipe: Recipe, data: Data, args: argparse.Namespace, seed: int
) -> float | None:
    """Return the seconds of training to the target accuracy; None if it is never reached."""
    battery = Battery((("pgd50-10", restarts(PGD(BALL, steps=50), 10)),))
    clock = 0.0
    for epoch in start_training(replace(recipe, epochs=args.epochs), data, args, seed):
        clock += epoch.seconds
        if epoch.number < 0.6 * args.epochs:
            continue
        score = evaluate(epoch.net, data.test.head(args.judge), battery)
        found = format_score(score, "PGD-50-10")
        print(f"seed {seed}, epoch {epoch.number}: {clock:.1f} s, {found}", flush=True)
        if 100 * score.worst >= args.target:
            return clock
    return None


def format_score(score: Score, judge: str) -> str:
    """Format a score."""
    low, high = wilson(score.worst, score.images)
    between = f"{100 * low:.1f} to {100 * high:.1f}"
    natural = f"natural {100 * score.natural_accuracy:.1f} %"
    return f"{natural}, {judge} {100 * score.worst:.1f} % ({between}) of {score.images} test images"


def train_for_minutes(recipe: Recipe, data: Data, args: argparse.Namespace, seed: int) -> float:
    """Train for `minutes`, evaluate with AutoAttack, and return the seconds of training."""
    *_, probe = start_training(replace(recipe, epochs=PROBE), data, args, seed)
    count = max(1, int(60 * args.minutes / probe.seconds))
    clock = 0.0
    for epoch in start_training(replace(recipe, epochs=count), data, args, seed):
        clock += epoch.seconds
    score = evaluate(epoch.net, data.test.head(args.judge), autoattack(BALL, len(data.classes)))
    print(
        f"seed {seed}: {count} epochs in {clock:.1f} s, {format_score(score, 'AutoAttack')}",
        flush=True,
    )
    return clock


if __name__ == "__main__":
    main()
