"""Read and write checkpoints: weights as safetensors, and the metadata to rebuild the net from.

The metadata is JSON in the header of the file, under the key "card". It holds the recipe as an
expression (`adv.checkpoints.expressions`), or a search space and its parameters; the net is built
from these. Nothing is unpickled. A checksum in the metadata covers all of it, so a damaged file is
refused wherever it is read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from adv.checkpoints.checksum import add_checksum, pop_checksum
from adv.checkpoints.expressions import parse, to_expression
from adv.external import External
from adv.external.foreign_net import foreign_parts
from adv.files import write_atomic
from adv.one_line import join_lines, to_one_line
from adv.runtime.image_shape import image_shape
from adv.shape import DEFAULT_SHAPE, MAX_SIDE, Shape
from adv.training.recipe import Recipe, build


class CheckpointError(ValueError):
    """A checkpoint cannot be used; the message says why in one line."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A net on the CPU with its recipe, the names of its classes by label, and its metadata."""

    net: nn.Module
    recipe: Recipe
    classes: tuple[str, ...]
    metadata: Mapping[str, Any]

    @property
    def card(self) -> Mapping[str, Any]:
        """The metadata, under the name that it has in the file."""
        return self.metadata


def save(
    path: Path | str, net: nn.Module, recipe: Recipe, *, classes: Sequence[str], **notes: Any
) -> None:
    """Write a net and its recipe to a checkpoint, for `restore` and `python -m adv`.

    Args:
      path: NAME.safetensors; an existing file is replaced, whole or not at all.
      net: the net that `train` made from the recipe.
      recipe: the recipe, which may hold values of `adv` only; a net of yours is an `External`.
      classes: the names of the classes by label, as in `Data.classes`.
      notes: further metadata that JSON can hold. Under `data`, the name of the data set that the
        command line evaluates on by default. `sha256` is the program's own.

    Raises:
      ValueError: the recipe holds a class that is not one of `adv`, or the weights of the net do
        not fit the recipe.
      OSError: the file cannot be written.
    """
    metadata = {"seed": 0, **notes, "recipe": to_expression(recipe), "classes": list(classes)}
    load_weights(build(recipe, len(classes), 0, image_shape(net)), net.state_dict())
    save_checkpoint(Path(path), net, metadata)


def restore(path: Path | str, *, trust_code: bool = False) -> Checkpoint:
    """Return the net that `save`, a search or `python -m adv train` wrote.

    Args:
      path: the checkpoint.
      trust_code: run the code that the checkpoint names, if its net is an `External`. If that has
        changed since the net was saved, a warning says so.

    Raises:
      CheckpointError: no such file, not a checkpoint of this program, or no recipe in it; or its
        net is made by code that it names, and `trust_code` is not set.
    """
    weights, metadata = read_checkpoint(Path(path))
    if "recipe" not in metadata:
        raise CheckpointError(f"{path} holds no recipe: name one, or use python -m adv")
    return rebuild(path, weights, metadata, parse_recipe(metadata), trust_code=trust_code)


def parse_recipe(metadata: Mapping[str, Any]) -> Recipe:
    """Return the recipe that the metadata holds as an expression.

    Raises:
      CheckpointError: there is no such expression, or it is not that of a recipe.
    """
    try:
        recipe = parse(metadata["recipe"])
    except (ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"the recipe in the metadata cannot be read: {error}") from error
    if not isinstance(recipe, Recipe):
        raise CheckpointError("the metadata holds something other than a recipe")
    return recipe


def rebuild(
    path: Path | str,
    weights: Mapping[str, Tensor],
    metadata: Mapping[str, Any],
    recipe: Recipe,
    *,
    trust_code: bool = False,
) -> Checkpoint:
    """Build the net of `recipe` and load the weights into it.

    Raises:
      CheckpointError: the weights do not fit or are not finite, the metadata lacks the classes or
        the seed, or the recipe names code and `trust_code` is not set.
    """
    if isinstance(recipe.net, External) and not trust_code:
        raise CheckpointError(
            f"{path} names code, {recipe.net.source}, which is run only if you trust it: "
            "--trust-code, in Python trust_code=True"
        )
    check_finite(path, weights)
    try:
        classes = tuple(to_one_line(str(name)) for name in metadata["classes"])
        if not classes:
            raise CheckpointError(f"{path}: its metadata name no class")
        net = build(recipe, len(classes), int(metadata["seed"]), shape_of(metadata))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata does not say how it was made") from error
    except (ArithmeticError, RuntimeError, MemoryError) as error:
        reason = join_lines(f"{type(error).__name__}: {error}", 200)
        raise CheckpointError(f"{path}: its net cannot be built: {reason}") from error
    recorded = metadata.get("source_sha256")
    if recorded and recorded != describe_source(net).get("source_sha256"):
        warnings.warn(
            f"{path}: the source of {_source_name(recipe)} has changed since the net was saved",
            stacklevel=2,
        )
    return Checkpoint(load_weights(net, weights), recipe, classes, metadata)


