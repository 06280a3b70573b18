"""`python -m adv train|evaluate|attack|models`: one net at a time, without a search.

A recipe is named by a space and its parameters; names of spaces are known here, at the edge, only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from adv import Recipe

click.rich_click.TEXT_MARKUP = "rich"
COUNT = click.IntRange(min=1)
_DATA = "digits, cifar10, cifar100 or a folder with train/<class>/* and test/<class>/*."


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def adv() -> None:
    """Train one robust net, attack it, judge it.

    The recipe comes from a space and values for its knobs, the net from a checkpoint.
    """


@adv.command()
@click.option("--space", required=True, metavar="NAME", help="The space that makes the recipe.")
@click.option(
    "--set",
    "points",
    multiple=True,
    metavar="KNOB=VALUE",
    help="A knob's value; one for each knob.",
)
@click.option("--data", metavar="NAME", help=f"{_DATA} Default: the scale's.")
@click.option("--scale", default="laptop", show_default=True, help="laptop or full.")
@click.option("--epochs", type=COUNT, help="Default: the scale's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint, NAME.safetensors.",
)
def train(
    space: str,
    points: tuple[str, ...],
    data: str | None,
    scale: str,
    epochs: int | None,
    seed: int,
    out: Path,
) -> None:
    """Train a net adversarially and keep its best epoch.

    python -m adv train --space rse_sigmas --set sigma_init=0.2 --out rse.safetensors
    """
    import spaces
    from adv.commands import point, train_one

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    chosen = spaces.load(space)
    changes = {**chosen.scale, **({"epochs": epochs} if epochs else {})}
    changes |= {"data": data} if data else {}
    sized = spaces.scale(scale, **changes)
    params = point(chosen, points)
    recipe = sized.apply(chosen.build(**params))
    train_one(recipe, sized, {"space": space, "params": params}, seed, out)


_checkpoint = click.argument("checkpoint", type=click.Path(path_type=Path))
_data = click.option("--data", metavar="NAME", help=f"{_DATA} Default: what it was trained on.")
_split = click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="The test split is for final figures.",
)
_images = click.option("--images", type=COUNT, help="How many. Default: all of the split.")


@adv.command()
@_checkpoint
@_data
@_split
@_images
@click.option("--steps", type=COUNT, default=20, show_default=True, help="Of each PGD.")
@click.option("--draws", type=COUNT, default=5, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
def evaluate(
    checkpoint: Path,
    data: str | None,
    split: str,
    images: int | None,
    steps: int,
    draws: int,
    votes: int,
) -> None:
    """Judge a checkpoint by the report's battery: six PGD points from eps 0.01 to 0.1.

    python -m adv evaluate runs/NAME/front/0003.safetensors --split test
    """
    from adv import evaluate as judge
    from adv import report_battery
    from adv.commands import restore, show

    net, card, part = restore(checkpoint, data, split, images, _recipe)
    show(judge(net, part, report_battery(steps, draws, votes)), checkpoint, card, split)


@adv.command()
@_checkpoint
@_data
@_split
@_images
@click.option("--attack", default="pgd", show_default=True, metavar="pgd|fgsm")
@click.option("--norm", default="linf", show_default=True, metavar="linf|l2")
@click.option(
    "--eps", type=click.FloatRange(min=0), default=8 / 255, help="Radius. Default: 8/255."
)
@click.option("--steps", type=COUNT, default=20, show_default=True)
@click.option("--step", type=click.FloatRange(min=0, min_open=True), help="Default: eps / 4.")
@click.option("--restarts", type=COUNT, default=1, show_default=True)
@click.option("--draws", type=COUNT, default=20, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
@click.option(
    "--save", type=click.Path(path_type=Path), help="Write clean and adversarial images, .npz."
)
def attack(
    checkpoint: Path,
    data: str | None,
    split: str,
    images: int | None,
    save: Path | None,
    **settings: Any,
) -> None:
    """Attack a checkpoint with one attack.

    python -m adv attack runs/NAME/front/0003.safetensors --norm l2 --eps 0.5 --restarts 5
    """
    from adv import Battery
    from adv import evaluate as judge
    from adv.commands import made_attack, restore, save_images, show

    made = made_attack(settings)
    if save is not None and save.exists():
        raise ValueError(f"{save} exists: name another file")
    net, card, part = restore(checkpoint, data, split, images, _recipe)
    name = f"{settings['attack']}-{settings['norm']}-{settings['eps']:.4g}"
    battery = Battery(((name, made),), draws=settings["draws"], votes=settings["votes"])
    show(judge(net, part, battery), checkpoint, card, split)
    if save is not None:
        save_images(save, net, part, made, settings["draws"])


@adv.command()
def models() -> None:
    """List the nets with their parameters and what an image costs.

    python -m adv models
    """
    from adv.commands import show_models

    show_models()


def _recipe(card: Mapping[str, Any]) -> Recipe:
    """The recipe that a checkpoint's card names."""
    import spaces

    scale = spaces.Scale(**card["scale"])
    return scale.apply(spaces.load(card["space"]).build(**card["params"]))


def run() -> None:
    """The command line; what the user got wrong is said in one line, with status 2."""
    try:
        code = adv.main(prog_name="python -m adv", standalone_mode=False)
    except click.ClickException as error:
        message, code = error.format_message(), error.exit_code
    except (ValueError, OSError) as error:
        message, code = str(error), 2
    except (click.Abort, KeyboardInterrupt):
        message, code = "interrupted", 130
    else:
        sys.exit(code)
    print(f"adv: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    run()
