"""Measure how fast a net is attacked by the report's battery, AutoAttack, Square or APGD.

    python benchmarks/battery_speed.py --data FOLDER --nets out/plain.safetensors
    python benchmarks/battery_speed.py --data digits --nets basenet bignet wrn --only autoattack
    python benchmarks/battery_speed.py --data FOLDER --images 200 --repeats 1 --shipped
    python benchmarks/battery_speed.py --data FOLDER --only square --images 256 --queries 150
    python benchmarks/battery_speed.py --data FOLDER --only apgd --images 256

A net is a checkpoint written by `adv.save`, or a name; a named net is trained adversarially for a
short time first. "plain" is a class of its own, as of somebody who does not know this library. Both
libraries attack the same net and the same images, in turns. With torchattacks, the six PGD attacks
of the report run one after another over all images, once with the net in torch's default memory
format and once in channels_last, which is faster on some machines. Its AutoAttack is a cascade,
like ours: "as published" gives its attacks 100 steps and 5,000 queries, "as it ships" (--shipped)
uses 10 steps of APGD, and FAB. Ours leaves FAB out (decision 0006). Square and APGD alone are
called directly on both sides, on those of the images that the net classifies correctly, since
torchattacks leaves out the others. Times are medians; on a CPU they are processor time. --write
puts the table into a file such as docs/performance.md and replaces the earlier one for these nets
and this task.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from markdown_report import command, machine, table, write_section
from peer_attacks import Attack, import_peer
from timing import alternate, half_range, median
from torch import nn

from adv import (
    APGD,
    WRN,
    BaseNet,
    BigNet,
    Curriculum,
    External,
    Linf,
    OneCycle,
    Recipe,
    Split,
    Square,
    autoattack,
    evaluate,
    load,
    report_battery,
    restore,
    train,
)
from adv.training.optimizers import AdamW

PLAIN = External(f"{Path(__file__).with_name('plain_net.py')}:PlainNet")
NAMED = {"basenet": BaseNet(), "bignet": BigNet(), "wrn": WRN(10, 1), "plain": PLAIN}
BATCH = 128  # images at a time in torchattacks' PGD: in more it is no faster
Evaluation = Callable[[], tuple[float, ...]]


def train_net(name: str, split: Split, classes: int, epochs: int, eps: float) -> nn.Module:
    """Train a net on attacks of radius `eps`."""
    recipe = Recipe(
        net=NAMED[name],
        optimizer=AdamW(2e-3, decay=OneCycle()),
        curriculum=Curriculum(eps=eps, steps=5, pace=0.3),
        epochs=epochs,
    )
    *_, last = train(recipe, split, classes=classes, seed=0)
    return last.net.eval()


def accuracy_under(attack: Attack, net: nn.Module, split: Split, batch: int) -> float:
    """Return the accuracy under an attack of torchattacks."""
    right = 0
    for images, y in zip(split.images.split(batch), split.labels.split(batch), strict=True):
        adv = attack(images.contiguous().float() / 255, y)
        with torch.no_grad():
            right += int((net(adv).argmax(1) == y).sum())
    return right / len(split)


def report_attacks(net: nn.Module) -> list[Attack]:
    """Return the six attacks of the report's battery, from torchattacks."""
    torchattacks = import_peer("torchattacks")
    points = [(attack.ball.eps, attack.step_size) for _, attack in report_battery().attacks]
    return [torchattacks.PGD(net, eps=eps, alpha=size, steps=20) for eps, size in points]


def published_autoattack(net: nn.Module, eps: float, classes: int) -> Attack:
    """Return torchattacks' AutoAttack with the published number of steps."""
    torchattacks = import_peer("torchattacks")
    settings = {"eps": eps, "norm": "Linf", "seed": 0}
    return torchattacks.MultiAttack(
        [
            torchattacks.APGD(net, loss="ce", steps=100, **settings),
            torchattacks.APGDT(net, n_classes=classes, steps=100, **settings),
            torchattacks.FAB(net, multi_targeted=True, n_classes=classes, steps=100, **settings),
            torchattacks.Square(net, n_queries=5000, **settings),
        ]
    )


def keep_correct(net: nn.Module, split: Split) -> Split:
    """Return the images that the net classifies correctly; end the program if there is none."""
    with torch.no_grad():
        right = net(split.images.float() / 255).argmax(1) == split.labels
    if not right.any():
        raise SystemExit("battery_speed.py: the net classifies no image correctly")
    return Split(split.images[right], split.labels[right])


