"""Measure how much sooner random nets are evaluated than by the plain loop, and what it changes.

    python benchmarks/random_speed.py --data FOLDER
    python benchmarks/random_speed.py --data digits --nets basenet --only rse dropout

A net is a checkpoint, or trained for each defence for a short time. Then a battery runs in two
ways, in turns: by the plain loop, in which every image takes every step of every radius, from the
smallest to the one that fools it, and is classified once after each; and by `adv.evaluate`. It is
the margin battery, which scores trials; in the plain loop with five draws in each gradient and no
momentum, as if the loop were all that there is. `--battery report`: the report's, with five draws
both ways. A round has a seed of its own for starts and noise. The table shows medians, the ratio of
each round, and the mean over images, radii and rounds of the difference of the accuracies, with its
95 % interval (images are the sample; a positive difference: the net looks stronger by `evaluate`).
"harmless" is the same for a battery of six radii that change no pixel by more than a thousandth of
a level: all that a net loses to it, it loses to chance. --write puts the table into a file.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from markdown_report import command, machine, table, write_section
from timing import half_range, median
from torch import Tensor, nn

from adv import (
    PGD,
    PNI,
    RSE,
    BaseNet,
    Battery,
    BigNet,
    Curriculum,
    Linf,
    MCDropout,
    OneCycle,
    Recipe,
    Split,
    TestNoise,
    Votes,
    evaluate,
    frozen,
    load,
    margin_battery,
    report_battery,
    restore,
    train,
)
from adv.attacks.losses import is_correct
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.random_streams import derive_seed, use_seed
from adv.training.optimizers import AdamW

NETS = {"basenet": BaseNet(dropout=0.3), "bignet": BigNet(dropout=0.3)}
DEFENCES = {
    "rse": RSE(0.1, 0.1),
    "pni": PNI(),
    "dropout": MCDropout(),
    "noise": TestNoise(0.1, training=True),
}
HARMLESS = Battery(
    tuple((f"{k}", PGD(Linf(k * 5e-7), steps=20, step_size=1e-7)) for k in range(1, 7))
)
BATCH = 64


def train_net(net: str, defence: str, split: Split, classes: int, epochs: int) -> nn.Module:
    """Train a random net a little, on attacks of the radius 8/255."""
    recipe = Recipe(
        net=NETS[net],
        defences=(DEFENCES[defence],),
        optimizer=AdamW(2e-3, decay=OneCycle()),
        curriculum=Curriculum(eps=8 / 255, steps=5, pace=0.3),
        epochs=epochs,
    )
    *_, last = train(recipe, split, classes=classes, seed=0)
    return last.net.eval()


def restore_net(path: str) -> nn.Module:
    """Read a random net from a checkpoint."""
    return restore(path).net.eval()


def evaluate_plainly(net: nn.Module, split: Split, battery: Battery) -> Tensor:
    """Return the table [1 + attacks, n] of `Score.ok`, by the plain loop in batches of 64."""
    attacked, judge = Votes(net, battery.draws), Votes(net, battery.votes)
    y = split.labels

    @torch.no_grad()
    def classify(images: Tensor, labels: Tensor) -> Tensor:
        return is_correct(judge(images), labels)

    with frozen(net), use_seed(net, battery.seed), fused_conv_pool(net) as form:
        x = (split.images.float() / 255).contiguous(memory_format=form)
        stands = torch.cat([classify(*b) for b in zip(x.split(BATCH), y.split(BATCH), strict=True)])
        table = [stands.clone()]
        for index, (_, attack) in enumerate(battery.attacks):
            generator = torch.Generator().manual_seed(derive_seed(battery.seed, 1 + index))
            for ids in stands.nonzero().flatten().split(BATCH):
                adv = attack(attacked, x[ids], y[ids], generator=generator)
                stands[ids] = classify(adv, y[ids])
            table.append(stands.clone())
    return torch.stack(table)


def make_batteries(kind: str, votes: int) -> dict[str, Battery]:
    """Return the battery of the plain loop and that of `adv.evaluate`, `plain` and `ours`."""
    if kind == "report":
        return dict.fromkeys(("plain", "ours"), report_battery(votes=votes))
    ours = margin_battery(votes=votes)
    attacks = tuple((name, replace(attack, momentum=0.0)) for name, attack in ours.attacks)
    return {"plain": replace(ours, attacks=attacks, draws=5), "ours": ours}


def compare(
    net: nn.Module, split: Split, batteries: dict[str, Battery], repeats: int
) -> dict[str, list]:
    """Return the seconds and the tables of both ways, `plain` and `ours`, one for each round."""
    ways = {
        "plain": lambda battery: evaluate_plainly(net, split, battery),
        "ours": lambda battery: evaluate(net, split, battery).ok,
    }
    found: dict[str, list] = {key: [] for way in ways for key in (way, f"{way} seconds")}
    for turn in range(repeats):
        for way, call in ways.items():
            begun = time.process_time()
            battery = batteries[way]
            found[way].append(call(replace(battery, seed=battery.seed + 77 * turn)))
            found[f"{way} seconds"].append(time.process_time() - begun)
    return found


def mean_difference(ours: list[Tensor], plain: list[Tensor]) -> tuple[float, float]:
    """Return the mean difference of attacked accuracies in points, and half its 95 % interval."""
    pairs = zip(ours, plain, strict=True)
    each = torch.stack([(a[1:].double() - b[1:].double()).mean(0) for a, b in pairs]).mean(0)
    half = 1.96 * float(each.std()) / math.sqrt(len(each))
    return 100 * float(each.mean()), 100 * half


def mean_loss(tables: list[Tensor]) -> float:
    """Return by how many points the last attacked accuracy lies below the natural one."""
    return 100 * float(torch.stack([t[0].double() - t[-1].double() for t in tables]).mean())


def table_row(net: str, split: Split, found: dict, idle: dict) -> list[str]:
    """Return a row of the table."""
    ratios = [a / b for a, b in zip(found["plain seconds"], found["ours seconds"], strict=True)]
    points, half = mean_difference(found["ours"], found["plain"])
    least, idle_half = mean_difference(idle["ours"], idle["plain"])
    shown = [
        " ".join(f"{100 * float(a):.1f}" for a in torch.stack(found[way]).double().mean((0, 2)))
        for way in ("plain", "ours")
    ]
    return [
        net,
        str(len(split)),
        *shown,
        f"{points:+.2f} ± {half:.2f}",
        f"{mean_loss(idle['plain']):.2f}, {mean_loss(idle['ours']):.2f}",
        f"{least:+.2f} ± {idle_half:.2f}",
        f"{median(found['plain seconds']):.1f}",
        f"{median(found['ours seconds']):.1f} {half_range(found['ours seconds'])}",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
    ]


HEADS = (
    "net",
    "images",
    "accuracies, plain loop, %",
    "ours",
    "difference, points",
    "lost to a harmless battery, plain and ours",
    "difference",
    "seconds, plain loop",
    "ours",
    "ours is times faster",
)


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, cifar10 or a folder")
    parser.add_argument("--battery", default="margin", choices=("margin", "report"))
    parser.add_argument("--nets", nargs="+", default=["basenet"], help="names or checkpoints")
    parser.add_argument("--only", nargs="+", default=list(DEFENCES), choices=list(DEFENCES))
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--votes", type=int, default=20, help="votes of both batteries")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    data = load(args.data)
    split, classes, lines = data.test.head(args.images), len(data.classes), []
    trained = data.train.head(args.train_images)
    nets: dict[str, Callable[[], nn.Module]] = {}
    for name in args.nets:
        if name not in NETS:
            nets[Path(name).stem] = partial(restore_net, name)
            continue
        for defence in args.only:
            make = partial(train_net, name, defence, trained, classes, args.epochs)
            nets[f"{name} {defence}"] = make
    harmless = dict.fromkeys(("plain", "ours"), replace(HARMLESS, votes=args.votes))
    for name, make in nets.items():
        net = make()
        found, idle = (
            compare(net, split, batteries, args.repeats)
            for batteries in (make_batteries(args.battery, args.votes), harmless)
        )
        lines.append(table_row(name, split, found, idle))
        print(table(HEADS, lines).splitlines()[-1], flush=True)
    told = f"`{command(words)}`: medians of {args.repeats}, one core. {machine('cpu', [])}."
    text = f"{told}\n\n{table(HEADS, lines)}"
    print(f"\n{text}")
    if args.write:
        write_section(args.write, f"random_speed {args.battery} {' '.join(nets)}", text)


if __name__ == "__main__":
    main()
