"""Print to a terminal, a pipe or a file without losing anything.

Text that comes from files (class names, messages of failures) may hold control characters, which
could move the cursor or hide text; they are printed as escapes.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from adv.keys import redact
from adv.one_line import join_lines

_WIDE = 10_000  # columns of what is no terminal: a log has no edge at which to fold a table
_LONG_WORD = 20  # longer ones may be broken where a table is folded
_COMMAND = re.compile(r"\s+(python|robustune|adv|wandb|mv) ")  # a line of its own, indented
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class OutputClosed(Exception):  # noqa: N818  # no error: the reader has what it wanted
    """Whoever reads the output has closed it, as `| head` does."""


class PlainConsole(Console):
    """A console that escapes control characters, and raises OutputClosed where nobody reads.

    A terminal gets sentences wrapped at words. What a user copies is left to the terminal to break:
    words that are longer than a line, such as paths, and commands on lines of their own.

    If `on_close` is set, it is called instead, once, and nothing more is printed.
    """

    on_close: Callable[[], None] | None = None

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print as usual; sentences as the class says, unless `soft_wrap` is given."""
        text = objects[0] if len(objects) == 1 else None
        if not isinstance(text, str | Text) or not self.is_terminal or "soft_wrap" in settings:
            super().print(*objects, **settings)
            return
        if isinstance(text, str):
            markup, style = settings.pop("markup", True), settings.pop("style", None) or ""
            text = self.render_str(text, markup=markup, style=style)
        for line in wrap_sentences(text, self.width):
            super().print(line, soft_wrap=True, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """Render markup as usual, with control characters escaped before they are measured."""
        return super().render_str(printable(text), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render as usual, with control characters escaped also where no markup was read."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))

    def _write_buffer(self) -> None:
        """Write as usual; an error, such as a full disk, names the output, and is raised once."""
        try:
            super()._write_buffer()
        except BrokenPipeError:
            raise
        except OSError as error:
            del self._buffer[:]
            reason = error.strerror or str(error)
            raise OSError(error.errno, f"the output cannot be written: {reason}") from None

    def on_broken_pipe(self) -> None:
        """Call `on_close` or raise OutputClosed; rich would exit from wherever this is called."""
        self.quiet = True
        if self.on_close is None:
            raise OutputClosed
        self.on_close()


def wrap_sentences(text: Text, width: int) -> list[Text]:
    """Return the lines of a text, wrapped at words.

    What a user copies stays whole: longer words, such as paths, and indented commands.
    """
    lines = []
    for line in text.split("\n", allow_blank=True):
        plain = line.plain
        breaks, used = [], len(plain) - len(plain.lstrip())
        for word in re.finditer(r"\S+\s*", "" if _COMMAND.match(plain) else plain):
            if plain[: word.start()].strip() and used + cell_len(word[0].rstrip()) > width:
                breaks.append(word.start())
                used = 0
            used += cell_len(word[0])
        for part in line.divide(breaks):
            part.rstrip()
            lines.append(part)
    return lines


def open_console(*, stderr: bool = False) -> PlainConsole:
    """Return a console for stdout or stderr; wide where that is no terminal."""
    stream = sys.stderr if stderr else sys.stdout
    terminal = stream is not None and stream.isatty()
    width: int | None = None if terminal else _WIDE
    height: int | None = None
    if terminal and os.environ.get("TERM") in ("dumb", "unknown"):  # rich believes in 80 x 25
        width, height = shutil.get_terminal_size()
    plain: dict[str, Any] = {"highlight": False, "emoji": False, "soft_wrap": True}
    return PlainConsole(stderr=stderr, width=width, height=height, **plain)


def print_line(text: str = "", *, stderr: bool = False) -> None:
    """Print a text as it is, without any markup, and never wrapped."""
    open_console(stderr=stderr).print(text, markup=False, emoji=False, soft_wrap=True)


def print_sentence(text: str) -> None:
    """Print a text without any markup, wrapped at words on a terminal."""
    open_console().print(text, markup=False)


def print_error(program: str, message: str) -> None:
    """Print a message as one line on stderr, after the program's name; without keys."""
    print_line(f"{program}: {join_lines(redact(message))}", stderr=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table, folded at words where the terminal is narrower; no cell is cut."""
    console.print(foldable(console, table), soft_wrap=False, crop=False)


def foldable(console: Console, table: Table) -> Table:
    """Let the columns of a table fold their cells instead of cutting them; return the table."""
    wide = console.options.update(max_width=_WIDE)
    for column in table.columns:
        cells = (column.header, *column.cells)
        longest = max(Measurement.get(console, wide, cell).minimum for cell in cells)
        column.no_wrap, column.overflow = False, "fold"
        column.min_width = min(longest, _LONG_WORD)
    return table


def spinner(text: str) -> AbstractContextManager[Any]:
    """Show a spinner on stderr, if that is a terminal, until the work inside is done."""
    console = open_console(stderr=True)
    return console.status(text, spinner=spinner_name(console))


def spinner_name(console: Console) -> str:
    """Return the name of a spinner whose characters the console's stream can encode."""
    return "dots" if console.encoding.startswith("utf") else "line"


def printable(text: str) -> str:
    """Return a text with its control characters as escapes; tabs and line breaks stay."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)