def evaluations(net: nn.Module, split: Split, classes: int, args: argparse.Namespace) -> dict:
    """Return, for each task and contender, the call to time; it returns accuracies."""
    eps, n, tasks = args.eps, len(split), {}
    plain, last = (
        copy.deepcopy(net).to(memory_format=form)
        for form in (torch.contiguous_format, torch.channels_last)
    )
    if args.only in (None, "battery"):
        tasks["the report's battery"] = {
            "ours": lambda: evaluate(net, split, report_battery()).attacked_accuracies,
            "torchattacks": lambda: tuple(
                accuracy_under(a, plain, split, BATCH) for a in report_attacks(plain)
            ),
            "torchattacks, channels_last": lambda: tuple(
                accuracy_under(a, last, split, BATCH) for a in report_attacks(last)
            ),
        }
    if args.only in ("square", "apgd"):
        split = keep_correct(net, split)
        n = len(split)
    if args.only == "apgd":
        for loss in ("ce", "dlr"):
            ascent = APGD(Linf(eps), args.steps, loss=loss)
            peer = import_peer("torchattacks").APGD(
                plain, norm="Linf", eps=eps, steps=args.steps, loss=loss, seed=0
            )
            tasks[f"APGD on {loss}, {args.steps} steps"] = {
                "ours": lambda a=ascent: (accuracy_under(partial(a, net), net, split, n),),
                "torchattacks": lambda a=peer: (accuracy_under(a, plain, split, n),),
            }
    if args.only == "square":
        search = Square(Linf(eps), queries=args.queries)
        peer = import_peer("torchattacks").Square(
            plain, norm="Linf", eps=eps, n_queries=args.queries, seed=0
        )
        tasks[f"Square, {args.queries} queries"] = {
            "ours": lambda: (accuracy_under(partial(search, net), net, split, n),),
            "torchattacks": lambda: (accuracy_under(peer, plain, split, n),),
        }
    if args.only in (None, "autoattack"):
        whole = published_autoattack(plain, eps, classes)
        tasks["AutoAttack"] = {
            "ours": lambda: (evaluate(net, split, autoattack(Linf(eps), classes)).worst,),
            "torchattacks, as published": lambda: (accuracy_under(whole, plain, split, n),),
        }
        if args.shipped:
            short = import_peer("torchattacks").AutoAttack(
                plain, eps=eps, n_classes=classes, seed=0
            )
            tasks["AutoAttack"]["torchattacks, as it ships"] = lambda: (
                accuracy_under(short, plain, split, n),
            )
    return tasks


def compare(name: str, task: str, calls: dict[str, Evaluation], args: argparse.Namespace) -> list:
    """Return the rows of the table, one for each contender."""
    found: dict[str, tuple[float, ...]] = {}

    def keep_result(who: str, call: Evaluation) -> Callable[[], None]:
        return lambda: found.__setitem__(who, call())

    timed = {who: keep_result(who, call) for who, call in calls.items()}
    seconds = alternate(timed, args.repeats, args.device, warm=args.warm)
    lines: list[list[str]] = []
    for who, spent in seconds.items():
        ratios = [a / b for a, b in zip(spent, seconds["ours"], strict=True)]
        apart = max(abs(a - b) for a, b in zip(found[who], found["ours"], strict=True))
        shown = " ".join(f"{100 * accuracy:.1f}" for accuracy in found[who])
        lines.append(
            [
                name,
                task,
                who,
                shown,
                f"{100 * apart:.1f}",
                f"{median(spent):.1f} {half_range(spent)}",
                f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        )
        print(table(HEADS, lines).splitlines()[-1], flush=True)
    return lines


HEADS = (
    "net",
    "task",
    "by",
    "accuracy, %",
    "furthest from ours",
    "seconds",
    "ours is times faster",
)


def main(words: list[str] | None = None) -> None:
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, cifar10 or a folder")
    parser.add_argument("--nets", nargs="+", default=list(NAMED), help="names or checkpoints")
    parser.add_argument("--only", choices=("battery", "autoattack", "square", "apgd"))
    parser.add_argument("--queries", type=int, default=150, help="of Square, with --only square")
    parser.add_argument("--steps", type=int, default=50, help="of APGD, with --only apgd")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--train-images", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument(
        "--eps", type=float, default=8 / 255, help="radius of AutoAttack and of training"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warm", action="store_true", help="run an untimed first round")
    parser.add_argument("--shipped", action="store_true", help="also torchattacks' own settings")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    args = parser.parse_args(words)
    import_peer("torchattacks")  # before a net is trained for it
    data = load(args.data)
    classes, split = len(data.classes), data.test.head(args.images).to(args.device)
    lines = []
    for name in args.nets:
        if name in NAMED:
            net = train_net(
                name, data.train.head(args.train_images), classes, args.epochs, args.eps
            )
        else:
            net = restore(name).net.eval()
        net = net.to(args.device).to(memory_format=torch.channels_last)
        for task, calls in evaluations(net, split, classes, args).items():
            lines += compare(Path(name).stem, task, calls, args)
    told = f"`{command(words)}`: {len(split)} test images, medians of {args.repeats}"
    told = f"{told}, ± half the range. {machine(args.device, ['torchattacks'])}."
    text = f"{told}\n\n{table(HEADS, lines)}"
    print(f"\n{text}")
    if args.write:
        nets = " ".join(Path(name).stem for name in args.nets)
        write_section(args.write, f"battery_speed {args.device} {nets} {args.only or 'both'}", text)


if __name__ == "__main__":
    main()
