"""Compare second attacks of the margin battery: what each takes more, and what it costs.

    python benchmarks/second_attack.py FIT/*.safetensors --data FOLDER --images 256 --skip 256

Each net (none random; `judge_nets.py` trains some) is evaluated by the margin battery without a
second attack and with each candidate. The table gives the points that a candidate takes more, the
mean over nets and radii and the largest at a radius, and the gradients and processor time of the
whole in those of the first attack alone, means over nets. With --ball, the attack of the margin
score in one ball takes the place of the margin battery.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import rich_click as click
import torch
from judge import Result, measure
from markdown_report import command, machine, table

import adv
from adv import APGD, Attack, Ball, Battery
from spaces import SCALES

NONE = "none"


def make_candidates(ball: Ball) -> dict[str, tuple[Attack, ...]]:
    """Return second attacks in a ball, by name."""
    nearest = APGD(ball, 10, loss="dlr-targeted", order="distance")
    likeliest = replace(nearest, order="likelihood")
    return {
        NONE: (),
        "nearest class by linear distance, 5 steps": (replace(nearest, steps=5),),
        "nearest class by linear distance, 10 steps": (nearest,),
        "two nearest classes, 10 steps each": (nearest, replace(nearest, target=2)),
        "likeliest wrong class, 10 steps": (likeliest,),
        "two likeliest wrong classes, 10 steps each": (likeliest, replace(likeliest, target=2)),
    }


@click.command()
@click.argument("nets", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--data", default="cifar10", show_default=True, help="What adv.load knows.")
@click.option("--images", type=click.IntRange(2), default=200, show_default=True)
@click.option("--skip", type=click.IntRange(0), default=0, show_default=True, help="Test images.")
@click.option("--ball", help="One ball, such as linf-8/255, instead of the report's six.")
def main(nets: tuple[Path, ...], data: str, images: int, skip: int, ball: str | None) -> None:
    """Evaluate every net with every candidate, and print the table."""
    torch.set_num_threads(1)
    test = adv.load(data).test
    part = replace(
        test, images=test.images[skip : skip + images], labels=test.labels[skip : skip + images]
    )
    first = choose_first(ball)
    found: dict[str, list[Result]] = {}
    for path in nets:
        net = adv.restore(path).net.eval()
        for name in make_candidates(first.attacks[0][1].ball):
            second = [make_candidates(attack.ball)[name] for _, attack in first.attacks]
            battery = replace(first, second_attacks=tuple(one for some in second for one in some))
            found.setdefault(name, []).append(measure(net, battery, part))
        print(path.stem, file=sys.stderr, flush=True)
    print(f"`{command(sys.argv[1:])}`: {len(part)} test images; {machine('cpu', ())}\n")
    print(format_table(found))


def choose_first(ball: str | None) -> Battery:
    """Return the margin battery, or that of one ball, without a second attack."""
    settings = {"score": "margin", "threat_model": ball or "report", "battery_steps": 20}
    return replace(replace(SCALES["laptop"], **settings).battery(), second_attacks=())


def format_table(found: dict[str, list[Result]]) -> str:
    """Return a row for each candidate; `found` begins with the first attack alone."""
    alone = found[NONE]
    rows = []
    for name, results in found.items():
        pairs = list(zip(alone, results, strict=True))
        taken = 100 * np.array([a.shares - b.shares for a, b in pairs])
        rows.append(
            [
                name,
                f"{taken.mean():.2f}",
                f"{taken.mean(0).max():.2f}",
                f"{np.mean([b.gradients / a.gradients for a, b in pairs]):.2f}",
                f"{np.mean([b.seconds / a.seconds for a, b in pairs]):.2f}",
            ]
        )
    return table(["second attack", "takes", "at most", "gradients", "time"], rows)


if __name__ == "__main__":
    main()
