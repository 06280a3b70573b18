"""`python -m adv compare`: paired differences of nets on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from adv.cli.battery_flags import BatteryArgs, with_battery
from adv.cli.target_args import TargetArgs, with_images
from adv.net_flags import TRUST_HELP


@click.command()
@click.argument(
    "checkpoints", type=click.Path(path_type=Path), nargs=-1, metavar="CHECKPOINT CHECKPOINT ..."
)
@click.option("--trust-code", is_flag=True, help=TRUST_HELP)
@with_images
@with_battery
def compare(
    checkpoints: tuple[Path, ...], battery: BatteryArgs, trust_code: bool, **images: Any
) -> None:
    """Compare nets on the same images, under the same attacks from the same starts.

    Each further net is compared with the first: the difference in percent points, its 95 % interval
    (Bonett and Price 2012), and the p-value of McNemar's exact test. A difference is named only
    where its interval excludes zero. It is one between these nets, not between their recipes: with
    other seeds both would come out otherwise.

    \b
    python -m adv compare a.safetensors b.safetensors --split test
    python -m adv compare runs/NAME/front/*.safetensors --images 500
    """
    from adv.cli.compare_run import compare_checkpoints

    if len(checkpoints) < 2:
        raise ValueError(f"name two checkpoints or more to compare, not {len(checkpoints)}")
    battery.build(None)  # finds a wrong flag before the nets are loaded
    nets = [TargetArgs(checkpoint=p, trust_code=trust_code, **images) for p in checkpoints]
    compare_checkpoints(nets, battery)
