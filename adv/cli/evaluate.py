"""`python -m adv evaluate`: evaluate a net on a battery of attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import rich_click as click

from adv.cli.battery_flags import BatteryArgs, with_battery
from adv.cli.target_args import TARGET, TARGET_HELP, TargetArgs, with_target

if TYPE_CHECKING:
    from adv.evaluation.battery import Battery


@click.command()
@with_target
@with_battery
@click.option("--target", "aim", metavar=TARGET, help=f"report and quick only: {TARGET_HELP}")
def evaluate(target: TargetArgs, battery: BatteryArgs, aim: str | None) -> None:
    """Evaluate a net on a battery of attacks.

    \b
    python -m adv evaluate net.safetensors --split test
    python -m adv evaluate net.safetensors --battery autoattack --images 256
    python -m adv evaluate net.safetensors --battery quick --target all
    python -m adv evaluate rse.safetensors --battery rand --images 256
    python -m adv evaluate --module a.py:Net --weights a.pth --data cifar10
    """
    from adv.cli.evaluate_run import evaluate_target
    from adv.cli.flags import aim_battery

    def make_battery(class_names: Sequence[str] | None) -> Battery:
        built = battery.build(class_names)
        return built if aim is None else aim_battery(built, battery.kind, aim, class_names)

    make_battery(None)  # finds a wrong flag before the net is loaded
    evaluate_target(target, battery.kind, make_battery, aim)
