"""What is judged: a net from a checkpoint or from anybody's file, and the images that it meets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rich_click as click
from torch import nn

from adv.checkpoints.checkpoint import Checkpoint, CheckpointError, read_checkpoint, rebuild
from adv.checkpoints.external_module import SelfSeeding, load_module, validate
from adv.cli.source import RecipeOf, Source
from adv.data.datasets import Data, Split, load
from adv.runtime.devices import device_of, on_device
from adv.training.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Subject:
    """A net on the best device, and the part of a data set that it is to meet.

    `title` says in one line what it is, `split` what the part is called, `classes` how many there
    are.
    """

    net: nn.Module
    part: Split
    split: str
    title: str
    classes: int


def meet(source: Source) -> Subject:
    """Bring the net and the images that the command line named.

    Raises:
      ValueError: in one line, whatever the user got wrong.
    """
    if source.module is not None and source.checkpoint is None:
        return _theirs(source, source.module)
    if source.checkpoint is None or source.module is not None:
        raise ValueError("name a CHECKPOINT, or --module FILE.py:NAME")
    for flag, given in (("--weights", source.weights), ("--random", source.random)):
        if given:
            raise ValueError(f"{flag} belongs to --module: a checkpoint holds its own")
    return _ours(source, source.checkpoint)


def opened(path: Path, recipe_of: RecipeOf) -> Checkpoint:
    """The checkpoint at `path`, made again as `recipe_of` reads its card."""
    weights, card = read_checkpoint(path)
    try:
        recipe = recipe_of(card)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: its card does not say how it was made") from error
    return rebuild(path, weights, card, recipe)


def _ours(source: Source, path: Path) -> Subject:
    kept = opened(path, source.recipe_of)
    name = source.data or kept.metadata.get("data")
    if name is None:
        raise ValueError(f"--data is missing: {path} does not say what it met")
    data = load(name)
    if data.classes != kept.classes:
        raise ValueError(f"{path} knows {len(kept.classes)} classes, {data.name} has others")
    return Subject(
        on_device(kept.net),
        _part(source, data),
        source.split,
        f"{path}  {described(kept.metadata, kept.recipe)}",
        len(kept.classes),
    )


def _theirs(source: Source, spec: str) -> Subject:
    if source.data is None:
        raise ValueError("--module needs --data: digits, cifar10, cifar100 or a folder")
    net = on_device(load_module(spec, source.weights))
    data = load(source.data)
    part = _part(source, data)
    few = part.head(8).to(device_of(net)).images.float() / 255
    net = validate(net, few, len(data.classes), source.random)
    if isinstance(net, SelfSeeding) and not source.random:
        click.echo("adv: two calls of the module differ: judged as a random net", err=True)
    title = f"{spec}  {source.weights or ''}".rstrip()
    return Subject(net, part, source.split, title, len(data.classes))


def described(card: Mapping[str, Any], recipe: Recipe) -> str:
    """What a checkpoint is in a few words: its point of its space, or its net and defences."""
    if "space" in card and "params" in card:
        return f"{card['space']} {knobs(card['params'])}".rstrip()
    return " ".join(map(repr, (recipe.net, *recipe.defences)))


def knobs(params: Mapping[str, Any]) -> str:
    """`name=value` pairs."""
    shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in params.items()}
    return " ".join(f"{k}={v}" for k, v in shown.items())


def _part(source: Source, data: Data) -> Split:
    part: Split = getattr(data, source.split)
    return part.head(source.images or len(part))
