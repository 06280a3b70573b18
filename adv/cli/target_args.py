"""The arguments that several verbs share: the net, the images to evaluate it on, the radius."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import rich_click as click

from adv.data.names import DATA_HELP
from adv.net_flags import (
    MEAN_HELP,
    NET_ARG_HELP,
    NET_HELP,
    REFERENCE,
    STD_HELP,
    TRUST_HELP,
)

COUNT = click.IntRange(min=1)
count = functools.partial(click.option, type=COUNT, metavar="N")  # a flag that takes COUNT
NORM, EPS = "linf|l2|l1", "Radius of the ball. Default: 8/255, in l2 0.5, in l1 12."
TARGET = "CLASS|least-likely|all"
TARGET_HELP = (
    "aim at this class, by name or index, at the least likely one, or at each wrong class in turn. "
    "Any wrong answer counts."
)
DATA = f"{DATA_HELP}."

IMAGE_SIZE = (
    "Crop and resize every image once: 64 (a square), 48x64 (height x width) or 1x28x28 "
    "(channels first: 1 grey, 3 RGB)."
)


@dataclass(frozen=True)
class TargetArgs:
    """The net and the images as the command line names them; `load_target` loads both.

    Either `checkpoint` is given, or `net` and `data`; `net_arg`, `mean`, `std`, `weights`,
    `weights_key` and `random` go with `net`, `trust_code` with `checkpoint`.
    """

    checkpoint: Path | None = None
    net: str | None = None
    net_arg: tuple[str, ...] = ()
    mean: str | None = None
    std: str | None = None
    weights: Path | None = None
    weights_key: str | None = None
    random: bool = False
    trust_code: bool = False
    data: str | None = None
    image_size: str | None = None
    split: str = "validation"
    images: int | None = None


_IMAGE_FLAGS = (
    click.option("--data", metavar="NAME", help=f"{DATA} Default: the data it was trained on."),
    click.option("--image-size", metavar="SIZE", help=f"{IMAGE_SIZE} Default: that of the net."),
    click.option(
        "--split",
        type=click.Choice(["validation", "test"]),
        metavar="NAME",
        default="validation",
        show_default=True,
        help="validation, or test, which is for final figures only.",
    ),
    click.option(
        "--images", type=COUNT, metavar="N", help="Number of images. Default: the whole split."
    ),
)

_FLAGS = (
    click.argument("checkpoint", type=click.Path(path_type=Path), required=False),
    click.option(
        "--net",
        "--module",
        "net",
        metavar=REFERENCE,
        help=f"Instead of a checkpoint. {NET_HELP} Needs --data.",
    ),
    click.option("--net-arg", multiple=True, metavar="NAME=VALUE", help=NET_ARG_HELP),
    click.option("--mean", metavar="M,M,M", help=MEAN_HELP),
    click.option("--std", metavar="S,S,S", help=STD_HELP),
    click.option(
        "--weights",
        type=click.Path(path_type=Path),
        help="With --net: its state dict, .safetensors, .pth or .pt. Never unpickled.",
    ),
    click.option(
        "--weights-key",
        metavar="KEY",
        help="With --weights: the state dict under this key, such as ema, if several fit.",
    ),
    click.option(
        "--random",
        is_flag=True,
        help="With --net: the net is random. Detected if two calls give different outputs.",
    ),
    click.option(
        "--trust-code",
        is_flag=True,
        help=f"With a checkpoint: {TRUST_HELP[0].lower()}{TRUST_HELP[1:]}",
    ),
    *_IMAGE_FLAGS,
)


def with_target(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the arguments of `TargetArgs` to a verb, which gets them as its first argument."""

    @functools.wraps(verb)
    def call(**settings: Any) -> None:
        target = {field.name: settings.pop(field.name) for field in fields(TargetArgs)}
        verb(TargetArgs(**target), **settings)

    return add_flags(_FLAGS, call)


def with_images(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the flags that name the images to a verb, which gets them by the names in `TargetArgs`.

    They are `data`, `image_size`, `split` and `images`.
    """
    return add_flags(_IMAGE_FLAGS, verb)


def add_flags(flags: Sequence[Any], verb: Callable[..., None]) -> Callable[..., None]:
    """Add options to a verb, in the order in which its help shows them."""
    for flag in reversed(flags):
        verb = flag(verb)
    return verb
