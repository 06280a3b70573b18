"""Load what the command line evaluates: a net from a checkpoint or a user's file, and images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

import spaces
from adv.attacks.gradient import loss_and_grad
from adv.checkpoints.checkpoint import (
    Checkpoint,
    CheckpointError,
    parse_recipe,
    read_checkpoint,
    rebuild,
)
from adv.cli.target_args import TargetArgs
from adv.data.datasets import Data, Split, load
from adv.data.names import DATA_HELP, check_run
from adv.external import External, Weights
from adv.external.foreign_net import foreign_parts
from adv.net_flags import make_external, print_warnings
from adv.runtime.devices import device_of, on_device
from adv.runtime.frozen import frozen
from adv.runtime.image_shape import image_shape
from adv.shape import Shape, format_shape
from adv.terminal.console import print_line
from adv.training.recipe import Recipe, build


@dataclass(frozen=True, eq=False)
class Target:
    """A net on the best device and the images to evaluate it on.

    `split` holds the images and `split_name` is "validation" or "test"; `title` describes the net
    in one line; `classes` is their number and `class_names` their names.
    """

    net: nn.Module
    split: Split
    split_name: str
    title: str
    classes: int
    class_names: tuple[str, ...] = ()


def load_target(args: TargetArgs, *, gradient: bool = False) -> Target:
    """Load the net and the images that the command line names.

    Args:
      args: the net and the images.
      gradient: refuse a user's module that passes no gradient to its images.

    Raises:
      ValueError: the arguments do not fit together, or a file or the net cannot be used.
    """
    if args.net is not None and args.checkpoint is None:
        external = make_external(args.net, args.net_arg, args.mean, args.std)
        assert external is not None
        return _from_external(args, external, gradient)
    if args.checkpoint is None or args.net is not None:
        raise ValueError("name a CHECKPOINT, or --net FILE.py:NAME")
    for name in ("net_arg", "mean", "std", "weights", "weights_key", "random"):
        if getattr(args, name):
            flag = f"--{name.replace('_', '-')}"
            raise ValueError(f"{flag} belongs to --net: a checkpoint holds its own")
    return _from_checkpoint(args, args.checkpoint)


def load_checkpoint(path: Path, *, trust_code: bool = False) -> Checkpoint:
    """Load the checkpoint at `path`, whether its recipe is stored or made by its space.

    Args:
      path: the checkpoint.
      trust_code: run the code that it names, if its net is one of another project.

    Raises:
      CheckpointError: there is none, or its metadata does not say how to rebuild the net; or it
        names code, and `trust_code` is not set.
    """
    weights, metadata = read_checkpoint(path)
    try:
        recipe = _recipe(metadata)
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{path}: its metadata does not say how it was made") from error
    with print_warnings():
        return rebuild(path, weights, metadata, recipe, trust_code=trust_code)


def _recipe(metadata: Mapping[str, Any]) -> Recipe:
    """Return the recipe in a checkpoint's metadata, else the one that its space builds.

    A user's space may build recipes with the user's own nets, which cannot be read from metadata.
    """
    try:
        return parse_recipe(metadata)
    except (KeyError, CheckpointError):
        if "space" not in metadata:
            raise
    scale = spaces.Scale(**metadata["scale"])
    return scale.apply(spaces.load_any(metadata["space"]).build(**metadata["params"]))


def _from_checkpoint(args: TargetArgs, path: Path) -> Target:
    loaded = load_checkpoint(path, trust_code=args.trust_code)
    name = args.data or loaded.metadata.get("data")
    if name is None:
        raise ValueError(f"--data is missing: {path} does not name the data it was trained on")
    if args.data is None and not args.trust_code:
        check_run(name, str(path))
    data = load(name, image_size=args.image_size or format_shape(image_shape(loaded.net)))
    _print_notes(data)
    _check_shape(data, image_shape(loaded.net), str(path))
    if data.classes != loaded.classes:
        raise ValueError(
            f"{path} has {len(loaded.classes)} classes, which are not those of {data.name}"
        )
    return Target(
        on_device(loaded.net),
        _images(args, data),
        args.split,
        f"{path}  {_describe(loaded.metadata, loaded.recipe)}",
        len(loaded.classes),
        loaded.classes,
    )


def _print_notes(data: Data) -> None:
    """Say what was done to the images or the splits."""
    for note in data.notes:
        print_line(f"adv: data: {note}", stderr=True)


def _check_shape(data: Data, shape: Shape, net: str) -> None:
    """Raise ValueError unless the images have the shape that the net takes."""
    if data.shape != shape:
        raise ValueError(
            f"{net} takes images of {format_shape(shape)}, and {data.name} has "
            f"{format_shape(data.shape)}: --image-size {format_shape(shape)} resizes them"
        )


def _from_external(args: TargetArgs, external: External, gradient: bool) -> Target:
    if args.data is None:
        raise ValueError(f"--net needs --data: {DATA_HELP}")
    if args.weights_key is not None and args.weights is None:
        raise ValueError("--weights-key belongs to --weights")
    data = load(args.data, image_size=args.image_size or "")
    _print_notes(data)
    images = _images(args, data)
    with print_warnings():
        net = build(Recipe(net=external), len(data.classes), 0, data.shape)
        if args.weights is not None:
            Weights(str(args.weights), args.weights_key).load(net, len(data.classes))
        net = on_device(net)
        if gradient:
            _check_gradient(net, images.head(8))
    for part in foreign_parts(net):
        if part.stochastic and not args.random:
            print_line("adv: two calls of the net differ: evaluated as a random net", stderr=True)
        part.stochastic |= args.random
    title = f"{args.net}  {args.weights or ''}".rstrip()
    return Target(net, images, args.split, title, len(data.classes), data.classes)


def _check_gradient(net: nn.Module, few: Split) -> None:
    """Raise ValueError if a net passes no gradient to a few images."""
    few = few.to(device_of(net))
    with frozen(net), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that a quantised layer has no gradient
        loss_and_grad(net, few.images.float() / 255, few.labels)


def _describe(metadata: Mapping[str, Any], recipe: Recipe) -> str:
    """Return the space and the hyperparameters of a net, or else its net and defences."""
    if "space" in metadata and "params" in metadata:
        net = f" {recipe.net.source}" if isinstance(recipe.net, External) else ""
        return f"{metadata['space']}{net} {format_params(metadata['params'])}".rstrip()
    return " ".join(map(repr, (recipe.net, *recipe.defences)))


def format_params(params: Mapping[str, Any]) -> str:
    """Return hyperparameters as `name=value` pairs, separated by spaces."""
    texts = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in params.items()}
    return " ".join(f"{k}={v}" for k, v in texts.items())


def _images(args: TargetArgs, data: Data) -> Split:
    split: Split = getattr(data, args.split)
    return split.head(args.images or len(split))
