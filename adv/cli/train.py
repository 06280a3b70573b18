"""`python -m adv train`: train one net adversarially."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import rich_click as click

import spaces
from adv.cli.target_args import DATA, IMAGE_SIZE, count
from adv.net_flags import with_net_flags


@click.command()
@click.option("--space", metavar="NAME", help="The search space that builds the recipe.")
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="With --space: the value of one hyperparameter; may be repeated.",
)
@click.option(
    "--recipe",
    metavar="EXPRESSION",
    help="Instead of --space: the recipe in Python, made of values of adv only.",
)
@with_net_flags
@click.option("--data", metavar="NAME", help=f"{DATA} Default: {spaces.default_text('data')}.")
@click.option("--image-size", metavar="SIZE", help=f"{IMAGE_SIZE} Default: as the data has them.")
@click.option(
    "--scale",
    default="laptop",
    show_default=True,
    metavar="|".join(spaces.SCALES),
    help="How large the training is.",
)
@count("--epochs", help=f"Default: {spaces.default_text('epochs')}; with --recipe the recipe's.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Random seed.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint to write, NAME.safetensors.",
)
def train(
    space: str | None,
    pairs: tuple[str, ...],
    recipe: str | None,
    data: str | None,
    image_size: str | None,
    scale: str,
    out: Path,
    **numbers: Any,
) -> None:
    """Train a net adversarially and keep its best epoch.

    The scale sets the size of a space's recipe. An expression is trained as it is, and the scale
    only sets the data and the number of images that validate each epoch. --net takes the place of
    the recipe's net; alone it is trained by the default recipe, at the scale.

    \b
    python -m adv train --space rse_sigmas --set sigma_init=0.2 \\
        --out a.safetensors
    python -m adv train --recipe "Recipe(BigNet(2), (PNI(),))" \\
        --out b.safetensors
    python -m adv train --space rse_sigmas --net my_net.py:Net \\
        --init weights.pth --out c.safetensors
    """
    from adv.cli.train_run import parse_configuration, parse_recipe_flag, train_recipe

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    epochs, seed = numbers["epochs"], numbers["seed"]
    given = {} if epochs is None else {"epochs": epochs}
    parts = {name: numbers[name] for name in ("net", "init") if numbers[name] is not None}
    if space is not None and recipe is None:
        chosen = spaces.load(space).with_parts(**parts)
        changes = {**chosen.scale, **given}
        sized = spaces.scale(scale, **changes).with_data(data, image_size)
        params = parse_configuration(chosen, pairs)
        built = sized.apply(chosen.build(**params))
        return train_recipe(built, sized, {"space": space, "params": params}, seed, out)
    if space is not None or (recipe is None and "net" not in parts):
        raise ValueError("name a --space or a --recipe, one of them, or a --net")
    if pairs:
        raise ValueError("--set belongs to --space: write the values into the recipe")
    sized = spaces.scale(scale, **given).with_data(data, image_size)
    if recipe is None:
        from adv.training.recipe import Recipe

        return train_recipe(sized.apply(Recipe(**parts)), sized, {}, seed, out)
    typed = replace(parse_recipe_flag(recipe, epochs), **parts)
    return train_recipe(typed, sized, {}, seed, out)
