"""Train one recipe and keep its best epoch: `python -m adv train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from adv.checkpoints.checkpoint import save_checkpoint
from adv.checkpoints.expressions import parse
from adv.cli.display import training_progress
from adv.data.datasets import load
from adv.external import External
from adv.files import check_writable
from adv.net_flags import already_said, print_warnings
from adv.runtime.devices import default_device
from adv.shell import join_command
from adv.suggestions import suggest_or_list
from adv.terminal.console import print_line, print_sentence
from adv.training.early_stopping import watch
from adv.training.loop import train
from adv.training.recipe import Recipe
from adv.training.rehearsal import rehearse
from spaces import Params, Scale, Space


def train_recipe(
    recipe: Recipe, scale: Scale, origin: Mapping[str, Any], seed: int, out: Path
) -> None:
    """Train a recipe on a scale's data and save its best epoch to `out`.

    Args:
      recipe: the recipe.
      scale: its data and how each epoch is validated.
      origin: what the metadata say beside the recipe: the space and the configuration, or nothing.
      seed: of the training.
      out: the checkpoint.
    """
    check_writable(out)
    data = load(scale.data, image_size=scale.image_size)
    for note in data.notes:
        print_sentence(f"data: {note}")
    held_out = data.validation.tail(scale.watch_images)
    images = data.train.head(scale.train_images or len(data.train))
    metadata = {
        **origin,
        "recipe": repr(recipe),
        "seed": seed,
        "scale": asdict(scale),
        "data": scale.data,
        "classes": list(data.classes),
    }
    with print_warnings():
        rehearse(recipe, len(data.classes), data.shape)
    epochs = train(recipe, images, classes=len(data.classes), seed=seed, device=default_device())
    with already_said(), training_progress(recipe.epochs) as print_epoch:
        for seen in watch(epochs, held_out, scale.watch(), patience=recipe.patience):
            epoch = seen.epoch
            if seen.is_best:
                save_checkpoint(out, epoch.net, {**metadata, "epoch": epoch.number})
            print_epoch(epoch, seen.score, seen.is_best)
    if epoch.number < epoch.total:
        print_sentence(
            f"\nstopped early after {epoch.number} of {epoch.total} epochs: no improvement"
        )
    trust = ["--trust-code"] if isinstance(recipe.net, External) else []
    command = join_command("python", "-m", "adv", "evaluate", out, *trust)
    print_line(f"\n{out}\nevaluate it: {command}")


def parse_recipe_flag(text: str, epochs: int | None) -> Recipe:
    """Return the recipe that an expression describes, for `epochs` epochs if they are given.

    Raises:
      ValueError: the expression is not a recipe.
    """
    recipe = parse(text)
    if not isinstance(recipe, Recipe):
        raise ValueError(f"--recipe is a Recipe(...), not a {type(recipe).__name__}")
    return recipe if epochs is None else replace(recipe, epochs=epochs)


def parse_configuration(space: Space, pairs: Sequence[str]) -> Params:
    """Return the configuration of a space that `NAME=VALUE` pairs describe.

    A hyperparameter that is left out has the value of the first known configuration that has it.

    Raises:
      ValueError: an unknown name, a value out of range, or one that is missing.
    """
    given: dict[str, str] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in space.knobs:
            raise ValueError(f"--set {pair}{suggest_or_list(name, space.knobs)}")
        given[name] = text
    params: dict[str, Any] = {}
    for name, knob in space.knobs.items():
        if name not in dict(space.active(params)):
            continue
        if name in given:
            params[name] = knob.parse(given[name])
        elif defaults := [known[name] for known in space.known if name in known]:
            params[name] = defaults[0]
        else:
            raise ValueError(f"--set {name}=VALUE is missing: {knob}")
    space.check({**params, **{k: v for k, v in given.items() if k not in params}})
    return params
