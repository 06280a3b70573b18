"""The flags that name a net of another project and the weights it starts from.

Free of torch, so that a mistake is answered at once; `make_external` and `make_weights` load it.
"""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click

from adv.one_line import join_lines
from adv.terminal.console import print_line

if TYPE_CHECKING:
    from adv.external import External, Weights

REFERENCE = "MODULE:NAME|FILE.py:NAME"
NET_HELP = (
    "A net of another project: what to call, as package.module:callable or path.py:callable. The "
    "class count and the image shape are passed where it takes them. Runs that code."
)
NET_ARG_HELP = "With --net: an argument of the callable, a Python literal or text; may be repeated."
MEAN_HELP = (
    "With --net: subtracted from the images in [0, 1], one number or one for each channel, such as "
    "0.485,0.456,0.406. Attacks stay in pixels."
)
STD_HELP = "With --mean: by which the images are divided then."
INIT_HELP = (
    "Train on from these weights: a state dict, .safetensors, .pth or .pt, or a checkpoint. Never "
    "unpickled."
)
INIT_KEY_HELP = "With --init: the state dict under this key, such as ema, if several fit."
NEW_HEAD_HELP = "With --init: start the head anew if the file has it for another number of classes."
TRUST_HELP = "Run the code that the file names as the maker of its net, see --net."

_SAID = (  # warnings of nets from elsewhere that the command line prints as lines
    ".* changes its images in place",
    ".* are converted to float32",
    ".* has changed since",
    ".* does not fit: a new one",
    "weights from .*, not from",
)


def parse_net_args(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that `NAME=VALUE` pairs describe; a value that is no literal is text.

    Raises:
      ValueError: a pair has no name, or a name comes twice.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name.isidentifier():
            raise ValueError(f"--net-arg {pair!r}: write NAME=VALUE")
        if name in found:
            raise ValueError(f"--net-arg {name} is given twice")
        found[name] = _literal(text)
    return found


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def parse_numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """Return numbers that are separated by commas; None for no text.

    Raises:
      ValueError: one is no number.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(
            f"{flag} {text!r}: write one number, or one for each channel: 0.5,0.5,0.5"
        ) from None


def make_external(
    source: str | None, pairs: Sequence[str], mean: str | None, std: str | None
) -> External | None:
    """Return the net that the flags name, None without `--net`; no code is run.

    Raises:
      ValueError: the flags do not fit together, or the reference is none.
    """
    numbers = parse_numbers("--mean", mean), parse_numbers("--std", std)
    if source is None:
        flags = {"--net-arg": pairs, "--mean": mean, "--std": std}
        if wrong := [flag for flag, value in flags.items() if value]:
            raise ValueError(f"{wrong[0]} belongs to --net")
        return None
    from adv.external import External

    return External(source, parse_net_args(pairs), *numbers)


def make_weights(init: str | None, key: str | None, new_head: bool) -> Weights | None:
    """Return the weights that the flags name, None without `--init`; nothing is read.

    Raises:
      ValueError: the flags do not fit together.
    """
    if init is None:
        if key or new_head:
            raise ValueError(f"{'--init-key' if key else '--new-head'} belongs to --init")
        return None
    from adv.external import Weights

    return Weights(init, key, new_head)


def with_net_flags(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the flags to a verb, which gets them as `net` and `init`: an `External`, `Weights`."""

    @functools.wraps(verb)
    def call(
        net: str | None,
        net_arg: tuple[str, ...],
        mean: str | None,
        std: str | None,
        init: str | None,
        init_key: str | None,
        new_head: bool,
        **settings: Any,
    ) -> None:
        external = make_external(net, net_arg, mean, std)
        verb(net=external, init=make_weights(init, init_key, new_head), **settings)

    flagged: Callable[..., None] = call
    for flag in reversed(_FLAGS):
        flagged = flag(flagged)
    return flagged


_FLAGS = (
    click.option("--net", metavar=REFERENCE, help=NET_HELP),
    click.option("--net-arg", multiple=True, metavar="NAME=VALUE", help=NET_ARG_HELP),
    click.option("--mean", metavar="M,M,M", help=MEAN_HELP),
    click.option("--std", metavar="S,S,S", help=STD_HELP),
    click.option("--init", metavar="FILE", help=INIT_HELP),
    click.option("--init-key", metavar="KEY", help=INIT_KEY_HELP),
    click.option("--new-head", is_flag=True, help=NEW_HEAD_HELP),
)


@contextmanager
def already_said() -> Iterator[None]:
    """Leave out, in the block, the warnings that `print_warnings` has printed before it."""
    with warnings.catch_warnings():
        for message in _SAID:
            warnings.filterwarnings("ignore", message=message)
        yield


@contextmanager
def print_warnings() -> Iterator[None]:
    """Print what the block warns of about a net from elsewhere, a line each on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        for message in _SAID:
            warnings.filterwarnings("always", message=message)
        yield
    for warning in caught:
        print_line(f"adv: {join_lines(str(warning.message))}", stderr=True)
