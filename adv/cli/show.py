"""`python -m adv show`: a page about one net, with its images, their perturbations and curves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import rich_click as click

from adv.cli.battery_flags import BatteryArgs, with_battery
from adv.cli.target_args import TargetArgs, count, with_target

IMAGES = 256  # unless --images names another number


@click.command()
@with_target
@with_battery
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PAGE.html|DIR",
    help="The page to write, or a folder: index.html, the pictures as PNG, the figures as CSV.",
)
@count("--shown", default=16, show_default=True, help="Images that are shown, the first ones.")
def show(target: TargetArgs, battery: BatteryArgs, out: Path, shown: int) -> None:
    """Show a net on a page: images, perturbations times ten, predictions, curve, confusion.

    The page opens without a network. It rests on the first 256 images of the split, unless --images
    says otherwise. The images that are shown are the first ones, not chosen.

    \b
    python -m adv show net.safetensors --out net.html
    python -m adv show net.safetensors --out net --split test --images 1000
    """
    from adv.cli.show_run import show_target

    if out.exists():
        raise ValueError(f"{out} exists: name another file or folder")
    battery.build(None)  # finds a wrong flag before the net is loaded
    show_target(replace(target, images=target.images or IMAGES), battery, out, shown)
