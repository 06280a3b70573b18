"""`python -m adv evaluate`: judge a net by a battery of attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from adv.cli.source import COUNT, EPS, NORM, Source, judged

if TYPE_CHECKING:
    from adv.evaluation.battery import Battery


@click.command()
@judged
@click.option(
    "--battery",
    "kind",
    default="report",
    show_default=True,
    metavar="report|quick|autoattack|rand",
    help="report: six PGD points from eps 0.01 to 0.1. quick: PGD at two radii. autoattack: "
    "AutoAttack's standard line-up at one radius. rand: its line-up for random nets.",
)
@click.option("--norm", metavar=NORM, help="Of autoattack and rand. Default: linf.")
@click.option("--eps", type=click.FloatRange(min=0), help=f"Of autoattack and rand. {EPS}")
@click.option("--steps", type=COUNT, help="Of each PGD. Default: report 20, quick 10.")
@click.option("--draws", type=COUNT, help="A gradient, random nets. Default: 5, rand 20.")
@click.option("--votes", type=COUNT, help="A verdict, random nets. Default: 20, quick 10.")
def evaluate(
    source: Source,
    kind: str,
    norm: str | None,
    eps: float | None,
    steps: int | None,
    draws: int | None,
    votes: int | None,
) -> None:
    """Judge a net by a battery of attacks.

    \b
    python -m adv evaluate net.safetensors --split test
    python -m adv evaluate net.safetensors --battery autoattack --images 256
    python -m adv evaluate rse.safetensors --battery rand --images 256
    python -m adv evaluate --module a.py:Net --weights a.pth --data cifar10
    """
    from adv.cli.flags import made_battery, repeated
    from adv.cli.run import judge

    def battery(classes: int | None) -> Battery:
        return repeated(made_battery(kind, norm, eps, steps, classes), draws, votes)

    battery(None)  # a wrong flag is found before the net is read
    judge(source, kind, battery)
