"""What `python -m adv` does once it knows what is wanted: train, attack, save, show."""

from __future__ import annotations

import difflib
import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from torch import nn

from adv.attacks import FGSM, L2, PGD, Attack, Linf, restarts
from adv.checkpoint import default_device, save_checkpoint, write_whole
from adv.data import Split, load
from adv.evaluation import evaluate
from adv.interval import wilson
from adv.randomness import is_random
from adv.recipe import Recipe
from adv.score import Score
from adv.sizes import SHOWN, name_of, size_of
from adv.subject import Subject
from adv.training import train
from adv.votes import Votes


def train_one(recipe: Recipe, scale: Any, card: Mapping[str, Any], seed: int, out: Path) -> None:
    """Train a recipe on the data of a scale and keep its best epoch in `out`.

    `card` says which point of which space the recipe is.
    """
    data = load(scale.data)
    watched = data.validation.tail(scale.watch_images)
    images = data.train.head(scale.train_images or len(data.train))
    card = {
        **card,
        "recipe": repr(recipe),
        "seed": seed,
        "scale": asdict(scale),
        "data": scale.data,
        "classes": list(data.classes),
    }
    best = (-1.0, -1.0)
    for epoch in train(
        recipe, images, classes=len(data.classes), seed=seed, device=default_device()
    ):
        score = evaluate(epoch.net, watched, scale.watch())
        if kept := score.rank >= best:
            best = score.rank
            save_checkpoint(out, epoch.net, {**card, "epoch": epoch.number})
        click.echo(
            f"epoch {epoch.number}/{epoch.total}  loss {epoch.metrics['loss']:.3f}  "
            f"watched: natural {100 * score.natural_accuracy:.1f} %  "
            f"attacked {100 * score.mean:.1f} %  {epoch.seconds:.1f} s{'  kept' if kept else ''}"
        )
    click.echo(f"\n{out}\njudge it: python -m adv evaluate {out}")


def made_attack(settings: Mapping[str, Any]) -> Attack:
    """The attack that the flags describe; raises ValueError for an unknown name."""
    balls = {"linf": Linf, "l2": L2}
    ball = balls[_one_of("--norm", settings["norm"], balls)](settings["eps"])
    kind = _one_of("--attack", settings["attack"], ("pgd", "fgsm"))
    one = FGSM(ball) if kind == "fgsm" else PGD(ball, settings["steps"], settings["step"])
    return restarts(one, settings["restarts"]) if settings["restarts"] > 1 else one


def save_images(path: Path, net: nn.Module, part: Split, made: Attack, draws: int) -> None:
    """Write `clean`, `adversarial` (float32 in [0, 1]) and `label` as one .npz."""
    device = next(net.parameters()).device
    x, y = part.images.to(device).float() / 255, part.labels.to(device)
    target = Votes(net, draws) if is_random(net) else net
    adv_x = torch.cat([made(target, x[i : i + 256], y[i : i + 256]) for i in range(0, len(x), 256)])
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, clean=x.cpu().numpy(), adversarial=adv_x.cpu().numpy(), label=y.cpu().numpy()
    )
    write_whole(path, buffer.getvalue())
    click.echo(f"\nimages   {path}")


def show(score: Score, subject: Subject) -> None:
    """Print what an evaluation found, smaller balls first, then in the battery's order."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(subject.title, markup=False)
    how = (
        f"{score.draws} draws a gradient, {score.votes} votes" if score.votes > 1 else "not random"
    )
    console.print(f"{score.images} {subject.split} images, 95 % Wilson intervals, {how}\n")
    table = Table(box=None)
    for column in ("attack", "eps", "accuracy", "interval"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    rows = [(score.names[i], score.eps[i], score.attacked_accuracies[i]) for i in score.order]
    for name, eps, share in [("none", 0.0, score.natural_accuracy), *rows]:
        table.add_row(escape(name), f"{eps:.4g}", f"{100 * share:.1f} %", _between(score, share))
    console.print(table)
    if len(set(score.eps)) > 1:
        low, high = score.attacked_interval
        console.print(f"\naggregated attacked score  {score.attacked_score:.1f} "
                      f"({low:.1f} to {high:.1f}), of {100 * len(score.names)}")  # fmt: skip
        console.print(f"mean {100 * score.mean:.1f} %, worst case {100 * score.worst:.1f} %, "
                      f"area under the curve {100 * score.area:.1f} %")  # fmt: skip
    elif len(score.names) > 1:
        console.print(f"\nstands against all of them  {100 * score.worst:.1f} % "
                      f"({_between(score, score.worst)})")  # fmt: skip


def _between(score: Score, share: float) -> str:
    low, high = wilson(share, score.images)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def show_models() -> None:
    """Print each net with its size; several where its settings decide the size."""
    table = Table(box=None)
    for column in ("net", "parameters", "multiply-adds an image"):
        table.add_column(column, justify="left" if column == "net" else "right")
    for net in SHOWN:
        size = size_of(net)
        table.add_row(name_of(net), f"{size.parameters:,}", f"{size.multiply_adds / 1e6:,.1f} M")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        "\nTen classes, images of 3x32x32. Each takes activation (relu, gelu, silu) and dropout; "
        "WRN also se."
    )


def point(space: Any, pairs: tuple[str, ...]) -> dict[str, Any]:
    """The point that `KNOB=VALUE` pairs name; what is left out is as in the first known point."""
    given: dict[str, str] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or name not in space.knobs:
            near = difflib.get_close_matches(name, space.knobs, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise ValueError(f"--set {pair}: {hint}The knobs are {', '.join(space.knobs)}")
        given[name] = text
    params: dict[str, Any] = {}
    for name, knob in space.knobs.items():
        if name not in dict(space.active(params)):
            continue
        if name in given:
            params[name] = knob.parse(given[name])
        elif usual := [known[name] for known in space.known if name in known]:
            params[name] = usual[0]
        else:
            raise ValueError(f"--set {name}=VALUE is missing: {knob}")
    space.check({**params, **{k: v for k, v in given.items() if k not in params}})
    return params


def _one_of(flag: str, name: str, allowed: Any) -> str:
    if name not in allowed:
        near = difflib.get_close_matches(name, allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"{flag} {name!r}: {hint}There are: {', '.join(allowed)}")
    return name
