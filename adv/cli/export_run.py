"""Export a checkpoint: `python -m adv export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import spaces
from adv.checkpoints.checkpoint import CheckpointError, parse_recipe, read_checkpoint, shape_of
from adv.cli.target import load_checkpoint
from adv.data.datasets import load
from adv.data.names import check_run
from adv.exporting.course_template import export
from adv.exporting.graph_files import CHECKED, export_graph
from adv.external import External, Weights
from adv.shape import format_shape
from adv.shell import join_command
from adv.terminal.console import print_line
from adv.training.recipe import Recipe


def export_folder(path: Path, out: Path, *, votes: int, trust_code: bool) -> None:
    """Write a checkpoint as a folder of the course template.

    Raises:
      ValueError: it cannot be read or exported; nothing is written.
    """
    export(load_checkpoint(path, trust_code=trust_code), out, votes=votes)
    print_line(f"{out}\ntest it: python test_project.py {out}")


def write_graph(path: Path, out: Path, *, trust_code: bool) -> None:
    """Write a checkpoint as a graph, compared with the net on images of the data it names.

    Raises:
      ValueError: it cannot be read or exported; nothing is written.
    """
    loaded = load_checkpoint(path, trust_code=trust_code)
    images = _find_images(loaded.metadata)
    check = export_graph(loaded, out, images)
    kind = "noise" if images is None else str(loaded.metadata["data"])
    print_line(f"{out}\n{check.describe()} ({kind})")


def _find_images(metadata: Mapping[str, Any]) -> Tensor | None:
    """Return validation images of the data that a checkpoint names, None if it is not here."""
    shape = shape_of(metadata)
    try:
        data = load(str(metadata["data"]), image_size=format_shape(shape))
    except (KeyError, ValueError, OSError):
        return None
    return data.validation.head(CHECKED).images.float() / 255


def print_full_scale(path: Path) -> None:
    """Print the command that trains the recipe of a checkpoint at full scale.

    Raises:
      ValueError: the checkpoint cannot be read, or does not say how it was made.
    """
    words, seed = read_training(path)
    out = path.with_name(f"{path.stem}-full.safetensors").name
    command = ("python", "-m", "adv", "train", *words, "--scale", "full", "--seed", str(seed))
    print_line(join_command(*command, "--out", out))


def read_training(
    path: Path, *, trust_code: bool = True, own_data: bool = True
) -> tuple[list[str], int]:
    """Return the flags of `train` that describe how a net was trained, without its scale.

    Args:
      path: the checkpoint.
      trust_code: allow flags that name code of another project: a net, or a function as data.
      own_data: whether the data of the checkpoint are used.

    Returns:
      The flags of its recipe and its data, and its seed.

    Raises:
      ValueError: the checkpoint cannot be read, or does not say how it was made; or it names code,
        and `trust_code` is not set.
    """
    metadata = read_checkpoint(path)[1]
    try:
        recipe = parse_recipe(metadata)
        if not trust_code:
            _check_code(path, recipe, str(metadata.get("data", "")) if own_data else "")
        words = [*_recipe_words(metadata, recipe), *_data_words(metadata)]
        return words, int(metadata.get("seed", 0))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: its metadata does not say how it was made") from error


def _check_code(path: Path, recipe: Recipe, data: str) -> None:
    """Raise ValueError if a training would run code that only the checkpoint names."""
    if isinstance(recipe.net, External):
        raise ValueError(
            f"{path}: its net is made by code, {recipe.net.source}; add --trust-code to run it"
        )
    check_run(data, str(path))


def _recipe_words(metadata: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Return the flags that describe a recipe, by its space or as an expression."""
    if "space" not in metadata or "params" not in metadata:
        return ["--recipe", repr(recipe)]
    pairs = [f"{name}={value}" for name, value in metadata["params"].items()]
    words = ["--space", metadata["space"], *(word for pair in pairs for word in ("--set", pair))]
    if not isinstance(recipe.net, External) and not isinstance(recipe.init, Weights):
        return words
    own = spaces.load_any(metadata["space"]).build(**metadata["params"])
    if isinstance(recipe.net, External) and recipe.net != own.net:
        words += _net_words(recipe.net)
    if isinstance(recipe.init, Weights) and recipe.init != own.init:
        words += ["--init", recipe.init.path]
        words += ["--init-key", recipe.init.key] if recipe.init.key else []
        words += ["--new-head"] if recipe.init.new_head else []
    return words


def _net_words(net: External) -> list[str]:
    words = ["--net", net.source]
    for name, value in net.kwargs.items():
        words += ["--net-arg", f"{name}={value!r}"]
    for flag, numbers in (("--mean", net.mean), ("--std", net.std)):
        words += [flag, ",".join(map(str, numbers))] if isinstance(numbers, tuple) else []
    return words


def _data_words(metadata: Mapping[str, Any]) -> list[str]:
    """Return the flags of the data, none if it is the default of its scale."""
    scale, name = metadata.get("scale", {}), metadata.get("data")
    usual = spaces.SCALES.get(str(scale.get("name")))
    if name is None or (usual is not None and name == usual.data):
        return []
    size = scale.get("image_size")
    return ["--data", name, *(["--image-size", size] if size else [])]