def shape_of(metadata: Mapping[str, Any]) -> Shape:
    """Return the shape of the images of a net, 3x32x32 if its metadata do not say.

    Raises:
      CheckpointError: it is not a shape of images.
    """
    shape = metadata.get("shape", DEFAULT_SHAPE)
    numbers = shape if isinstance(shape, list | tuple) else ()
    whole = [n for n in numbers if isinstance(n, int) and 1 <= n <= MAX_SIDE]
    if len(whole) != 3 or len(numbers) != 3:
        raise CheckpointError("the shape of images in the metadata is not one")
    channels, height, width = whole
    return channels, height, width


def _source_name(recipe: Recipe) -> str:
    return recipe.net.source if isinstance(recipe.net, External) else "its net"


def describe_source(net: nn.Module) -> dict[str, str]:
    """Return what metadata say about the code of a net of another project; nothing for our nets."""
    hashes = [part.hash_source() for part in foreign_parts(net)]
    return {"source_sha256": hashes[0]} if hashes and hashes[0] else {}


def save_checkpoint(path: Path, net: nn.Module, metadata: Mapping[str, Any]) -> str:
    """Write the weights and the metadata of a net with its image shape, whole or not at all.

    Returns:
      The SHA-256 of the file, 64 hex digits.

    Raises:
      OSError: the file cannot be written; an earlier one at `path` is unchanged.
    """
    if (shape := image_shape(net)) != DEFAULT_SHAPE:
        metadata = {**metadata, "shape": list(shape)}
    content = serialize_checkpoint(net.state_dict(), {**metadata, **describe_source(net)})
    write_atomic(path, content)
    return hashlib.sha256(content).hexdigest()


def serialize_checkpoint(weights: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint: weights and metadata, with a checksum of both."""
    values = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    return serialize(values, metadata={"card": json.dumps(add_checksum(values, metadata))})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights and the metadata of a checkpoint.

    Raises:
      CheckpointError: no such file, it is not a checkpoint of this program, or it does not fit its
        checksum.
    """
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {})["card"])
            _check_types(metadata)
            names = file.keys()  # a `safe_open` itself cannot be iterated
            weights = {name: file.get_tensor(name) for name in names}
            whole = pop_checksum(weights, metadata)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path} is damaged or not a checkpoint of this program") from error
    if not whole:
        raise CheckpointError(
            f"{path} does not fit its checksum: it is damaged, or another program has changed it"
        )
    return weights, metadata


def _check_types(metadata: object) -> None:
    """Raise TypeError unless metadata are a dictionary, with entries of the right types."""
    types = {"space": str, "data": str, "params": dict, "scale": dict}
    if not isinstance(metadata, dict):
        raise TypeError("no dictionary")
    if wrong := [k for k, kind in types.items() if not isinstance(metadata.get(k, kind()), kind)]:
        raise TypeError(", ".join(wrong))


def check_finite(path: Path | str, weights: Mapping[str, Tensor]) -> None:
    """Raise CheckpointError if a tensor that was read from `path` is not finite."""
    for name, value in weights.items():
        narrow = value.is_floating_point() and value.itemsize == 1  # these have no `isfinite`
        if not (value.float() if narrow else value).isfinite().all():
            raise CheckpointError(
                f"{path}: {name} is not finite: the file is damaged, or the training diverged"
            )


def load_weights(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Load the weights into a net and return it.

    Raises:
      CheckpointError: they belong to another net.
    """
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"these weights belong to another net: {first}") from error
    return net
