"""Suggest the known name that a misspelt one was probably meant to be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click


def suggest(word: str, known: Iterable[str]) -> str:
    """Return ": did you mean 'x'?" for the known name closest to `word`, or "" if none is close.

    It is meant to be appended to an error message.
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f": did you mean {near[0]!r}?" if near else ""


def suggest_or_list(word: str, known: Iterable[str]) -> str:
    """Return ": did you mean 'x'? There are: x, y", or "; there are: x, y" if none is close.

    It is meant to be appended to an error message.
    """
    names = list(known)
    near = suggest(word, names)
    return f"{f'{near} There' if near else '; there'} are: {', '.join(names)}"


def describe_mistake(error: click.ClickException) -> str:
    """Return what is wrong with a command line, with the nearest option alone."""
    if isinstance(error, click.NoSuchOption) and error.possibilities:
        near = difflib.get_close_matches(error.option_name, error.possibilities, n=1)
        error = click.NoSuchOption(error.option_name, error.message, near, error.ctx)
    return error.format_message()
