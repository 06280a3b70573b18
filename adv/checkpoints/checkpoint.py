"""Weights as safetensors, with the card that says how the net is made again.

A net is re-made from its recipe, which the card holds as an expression (`adv.checkpoints.expressions`), or from
its space and its point, never from a dumped object: nothing here unpickles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as packed
from torch import Tensor, nn

from adv.checkpoints.expressions import read, written
from adv.files import write_atomic
from adv.training.recipe import Recipe, build


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, said in one line."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file held: a net on the CPU, its recipe, the names of its classes, and the card."""

    net: nn.Module
    recipe: Recipe
    classes: tuple[str, ...]
    card: Mapping[str, Any]


def save(
    path: Path | str, net: nn.Module, recipe: Recipe, *, classes: Sequence[str], **notes: Any
) -> None:
    """Write a net with its recipe, for `restore` and for `python -m adv`.

    Args:
      path: NAME.safetensors; a file that is there is replaced, whole or not at all.
      net: what `train` made of the recipe.
      recipe: the recipe, made of values of `adv` only.
      classes: their names, by label, as in `Data.classes`.
      notes: plain data for the card; `data`, the name of a data set, is the command line's default.

    Raises:
      ValueError: the recipe holds a class of your own, or the net is not what it makes.
    """
    card = {"seed": 0, **notes, "recipe": written(recipe), "classes": list(classes)}
    load_weights(build(recipe, len(classes), 0), net.state_dict())
    save_checkpoint(Path(path), net, card)


def restore(path: Path | str) -> Checkpoint:
    """The net that `save`, a search or `python -m adv train` wrote.

    Raises:
      CheckpointError: no such file, not one of ours, or its card holds no recipe.
    """
    weights, card = read_checkpoint(Path(path))
    if "recipe" not in card:
        raise CheckpointError(f"{path} holds no recipe: name one, or use python -m adv")
    return remade(path, weights, card, recipe_in(card))


def recipe_in(card: Mapping[str, Any]) -> Recipe:
    """The recipe that a card holds as an expression.

    Raises:
      CheckpointError: it is not a recipe.
    """
    try:
        recipe = read(card["recipe"])
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"the recipe in the card cannot be read: {error}") from error
    if not isinstance(recipe, Recipe):
        raise CheckpointError("the card holds something else than a recipe")
    return recipe


def remade(
    path: Path | str, weights: Mapping[str, Tensor], card: Mapping[str, Any], recipe: Recipe
) -> Checkpoint:
    """The net of `recipe` with these weights.

    Raises:
      CheckpointError: the weights do not fit, or are not finite.
    """
    check_finite(path, weights)
    try:
        classes = tuple(str(name) for name in card["classes"])
        net = build(recipe, len(classes), int(card["seed"]))
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its card does not say how it was made") from error
    return Checkpoint(load_weights(net, weights), recipe, classes, card)


def save_checkpoint(path: Path, net: nn.Module, card: Mapping[str, Any]) -> None:
    """Write the weights and the card, whole or not at all."""
    weights = {k: v.detach().cpu().contiguous() for k, v in net.state_dict().items()}
    write_atomic(path, packed(weights, metadata={"card": json.dumps(card)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the card of a checkpoint.

    Raises:
      CheckpointError: no such file, or it is not one of ours.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            card = json.loads((file.metadata() or {})["card"])
            return {name: file.get_tensor(name) for name in file.keys()}, card  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of this program") from error


def check_finite(path: Path | str, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError where a tensor that was read from `path` is not finite."""
    for name, value in weights.items():
        if not value.isfinite().all():
            raise CheckpointError(f"{path}: {name} is not finite: damaged, or a training diverged")


def load_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Put the weights into a net.

    Raises:
      CheckpointError: they belong to another net.
    """
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"these weights belong to another net: {first}") from error
    return net
