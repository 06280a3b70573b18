"""`python -m adv evaluate`: evaluate a net on a battery of attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import rich_click as click

from adv.cli.target_args import EPS, NORM, TARGET, TARGET_HELP, TargetArgs, count, with_target

if TYPE_CHECKING:
    from adv.evaluation.battery import Battery


@click.command()
@with_target
@click.option(
    "--battery",
    "kind",
    default="report",
    show_default=True,
    metavar="NAME",
    help="report: PGD at six radii from eps 0.01 to 0.1. margin: the same with a loss that does "
    "not saturate. quick: PGD at two radii. autoattack: the standard AutoAttack at one radius. "
    "rand: AutoAttack for random nets.",
)
@click.option("--norm", metavar=NORM, help="autoattack and rand only. Default: linf.")
@click.option(
    "--eps", type=click.FloatRange(min=0), metavar="R", help=f"autoattack and rand only. {EPS}"
)
@count("--steps", help="Steps of each PGD. Default: report and margin 20, quick 10.")
@click.option("--target", "aim", metavar=TARGET, help=f"report and quick only: {TARGET_HELP}")
@count(
    "--draws",
    help="Random nets: noise samples averaged in each gradient. Default: 5, margin 2, rand 20.",
)
@count(
    "--votes",
    help="Random nets: noise samples averaged in each prediction. Default: 20, quick 10.",
)
def evaluate(
    target: TargetArgs,
    kind: str,
    norm: str | None,
    eps: float | None,
    steps: int | None,
    aim: str | None,
    **repeats: Any,
) -> None:
    """Evaluate a net on a battery of attacks.

    \b
    python -m adv evaluate net.safetensors --split test
    python -m adv evaluate net.safetensors --battery autoattack --images 256
    python -m adv evaluate net.safetensors --battery quick --target all
    python -m adv evaluate rse.safetensors --battery rand --images 256
    python -m adv evaluate --module a.py:Net --weights a.pth --data cifar10
    """
    from adv.cli.evaluate_run import evaluate_target
    from adv.cli.flags import aim_battery, build_battery, with_repeats

    def make_battery(class_names: Sequence[str] | None) -> Battery:
        classes = None if class_names is None else len(class_names)
        battery = build_battery(kind, norm, eps, steps, classes)
        if aim is not None:
            battery = aim_battery(battery, kind, aim, class_names)
        return with_repeats(battery, **repeats)

    make_battery(None)  # finds a wrong flag before the net is loaded
    evaluate_target(target, kind, make_battery, aim)
