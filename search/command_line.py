"""Shared by the command lines of the search: examples in the help, mistakes in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rich_click as click
from rich.text import Text

from adv.shell import adapt_commands
from adv.suggestions import describe_mistake, suggest_or_list
from adv.terminal.console import print_error
from adv.terminal.streams import run_program

click.rich_click.TEXT_MARKUP = "rich"
click.rich_click.TEXT_PARAGRAPH_LINEBREAKS = "\n\n"
click.rich_click.PADDING_HELPTEXT_FIRST_LINE = (0, 0, 1, 0)


class CommandWithExamples(click.RichCommand):
    """A command whose epilog is printed as it is, line by line."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the epilog without wrapping it, with the program's name as it was typed."""
        formatter.write(Text.from_markup(adapt_commands(self.epilog or "")))


class CommandWithLists(CommandWithExamples):
    """A command of which some flags take several values.

    `--compare A B` is `--compare A --compare B`. They are the options whose metavar ends in an
    ellipsis.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat such a flag before each of its values, then parse as usual."""
        lists = {
            flag
            for parameter in self.params
            if str(parameter.metavar or "").endswith("...")
            for flag in parameter.opts
        }
        spread: list[str] = []
        flag = ""
        for word in args:
            if word.startswith("-"):
                flag = word if word in lists else ""
            elif flag and spread[-1] != flag:
                spread.append(flag)
            spread.append(word)
        return super().parse_args(ctx, spread)


class OneOf(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """One of several names; an unknown one is answered with all of them and the nearest."""

    name = "name"

    def __init__(self, *known: str) -> None:
        self.known = known

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Return the name; fail if it is unknown."""
        if value not in self.known:
            self.fail(f"{value!r}{suggest_or_list(value, self.known)}", param, ctx)
        return str(value)

    def get_metavar(self, param: Any, ctx: Any = None) -> str:
        """Return the names as the help shows them."""
        return "|".join(self.known)


def parse_names(text: str, known: Sequence[str], kind: str) -> list[str]:
    """Return the names in a text, separated by commas, without repetitions.

    Raises:
      ValueError: one is unknown, or there is none; the message lists all and suggests the nearest.
    """
    asked = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in asked or [text]:
        if name not in known:
            raise ValueError(f"{kind} {name!r}{suggest_or_list(name, known)}")
    return asked


def run_command(command: click.Command, name: str) -> None:
    """Run a command line and exit; a user's mistake is printed as one line, with status 2."""
    run_program(name, lambda: _call(command, name))


def _call(command: click.Command, name: str) -> int | None:
    try:
        return command.main(standalone_mode=False)
    except click.ClickException as error:
        print_error(name, describe_mistake(error))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
