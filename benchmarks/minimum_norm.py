"""Compare one run of a minimum-norm attack with attacks at each radius of the report.

    python benchmarks/minimum_norm.py NET.safetensors ... --data cifar10 --images 200

Each net is attacked at the report's six radii: by the report's battery (PGD with 20 steps); by FMN,
one run for all radii; by PGD with cosine steps on the margin and on MIFPE; by PMA; by a line-up of
the margin and then APGD on three targets by linear distance; and by AutoAttack's APGD on the
cross-entropy and on nine targets, the reference. The table gives the accuracy at each radius, the
mean and the worst difference from the reference in points, gradients for each image (those that
order targets are not counted), and processor seconds.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import rich_click as click
import torch
from markdown_report import command, machine, table
from torch import nn

import adv
from adv import APGD, FMN, PGD, PMA, Battery, Linf, Split, Worst, autoattack, evaluate, find_nearest

RADII = tuple(attack.ball.eps for _, attack in adv.report_battery().attacks)
LARGEST = max(RADII)
REFERENCE = "AutoAttack's APGD"


@click.command()
@click.argument("nets", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--data", default="cifar10", show_default=True, help="A data set that adv.load knows."
)
@click.option("--images", type=click.IntRange(1), default=200, show_default=True)
@click.option(
    "--steps", type=click.IntRange(1), multiple=True, default=(20, 100), show_default=True
)
def main(nets: tuple[Path, ...], data: str, images: int, steps: tuple[int, ...]) -> None:
    """Attack each net in every way, and print a table for each."""
    part = adv.load(data).test.head(images)
    print(f"`{command(sys.argv[1:])}`: {len(part)} test images; {machine('cpu', ())}")
    for path in nets:
        net = adv.restore(path).net.eval()
        found = {name: measure(net, judge, part) for name, judge in make_judges(steps).items()}
        print(f"\n{path.stem}\n\n{format_table(found)}")


def make_judges(steps: Sequence[int]) -> dict[str, Callable[[nn.Module, Split], list[float]]]:
    """Return ways of finding the accuracy at each radius, by name; the reference is the last."""
    by_margin = [PGD(Linf(eps), 20, pace=2.0, loss="margin", schedule="cosine") for eps in RADII]
    by_target = [
        [APGD(Linf(eps), 30, loss="dlr-targeted", target=k, order="distance") for k in (1, 2, 3)]
        for eps in RADII
    ]
    line_up = [Worst((first, *rest)) for first, rest in zip(by_margin, by_target, strict=True)]
    strongest = [
        Worst(tuple(attack for name, attack in autoattack(Linf(eps)).attacks if name != "square"))
        for eps in RADII
    ]
    return {
        "report": by_battery([attack for _, attack in adv.report_battery().attacks]),
        **{f"FMN, {n} steps": by_distance(n) for n in steps},
        "PGD on the margin, cosine": by_battery(by_margin),
        "PGD on MIFPE, cosine": by_battery([replace(a, loss="mifpe") for a in by_margin]),
        "PMA, two runs of 20": by_battery([PMA(Linf(eps), 20) for eps in RADII]),
        "PGD on the margin, then 3 targets": by_battery(line_up),
        REFERENCE: by_battery(strongest),
    }


def by_battery(attacks: Sequence[adv.Attack]) -> Callable[[nn.Module, Split], list[float]]:
    """Return a function that evaluates a net under one attack at each radius."""
    battery = Battery(tuple((f"{attack.ball.eps:g}", attack) for attack in attacks))
    return lambda net, part: list(evaluate(net, part, battery).attacked_accuracies)


def by_distance(steps: int) -> Callable[[nn.Module, Split], list[float]]:
    """Return a function that reads the accuracy at each radius from one run of FMN."""

    def judge(net: nn.Module, part: Split) -> list[float]:
        found = find_nearest(FMN(Linf(LARGEST), steps), net, part.images.float() / 255, part.labels)
        return [found.accuracy(eps) for eps in RADII]

    return judge


def measure(
    net: nn.Module, judge: Callable[[nn.Module, Split], list[float]], part: Split
) -> dict[str, Any]:
    """Return the accuracies, the images that passed the net for each image, and the seconds."""
    seen = 0

    def count(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal seen
        seen += len(inputs[0]) * torch.is_grad_enabled()

    hook = net.register_forward_pre_hook(count)
    begun = time.process_time()
    shares = judge(net, part)
    seconds = time.process_time() - begun
    hook.remove()
    return {"shares": shares, "gradients": seen / len(part), "seconds": seconds}


def format_table(found: dict[str, dict[str, Any]]) -> str:
    """Return the table of one net."""
    heads = ["attack", *(f"{eps:g}" for eps in RADII), "score", "mean diff.", "worst diff."]
    exact = found[REFERENCE]["shares"]
    rows = []
    for name, result in found.items():
        apart = [100 * (a - b) for a, b in zip(result["shares"], exact, strict=True)]
        worst = max(apart, key=abs)
        rows.append(
            [
                name,
                *(f"{100 * share:.1f}" for share in result["shares"]),
                f"{100 * sum(result['shares']):.1f}",
                f"{sum(apart) / len(apart):+.2f}",
                f"{worst:+.1f}",
                f"{result['gradients']:,.0f}",
                f"{result['seconds']:.1f}",
            ]
        )
    return table([*heads, "gradients", "seconds"], rows)


if __name__ == "__main__":
    main()
