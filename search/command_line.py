"""What our command lines have in common: examples as they stand, mistakes in one line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import rich_click as click
from rich.text import Text

from adv.suggestions import suggest

click.rich_click.TEXT_MARKUP = "rich"


class Command(click.RichCommand):
    """A command whose epilog keeps its lines."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write it as it stands."""
        formatter.write(Text.from_markup(self.epilog or ""))


class OneOf(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """One of the known names; a mistake is answered by all of them and the nearest."""

    name = "name"

    def __init__(self, *known: str) -> None:
        self.known = known

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """The name; `fail` where it is not known."""
        if value not in self.known:
            near = suggest(value, self.known) or ":"
            self.fail(f"{value!r}{near} There are: {', '.join(self.known)}", param, ctx)
        return str(value)

    def get_metavar(self, param: Any, ctx: Any = None) -> str:
        """Of the help."""
        return "|".join(self.known)


def chosen(text: str, known: Sequence[str], kind: str) -> list[str]:
    """The names in a text, separated by commas, each once.

    Raises:
      ValueError: one is not known, or there is none; it says what there is and which is nearest.
    """
    asked = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in asked or [text]:
        if name not in known:
            near = suggest(name, known) or ":"
            raise ValueError(f"{kind} {name!r}{near} There are: {', '.join(known)}")
    return asked


def answer(command: click.Command, name: str) -> None:
    """Run the command line; what the user got wrong is said in one line, with status 2."""
    try:
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        print(f"{name}: {message}", file=sys.stderr)  # noqa: T201
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    sys.exit(code)
