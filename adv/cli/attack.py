"""`python -m adv attack`: one attack against a net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from adv.cli.source import COUNT, EPS, NORM, Source, judged

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@judged
@click.option(
    "--attack", "kind", default="pgd", show_default=True, metavar="pgd|fgsm|apgd|square|nes"
)
@click.option("--norm", default="linf", show_default=True, metavar=NORM)
@click.option("--eps", type=click.FloatRange(min=0), help=EPS)
@click.option("--steps", type=COUNT, help="Default: pgd 20, apgd 100.")
@click.option("--step", type=_POSITIVE, help="Length. Default: pgd eps/4, nes eps/5.")
@click.option(
    "--loss",
    metavar="NAME",
    help="pgd, apgd: ce, dlr, dlr-targeted, margin or kl. nes: probability or ce.",
)
@click.option("--target", type=COUNT, help="Of dlr-targeted: the n-th likeliest wrong class.")
@click.option("--queries", type=COUNT, help="An image. Default: square 5000, nes 10000.")
@click.option("--samples", type=COUNT, help="Of nes: queries a gradient. Default: 100.")
@click.option("--restarts", type=COUNT, default=1, show_default=True)
@click.option(
    "--source",
    "made_on",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Transfer: make the images on this net instead, then try them on the other.",
)
@click.option("--draws", type=COUNT, default=20, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the images, NAME.npz.")
def attack(
    source: Source,
    kind: str,
    norm: str,
    eps: float | None,
    made_on: Path | None,
    save: Path | None,
    **settings: Any,
) -> None:
    """Attack a net with one attack.

    \b
    python -m adv attack net.safetensors
    python -m adv attack net.safetensors --norm l2 --eps 0.5 --restarts 5
    python -m adv attack net.safetensors --attack apgd --loss dlr
    python -m adv attack net.safetensors --attack square --queries 2000
    python -m adv attack net.safetensors --source sibling.safetensors
    python -m adv attack --module a.py:Net --weights a.pth --data cifar10

    A random net is attacked through --draws of its draws in each gradient and judged by --votes
    fresh ones: less makes it look stronger than it is.
    """
    from adv.cli.flags import made_attack
    from adv.cli.run import attack_one

    times = settings.pop("draws"), settings.pop("votes")
    made = made_attack(kind, norm, eps, settings)
    if save is not None and save.exists():
        raise ValueError(f"{save} exists: name another file")
    attack_one(source, f"{kind}-{norm}", made, times, save=save, made_on=made_on)
