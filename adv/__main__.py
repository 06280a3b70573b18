"""`python -m adv VERB`: one net at a time, without a search.

A recipe is named by a space and its parameters; names of spaces are known here, at the edge, only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from adv.cli.attack import attack
from adv.cli.audit import audit
from adv.cli.bench import bench
from adv.cli.certify import certify
from adv.cli.evaluate import evaluate
from adv.cli.export import export
from adv.cli.models import models
from adv.cli.source import COUNT, DATA
from adv.cli.synthesis.command import synthesize

if TYPE_CHECKING:
    from adv.training.recipe import Recipe

click.rich_click.TEXT_MARKUP = "rich"


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def adv() -> None:
    """Train a robust net, attack it, judge it, and hand it on.

    \b
    python -m adv train --space rse_sigmas --out rse.safetensors
    python -m adv evaluate rse.safetensors --split test
    python -m adv attack rse.safetensors --attack apgd --images 256
    python -m adv export rse.safetensors my_project

    --module FILE.py:NAME in place of the checkpoint judges anybody's torch.nn.Module. Each verb has
    a --help with examples.
    """


@adv.command()
@click.option("--space", metavar="NAME", help="The space that makes the recipe.")
@click.option(
    "--set",
    "points",
    multiple=True,
    metavar="KNOB=VALUE",
    help="Of --space: a knob's value; one for each knob.",
)
@click.option(
    "--recipe",
    metavar="EXPRESSION",
    help="Instead of a space: the recipe as one writes it in Python, of values of adv only.",
)
@click.option("--data", metavar="NAME", help=f"{DATA} Default: the scale's.")
@click.option("--scale", default="laptop", show_default=True, help="laptop or full.")
@click.option("--epochs", type=COUNT, help="Default: the scale's, or the recipe's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint, NAME.safetensors.",
)
def train(
    space: str | None,
    points: tuple[str, ...],
    recipe: str | None,
    data: str | None,
    scale: str,
    seed: int,
    out: Path,
    **sizes: int | None,
) -> None:
    """Train a net adversarially and keep its best epoch.

    \b
    python -m adv train --space rse_sigmas --set sigma_init=0.2 --out a.safetensors
    python -m adv train --recipe "Recipe(BigNet(2), (PNI(),))" --out b.safetensors

    A space's recipe is sized by the scale; an expression is trained as it stands, and the scale
    says with how many images each epoch is watched.
    """
    import spaces
    from adv.cli.run import point, train_one, typed_recipe

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    if (space is None) == (recipe is None):
        raise ValueError("name a --space or a --recipe, one of them")
    changes: dict[str, Any] = {**sizes, "data": data}
    changes = {key: value for key, value in changes.items() if value is not None}
    if space is None:
        if points:
            raise ValueError("--set belongs to --space: write the values into the recipe")
        typed = typed_recipe(str(recipe), sizes["epochs"])
        sized = spaces.scale(scale, **changes)
        return train_one(typed, sized, {}, seed, out)
    chosen = spaces.load(space)
    sized = spaces.scale(scale, **{**chosen.scale, **changes})
    params = point(chosen, points)
    made = sized.apply(chosen.build(**params))
    return train_one(made, sized, {"space": space, "params": params}, seed, out)


for verb in (evaluate, attack, audit, certify, export, models, bench, synthesize):
    adv.add_command(verb)


def _recipe(card: Mapping[str, Any]) -> Recipe:
    """The recipe that a checkpoint's card holds, else the one that its space makes.

    A space of one's own may make recipes of nets of one's own, which cannot be read from a card.
    """
    import spaces
    from adv.checkpoints.checkpoint import CheckpointError, parse_recipe

    try:
        return parse_recipe(card)
    except (KeyError, CheckpointError):
        if "space" not in card:
            raise
    scale = spaces.Scale(**card["scale"])
    return scale.apply(spaces.load(card["space"]).build(**card["params"]))


def run() -> None:
    """The command line; what the user got wrong is said in one line, with status 2."""
    try:
        code = adv.main(prog_name="python -m adv", standalone_mode=False, obj=_recipe)
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
