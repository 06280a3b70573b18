"""`python -m adv train|evaluate|attack`: one net at a time, without a search.

A recipe is named by a space and its parameters; names of spaces are known here, at the edge, only.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from torch import nn

    from adv import Attack, Data, Score, Split

click.rich_click.TEXT_MARKUP = "rich"
COUNT = click.IntRange(min=1)
_DATA = "digits, cifar10, cifar100 or a folder with train/<class>/* and test/<class>/*."


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def adv() -> None:
    """Train one robust net, attack it, judge it.

    The recipe comes from a space and values for its knobs, the net from a checkpoint.
    """


@adv.command()
@click.option("--space", required=True, metavar="NAME", help="The space that makes the recipe.")
@click.option(
    "--set",
    "points",
    multiple=True,
    metavar="KNOB=VALUE",
    help="A knob's value; one for each knob.",
)
@click.option("--data", metavar="NAME", help=f"{_DATA} Default: the scale's.")
@click.option("--scale", default="laptop", show_default=True, help="laptop or full.")
@click.option("--epochs", type=COUNT, help="Default: the scale's.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="The checkpoint, NAME.safetensors.",
)
def train(
    space: str,
    points: tuple[str, ...],
    data: str | None,
    scale: str,
    epochs: int | None,
    seed: int,
    out: Path,
) -> None:
    """Train a net adversarially and keep its best epoch.

    python -m adv train --space rse_sigmas --set sigma_init=0.2 --out rse.safetensors
    """
    import spaces

    if out.exists():
        raise ValueError(f"{out} exists: name another file")
    chosen = spaces.load(space)
    changes = {**chosen.scale, **({"epochs": epochs} if epochs else {})}
    changes |= {"data": data} if data else {}
    sized = spaces.scale(scale, **changes)
    params = _point(chosen, points)
    _train(space, sized, params, seed, out)


def _train(space: str, scale: Any, params: Mapping[str, Any], seed: int, out: Path) -> None:
    import spaces
    from adv import evaluate
    from adv import train as epochs_of
    from adv.checkpoint import default_device, save_checkpoint

    recipe = scale.apply(spaces.load(space).build(**params))
    data = _load(scale.data)
    watched = data.validation.tail(scale.watch_images)
    images = data.train.head(scale.train_images or len(data.train))
    card = {
        "space": space,
        "params": dict(params),
        "seed": seed,
        "scale": _plain(scale),
        "data": scale.data,
        "classes": list(data.classes),
    }
    best = (-1.0, -1.0)
    for epoch in epochs_of(
        recipe, images, classes=len(data.classes), seed=seed, device=default_device()
    ):
        score = evaluate(epoch.net, watched, scale.watch())
        rank = (score.mean, score.natural_accuracy)
        if kept := rank >= best:
            best = rank
            save_checkpoint(out, epoch.net, {**card, "epoch": epoch.number})
        click.echo(
            f"epoch {epoch.number}/{epoch.total}  loss {epoch.metrics['loss']:.3f}  "
            f"watched: natural {100 * score.natural_accuracy:.1f} %  "
            f"attacked {100 * score.mean:.1f} %  {epoch.seconds:.1f} s{'  kept' if kept else ''}"
        )
    click.echo(f"\n{out}\njudge it: python -m adv evaluate {out}")


_checkpoint = click.argument("checkpoint", type=click.Path(path_type=Path))
_data = click.option("--data", metavar="NAME", help=f"{_DATA} Default: what it was trained on.")
_split = click.option(
    "--split",
    type=click.Choice(["validation", "test"]),
    default="validation",
    show_default=True,
    help="The test split is for final figures.",
)
_images = click.option("--images", type=COUNT, help="How many. Default: all of the split.")


@adv.command()
@_checkpoint
@_data
@_split
@_images
@click.option("--steps", type=COUNT, default=20, show_default=True, help="Of each PGD.")
@click.option("--draws", type=COUNT, default=5, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
def evaluate(
    checkpoint: Path,
    data: str | None,
    split: str,
    images: int | None,
    steps: int,
    draws: int,
    votes: int,
) -> None:
    """Judge a checkpoint by the report's battery: six PGD points from eps 0.01 to 0.1.

    python -m adv evaluate runs/NAME/front/0003.safetensors --split test
    """
    from adv import evaluate as judge
    from adv import report_battery

    net, card, part = _restore(checkpoint, data, split, images)
    _show(judge(net, part, report_battery(steps, draws, votes)), checkpoint, card, split)


@adv.command()
@_checkpoint
@_data
@_split
@_images
@click.option("--attack", default="pgd", show_default=True, metavar="pgd|fgsm")
@click.option("--norm", default="linf", show_default=True, metavar="linf|l2")
@click.option(
    "--eps", type=click.FloatRange(min=0), default=8 / 255, help="Radius. Default: 8/255."
)
@click.option("--steps", type=COUNT, default=20, show_default=True)
@click.option("--step", type=click.FloatRange(min=0, min_open=True), help="Default: eps / 4.")
@click.option("--restarts", type=COUNT, default=1, show_default=True)
@click.option("--draws", type=COUNT, default=20, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
@click.option(
    "--save", type=click.Path(path_type=Path), help="Write clean and adversarial images, .npz."
)
def attack(
    checkpoint: Path,
    data: str | None,
    split: str,
    images: int | None,
    save: Path | None,
    **settings: Any,
) -> None:
    """Attack a checkpoint with one attack.

    python -m adv attack runs/NAME/front/0003.safetensors --norm l2 --eps 0.5 --restarts 5
    """
    from adv import Battery
    from adv import evaluate as judge

    made = _attack(settings)
    if save is not None and save.exists():
        raise ValueError(f"{save} exists: name another file")
    net, card, part = _restore(checkpoint, data, split, images)
    name = f"{settings['attack']}-{settings['norm']}-{settings['eps']:.4g}"
    battery = Battery(((name, made),), draws=settings["draws"], votes=settings["votes"])
    _show(judge(net, part, battery), checkpoint, card, split)
    if save is not None:
        _save(save, net, part, made, settings["draws"])


def _attack(settings: Mapping[str, Any]) -> Attack:
    from adv import FGSM, L2, PGD, Linf, restarts

    balls = {"linf": Linf, "l2": L2}
    ball = balls[_one_of("--norm", settings["norm"], balls)](settings["eps"])
    kind = _one_of("--attack", settings["attack"], ("pgd", "fgsm"))
    one = FGSM(ball) if kind == "fgsm" else PGD(ball, settings["steps"], settings["step"])
    return restarts(one, settings["restarts"]) if settings["restarts"] > 1 else one


def _save(path: Path, net: nn.Module, part: Split, made: Attack, draws: int) -> None:
    import io

    import numpy as np
    import torch

    from adv import Votes, is_random
    from adv.checkpoint import write_whole

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


def _restore(
    checkpoint: Path, data: str | None, split: str, images: int | None
) -> tuple[nn.Module, dict[str, Any], Split]:
    """The net of a checkpoint on the best device, its card, and the images to meet."""
    import torch

    import spaces
    from adv import build
    from adv.checkpoint import CheckpointError, default_device, load_weights, read_checkpoint

    weights, card = read_checkpoint(checkpoint)
    try:
        scale = spaces.Scale(**card["scale"])
        recipe = scale.apply(spaces.load(card["space"]).build(**card["params"]))
        classes, seed, trained_on = card["classes"], card["seed"], card["data"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: its card does not say how it was made") from error
    net = load_weights(build(recipe, len(classes), seed), weights)
    loaded = _load(data or trained_on)
    if list(loaded.classes) != classes:
        raise ValueError(f"{checkpoint} knows {len(classes)} classes, {loaded.name} has others")
    part: Split = getattr(loaded, split)
    net = net.to(default_device()).to(memory_format=torch.channels_last)
    return net, card, part.head(images or len(part))


def _load(name: str) -> Data:
    from adv import load

    return load(name)


def _show(score: Score, checkpoint: Path, card: Mapping[str, Any], split: str) -> None:
    from rich.console import Console
    from rich.table import Table

    knobs = " ".join(f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
                     for k, v in card["params"].items())  # fmt: skip
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{checkpoint}  {card['space']} {knobs}", markup=False)
    how = (
        f"{score.draws} draws a gradient, {score.votes} votes" if score.votes > 1 else "not random"
    )
    console.print(f"{score.images} {split} images, 95 % Wilson intervals, {how}\n")
    table = Table(box=None)
    for column in ("attack", "eps", "accuracy", "interval"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    names = ("none", *[n for _, n in sorted(zip(score.eps, score.names, strict=True))])
    for name, (eps, share, low, high) in zip(names, score.curve, strict=True):
        spread = f"{100 * low:.1f} to {100 * high:.1f}"
        table.add_row(name, f"{eps:.4g}", f"{100 * share:.1f} %", spread)
    console.print(table)
    if len(score.names) > 1:
        low, high = score.attacked_interval
        console.print(f"\naggregated attacked score  {score.attacked_score:.1f} "
                      f"({low:.1f} to {high:.1f}), of {100 * len(score.names)}")  # fmt: skip
        console.print(f"mean {100 * score.mean:.1f} %, worst case {100 * score.worst:.1f} %, "
                      f"area under the curve {100 * score.area:.1f} %")  # fmt: skip


def _point(space: Any, pairs: tuple[str, ...]) -> dict[str, Any]:
    """The point that `KNOB=VALUE` pairs name; the first known point fills what is left out."""
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
        if any(params.get(key) != value for key, value in knob.when.items()):
            continue
        if name in given:
            params[name] = knob.parse(given[name])
        elif space.known and name in space.known[0]:
            params[name] = space.known[0][name]
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


def _plain(value: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(value)


def run() -> None:
    """The command line; what the user got wrong is said in one line, with status 2."""
    try:
        code = adv.main(prog_name="python -m adv", standalone_mode=False)
    except click.ClickException as error:
        message, code = error.format_message(), error.exit_code
    except (ValueError, OSError) as error:
        message, code = str(error), 2
    except (click.Abort, KeyboardInterrupt):
        message, code = "interrupted", 130
    else:
        sys.exit(code)
    print(f"adv: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    run()
