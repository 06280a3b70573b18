"""`python -m adv audit`: doubt an evaluation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import rich_click as click
from click.exceptions import Exit

from adv.cli.source import COUNT, EPS, NORM, Source, judged


@click.command()
@judged
@click.option(
    "--battery",
    "kind",
    default="pgd",
    show_default=True,
    metavar="pgd|report|quick|autoattack|rand",
    help="The evaluation to doubt. pgd: at one radius; the others as in `evaluate`, of which "
    "autoattack and rand take many times as long.",
)
@click.option("--norm", metavar=NORM, help="Of pgd, autoattack and rand. Default: linf.")
@click.option("--eps", type=click.FloatRange(min=0, min_open=True), help=EPS)
@click.option("--steps", type=COUNT, help="Of each PGD. Default: 20, quick 10.")
@click.option("--draws", type=COUNT, help="A gradient, random nets. Default: 5, rand 20.")
@click.option("--votes", type=COUNT, help="A verdict, random nets. Default: 20, quick 10.")
@click.option("--explain", is_flag=True, help="Each check in words, also those that passed.")
def audit(
    source: Source,
    kind: str,
    eps: float | None,
    draws: int | None,
    votes: int | None,
    explain: bool,
    **settings: Any,
) -> None:
    """Doubt a net's score: is it robust, or was the attack weak?

    \b
    python -m adv audit net.safetensors
    python -m adv audit net.safetensors --battery report --eps 0.06 --explain
    python -m adv audit --module a.py:Net --weights a.pth --data cifar10

    The net meets 256 images unless --images says how many; about a minute for a small net on a
    CPU. The exit status is 0 where every check passes, 1 where one fails.
    """
    from adv.cli.audit_report import audit_one
    from adv.cli.flags import doubted_battery, repeated

    battery = repeated(doubted_battery(kind, eps=eps, **settings), draws, votes)
    source = replace(source, images=source.images or 256)
    if not audit_one(source, battery, eps, explain):
        raise Exit(1)
