"""Compare the final battery in nested order with all its attacks in every ball, net by net.

    python benchmarks/nested_battery.py                      # nets on digits, six minutes
    python benchmarks/nested_battery.py --only PGD RSE --images 100
    python benchmarks/nested_battery.py --data FOLDER --images 200      # train/<class>/*, test/...

A nested battery takes an image that stands in a ball to stand in every smaller one
(`adv.Battery`), which is false where an attack succeeds in a small ball and fails in a larger one.
Each row is a net that is trained here, a sound one or one whose gradients are hidden: how many
pairs of an image and a ball stand under the nested battery alone, and how many under the other one
alone; both attacked scores, in points; and the processor time, in seconds. The verdicts on a random
net differ between any two evaluations.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from gap_nets import SmallNet, crop, hide_gradients, recipes
from markdown_report import command, machine, table
from torch import nn

import adv
from adv import AdamW, Augment, BaseNet, Battery, Curriculum, Madry, OneCycle, Recipe, Score, Split
from adv.runtime.random_streams import is_random
from search.finals.final_battery import FinalBattery
from spaces import scale

NETS = (
    "PGD",
    "TRADES",
    "MART, averaged",
    "N-FGSM",
    "NuAT",
    "PGD, smoothing .4",
    "no attack",
    "RSE",
    "test noise",
)


def main() -> None:
    """Train the nets, evaluate each twice, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="a folder of images; without it digits")
    parser.add_argument("--images", type=int, default=360, help="test images")
    parser.add_argument("--train-images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", nargs="*", help="of the nets, such as RSE")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = adv.load(args.data or "digits")
    taught, shown = data.train.head(args.train_images), data.test.head(args.images)
    small = args.data is None
    if small:
        taught, shown = crop(taught), crop(shown)
    battery = FinalBattery(scale("laptop"), len(data.classes))
    rows = []
    for name, recipe in recipes(_base(args.epochs, small), small).items():
        if name not in (args.only or NETS):
            continue
        *_, last = adv.train(recipe, taught, classes=len(data.classes), seed=0)
        for hidden, net in _variants(name, last.net.eval()):
            rows.append((hidden or name, *_compare(net, shown, battery.battery(is_random(net)))))
            print(*rows[-1], flush=True)
    heads = ("net", "pairs", "nested alone", "other alone", "nested", "every ball", "s", "s")
    print(f"\n{command([])}; {machine('cpu', ())}\n\n{table(heads, rows)}")


def _base(epochs: int, small: bool) -> Recipe:
    curriculum = Curriculum(eps=0.1 if small else 0.03, steps=5, pace=0.3, fraction=1.0)
    optimizer = AdamW(lr=4e-3 if small else 2e-3, decay=OneCycle())
    augment = Augment() if small else Augment(flip=0.5)
    net = SmallNet() if small else BaseNet()
    return Recipe(net, (), optimizer, curriculum, Madry(), augment, epochs, 50)


def _variants(name: str, net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield a net, and of the first one also those that hide its gradients, with their names."""
    yield from hide_gradients(net) if name == "PGD" else [("", net)]


def _compare(net: nn.Module, split: Split, battery: Battery) -> tuple[str, ...]:
    """Return the cells of a row but its name."""
    found: list[tuple[Score, float]] = []
    for nested in (True, False):
        began = time.process_time()
        score = adv.evaluate(net, split, replace(battery, nested=nested))
        found.append((score, time.process_time() - began))
    (first, soon), (second, late) = found
    alone = first.ok[1:] & ~second.ok[1:]
    other = second.ok[1:] & ~first.ok[1:]
    counts = (alone.numel(), int(alone.sum()), int(other.sum()))
    scores = (f"{s.attacked_score:.2f}" for s in (first, second))
    return (*map(str, counts), *scores, f"{soon:.1f}", f"{late:.1f}")


if __name__ == "__main__":
    main()
