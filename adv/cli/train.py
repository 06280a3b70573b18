"""`python -m adv train`: train one net adversarially."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import rich_click as click

import spaces
from adv.cli.target_args import DATA, IMAGE_SIZE, count
from adv.net_flags import TRUST_HELP, with_net_flags
from adv.user_code import name_file


@click.command()
@click.option(
    "--space",
    metavar="NAME|FILE.py",
    help="The search space that builds the recipe; a file is run.",
)
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
@click.option(
    "--like",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Instead of --space: train as this net was trained, at the size of --scale. The net of a "
    "space in a file needs that file too: --space FILE.py.",
)
@click.option(
    "--trust-code", is_flag=True, help=f"With --like: {TRUST_HELP[0].lower()}{TRUST_HELP[1:]}"
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
    help="Random seed. Default: 0; with --like that of the net.",
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
    scale: str,
    out: Path,
    **given: Any,
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
    python -m adv train --like runs/NAME/front/0003.safetensors \\
        --scale full --out d.safetensors
    """
    from adv.cli.train_run import parse_configuration, parse_recipe_flag, train_recipe

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    if given["like"] is not None:
        return _train_like({"space": space, "set": pairs, "recipe": recipe, **given}, scale, out)
    if given["trust_code"]:
        raise ValueError("--trust-code belongs to --like: --net names its code itself")
    epochs, seed = given["epochs"], given["seed"] or 0
    own = {} if epochs is None else {"epochs": epochs}
    parts = {name: given[name] for name in ("net", "init") if given[name] is not None}
    data = given["data"], given["image_size"]
    if space is not None and recipe is None:
        if spaces.is_file(space):
            name_file(space)
        chosen = spaces.load_any(space).with_parts(**parts)
        sized = spaces.scale(scale, **{**chosen.scale, **own}).with_data(*data)
        params = parse_configuration(chosen, pairs)
        built = sized.apply(chosen.build(**params))
        return train_recipe(built, sized, {"space": space, "params": params}, seed, out)
    if space is not None or (recipe is None and "net" not in parts):
        raise ValueError("name a --space, a --recipe, a --net, or --like CHECKPOINT: one of them")
    if pairs:
        raise ValueError("--set belongs to --space: write the values into the recipe")
    sized = spaces.scale(scale, **own).with_data(*data)
    if recipe is None:
        from adv.training.recipe import Recipe

        return train_recipe(sized.apply(Recipe(**parts)), sized, {}, seed, out)
    typed = replace(parse_recipe_flag(recipe, epochs), **parts)
    return train_recipe(typed, sized, {}, seed, out)


def _train_like(given: Mapping[str, Any], scale: str, out: Path) -> None:
    """Train as the net of a checkpoint was trained, by the command that says so."""
    for name in ("set", "recipe", "net", "init"):
        if given[name]:
            raise ValueError(f"--like has a recipe of its own: leave out --{name}")
    from adv.cli.train_like import list_flags

    asked = {name: given[name] for name in ("space", "data", "image_size", "epochs", "seed")}
    flags = list_flags(given["like"], asked, trust_code=given["trust_code"])
    train.main([*flags, "--scale", scale, "--out", str(out)], standalone_mode=False)
