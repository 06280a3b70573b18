"""`python -m adv curve`: the accuracy of a net at every radius, from one run of an attack."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from adv.cli.target_args import TargetArgs, count, with_target


@click.command()
@with_target
@click.option(
    "--attack",
    "kind",
    default="fmn",
    show_default=True,
    metavar="NAME",
    help="fmn, or in l2 also ddn.",
)
@click.option(
    "--norm", default="linf", show_default=True, metavar="linf|l2", help="Norm of the ball."
)
@click.option(
    "--eps",
    type=click.FloatRange(min=0, min_open=True),
    metavar="R",
    help="Largest radius that is searched. Default: 0.1, in l2 2.",
)
@count("--steps", default=100, show_default=True, help="Gradient steps of each image.")
@click.option(
    "--save",
    type=click.Path(path_type=Path),
    help="Write the distances, NAME.npz: `distance` [n], 0 where the clean image is misclassified "
    "and infinite where no image within --eps fools the net, and `label` [n].",
)
def curve(
    target: TargetArgs, kind: str, norm: str, eps: float | None, steps: int, save: Path | None
) -> None:
    """Print the accuracy of a net at every radius, from one run of a minimum-norm attack.

    For each image the attack looks for the nearest one that fools the net. A figure at one radius
    is best taken from `python -m adv evaluate --battery autoattack`: these are upper bounds.

    \b
    python -m adv curve net.safetensors --images 500
    python -m adv curve net.safetensors --norm l2 --attack ddn --save distances.npz
    """
    from adv.cli.curve_run import print_curve
    from adv.cli.flags import build_search

    built = build_search(kind, norm, eps, steps)
    if save is not None and save.exists():
        raise ValueError(f"{save} exists: name another file")
    print_curve(target, built, save)
