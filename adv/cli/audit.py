"""`python -m adv audit`: check whether an evaluation can be trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import rich_click as click
from click.exceptions import Exit

from adv.cli.target_args import EPS, NORM, TargetArgs, count, with_target


@click.command()
@with_target
@click.option(
    "--battery",
    "kind",
    default="pgd",
    show_default=True,
    metavar="NAME",
    help="The evaluation to check. pgd: at one radius. report, margin, quick, autoattack, rand: as "
    "in `evaluate`; the last two take many times as long.",
)
@click.option("--norm", metavar=NORM, help="pgd, autoattack and rand only. Default: linf.")
@click.option("--eps", type=click.FloatRange(min=0, min_open=True), metavar="R", help=EPS)
@count("--steps", help="Steps of each PGD. Default: 20, quick 10.")
@count(
    "--draws",
    help="Random nets: noise samples averaged in each gradient. Default: 5, margin 2, rand 20.",
)
@count(
    "--votes",
    help="Random nets: noise samples averaged in each prediction. Default: 20, quick 10.",
)
@click.option("--explain", is_flag=True, help="Explain each check, also those that passed.")
def audit(
    target: TargetArgs,
    kind: str,
    eps: float | None,
    draws: int | None,
    votes: int | None,
    explain: bool,
    **settings: Any,
) -> None:
    """Check a net's score: is the net robust, or was the attack weak?

    Uses 256 images unless --images is given, which takes about a minute for a small net on a CPU.
    The exit status is 0 if every check passes, 1 if one fails.

    \b
    python -m adv audit net.safetensors
    python -m adv audit net.safetensors --battery report --eps 0.06 --explain
    python -m adv audit --module a.py:Net --weights a.pth --data cifar10
    """
    from adv.cli.audit_run import audit_target
    from adv.cli.flags import build_audited_battery, with_repeats

    battery = with_repeats(build_audited_battery(kind, eps=eps, **settings), draws, votes)
    target = replace(target, images=target.images or 256)
    if not audit_target(target, battery, eps, explain):
        raise Exit(1)
