"""`python -m adv attack`: attack a net with one attack."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import rich_click as click

from adv.cli.attack_table import ATTACKS
from adv.cli.target_args import EPS, NORM, TARGET, TARGET_HELP, TargetArgs, count, with_target

_POSITIVE = click.FloatRange(min=0, min_open=True)


@click.command()
@with_target
@click.option(
    "--attack",
    "kind",
    default="pgd",
    show_default=True,
    metavar="NAME",
    help=f"One of {', '.join(ATTACKS)}.",
)
@click.option("--norm", default="linf", show_default=True, metavar=NORM, help="Norm of the ball.")
@click.option("--eps", type=click.FloatRange(min=0), metavar="R", help=EPS)
@count(
    "--steps", help="Iterations; pma (each of two runs), fmn, ddn: 100. Default: pgd 20, apgd 100."
)
@click.option(
    "--step", type=_POSITIVE, metavar="SIZE", help="Step size. Default: pgd eps/4, nes eps/5."
)
@click.option(
    "--schedule",
    metavar="constant|cosine",
    help="pgd: cosine lets steps fall from --step to 0, twice. Default: constant.",
)
@click.option(
    "--momentum",
    type=float,
    metavar="SHARE",
    help="pgd: share of the last direction that a step keeps, 0 to 1. Default: 0.",
)
@click.option(
    "--loss",
    metavar="NAME",
    help="pgd, apgd: ce, dlr, margin, probability-margin or kl; pgd also mifpe. With --target or "
    "--rank ce, dlr and margin become ce-targeted, dlr-targeted and margin-targeted. nes: "
    "probability or ce.",
)
@click.option("--target", "aim", metavar=TARGET, help=f"pgd, apgd, square: {TARGET_HELP}")
@count("--rank", help="pgd, apgd, square: aim at the n-th most likely wrong class.")
@count("--queries", help="Query budget per image. Default: square 5000, nes 10000.")
@count("--samples", help="nes: queries per gradient estimate. Default: 100.")
@count(
    "--restarts",
    default=1,
    show_default=True,
    help="pgd, apgd, pma: runs from different random starts.",
)
@click.option(
    "--source",
    "surrogate",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Transfer attack: make the images on this net and try them on the other.",
)
@count(
    "--draws",
    default=20,
    show_default=True,
    help="Random nets: noise samples averaged in each gradient.",
)
@count(
    "--votes",
    default=20,
    show_default=True,
    help="Random nets: noise samples averaged in each prediction.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="Write the images that were scored, NAME.npz, with labels and verdicts. Images that are "
    "misclassified before the attack are saved unchanged.",
)
def attack(
    target: TargetArgs,
    kind: str,
    norm: str,
    eps: float | None,
    surrogate: Path | None,
    save: Path | None,
    **settings: Any,
) -> None:
    """Attack a net with one attack.

    Gradients of a random net are averaged over --draws noise samples, and its predictions over
    --votes fresh ones. Smaller numbers make it look more robust than it is.

    \b
    python -m adv attack net.safetensors
    python -m adv attack net.safetensors --norm l2 --eps 0.5 --restarts 5
    python -m adv attack net.safetensors --attack apgd --loss dlr
    python -m adv attack net.safetensors --attack square --queries 2000
    python -m adv attack net.safetensors --loss margin --target cat
    python -m adv attack net.safetensors --source sibling.safetensors
    python -m adv attack --module a.py:Net --weights a.pth --data cifar10
    """
    from adv.cli.attack_run import attack_target
    from adv.cli.flags import build_attack

    repeats = settings.pop("draws"), settings.pop("votes")
    aim = settings["target"] = settings.pop("aim")
    make_attack = functools.partial(build_attack, kind, norm, eps, settings)
    make_attack(None)  # finds a wrong flag before the net is loaded
    if save is not None and save.exists():
        raise ValueError(f"{save} exists: name another file")
    attack_target(
        target,
        f"{kind}-{norm}",
        make_attack,
        repeats,
        aim=aim,
        save=save,
        surrogate=surrogate,
    )
