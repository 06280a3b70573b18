"""Reproduce the report's Figure 5: accuracy of BaseNet under NES against the query budget.

    python benchmarks/nes.py                        # digits, minutes on a laptop
    python benchmarks/nes.py --data FOLDER          # train/<class>/*, test/<class>/*; or cifar10

BaseNet is trained with the default recipe (the report's curriculum) and attacked on 200 test images
with the report's settings: eps 0.1, step 0.02, sigma 0.001, 100 samples per gradient. An image
counts as fooled from the first query that fools it, so one run of NES with the largest budget gives
the whole curve. PGD starts at the image, takes as many steps as the budget pays for, and succeeds
if any iterate fools the net. Square gets the largest budget. The row with no queries shows natural
accuracy. Intervals are Wilson's, 95 %. The output is a Markdown table.
"""

from __future__ import annotations

from typing import Any

import rich_click as click
import torch
from torch import nn

import adv
from adv import NES, PGD, BaseNet, Battery, Hunt, Linf, Recipe, Split, Square, evaluate, hunt, train
from adv.intervals import wilson
from adv.runtime.devices import default_device

Point = tuple[float, float, float, float]  # queries, accuracy, and its interval

BUDGETS = (101, 202, 505, 1010, 2020, 5050, 10_100)  # whole steps of 100 samples and a look


@click.command()
@click.option("--data", default="digits", show_default=True, help="A data set that adv.load knows.")
@click.option("--epochs", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--images", type=click.IntRange(1), default=200, show_default=True, help="Test images."
)
@click.option("--train-images", type=click.IntRange(1), help="Default: all.")
@click.option("--eps", type=click.FloatRange(0, 1), default=0.1, show_default=True)
@click.option("--step", type=click.FloatRange(0, 1), default=0.02, show_default=True)
@click.option("--most", type=click.IntRange(101), default=BUDGETS[-1], show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(data: str, epochs: int, images: int, most: int, **settings: Any) -> None:
    """Train a BaseNet, attack it with growing query budgets, and print the curve."""
    loaded = adv.load(data)
    device, ball, seed = default_device(), Linf(settings["eps"]), settings["seed"]
    learnt = loaded.train.head(settings["train_images"] or len(loaded.train))
    recipe = Recipe(net=BaseNet(), epochs=epochs)
    for epoch in train(recipe, learnt, classes=len(loaded.classes), seed=seed, device=device):
        net = epoch.net.eval()
    part = loaded.test.head(images).to(device)
    x, y = part.images.float() / 255, part.labels
    budgets = [0, *(budget for budget in BUDGETS if budget <= most)]
    nes = NES(ball, queries=most, step_size=settings["step"])
    found = [
        hunt(attack, net, x, y, generator=torch.Generator().manual_seed(seed))
        for attack in (nes, Square(ball, queries=most))
    ]
    print(f"{data}, {len(part)} images, {epochs} epochs, {nes}\n")
    print("| queries | steps | NES | PGD, as many steps | Square |")
    print("|---|---|---|---|---|")
    exact = accuracy_under_pgd(net, part, nes, budgets)
    for rows in zip(found[0].curve(budgets), exact, found[1].curve(budgets), strict=True):
        budget = int(rows[0][0])
        print(f"| {budget:,} | {budget // nes.price} | {' | '.join(map(format_percent, rows))} |")
    for name, one in zip(("NES", "Square"), found, strict=True):
        print(f"\n{name}: {format_queries(one)}")


def accuracy_under_pgd(net: nn.Module, part: Split, nes: NES, budgets: list[int]) -> list[Point]:
    """Return the same curve for PGD, with exact gradients."""
    steps = [budget // nes.price for budget in budgets]
    attacks = [
        (f"{n} steps", PGD(nes.ball, steps=n, step_size=nes.length, random_start=False))
        for n in steps[1:]
    ]
    score = evaluate(net, part, Battery(tuple(attacks)))
    shares = [score.natural_accuracy, *score.attacked_accuracies]
    return [(b, s, *wilson(s, len(part))) for b, s in zip(budgets, shares, strict=True)]


def format_percent(point: Point) -> str:
    """Format an accuracy and its interval in percent."""
    _, share, low, high = point
    return f"{100 * share:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def format_queries(found: Hunt) -> str:
    """Format the number of queries that successful attacks took."""
    fell = int((found.fooled & (found.queries > 0)).sum())
    return f"{fell} images fell, after {found.median:,.0f} queries in the median"


if __name__ == "__main__":
    main()
