"""What every verb that judges shares: the net that is meant, and the images that it meets."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from adv.training.recipe import Recipe

RecipeOf = Callable[[Mapping[str, Any]], "Recipe"]
COUNT = click.IntRange(min=1)
NORM, EPS = "linf|l2", "Radius. Default: 8/255, in l2 0.5."
DATA = "digits, cifar10, cifar100 or a folder with train/<class>/* and test/<class>/*."


@dataclass(frozen=True)
class Source:
    """Where a net and its images come from; `adv.cli.target.meet` brings them.

    `recipe_of` finds the recipe that a checkpoint's card names.
    """

    recipe_of: RecipeOf
    checkpoint: Path | None
    module: str | None
    weights: Path | None
    random: bool
    data: str | None
    split: str
    images: int | None


_FLAGS = (
    click.argument("checkpoint", type=click.Path(path_type=Path), required=False),
    click.option(
        "--module",
        metavar="FILE.py:NAME",
        help="Instead of a checkpoint: a torch.nn.Module class, or a function that makes one, "
        "both called without arguments. It meets images in [0, 1]. Needs --data. Runs the file.",
    ),
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="For --module: a state dict, .pth or .safetensors. Never unpickled.",
    ),
    click.option(
        "--random",
        is_flag=True,
        help="For --module: its calls differ. Found by itself where two calls differ.",
    ),
    click.option("--data", metavar="NAME", help=f"{DATA} Default: what it was trained on."),
    click.option(
        "--split",
        type=click.Choice(["validation", "test"]),
        default="validation",
        show_default=True,
        help="The test split is for final figures.",
    ),
    click.option("--images", type=COUNT, help="How many. Default: all of the split."),
)


def judged(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb that gets a `Source` first, from an argument and flags that this adds to its own."""

    @functools.wraps(verb)
    def collected(recipe_of: Any, /, **settings: Any) -> None:
        named = {f.name: settings.pop(f.name) for f in fields(Source) if f.name in settings}
        verb(Source(recipe_of, **named), **settings)

    flagged: Callable[..., None] = click.pass_obj(collected)
    for flag in reversed(_FLAGS):
        flagged = flag(flagged)
    return flagged
