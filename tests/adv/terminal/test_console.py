"""What is printed is whole: in a pipe, on a narrow terminal, with control characters in a name."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.live import Live
from rich.table import Table

from adv.terminal.console import PlainConsole, open_console, print_error, print_table

ROW = ("a check with a long name", "30.0 points", "20.0 to 40.0", "10.0 points", "FAILED")


def make_table(*rows):
    table = Table("check", "found", "95 % interval", "at most", "", box=None)
    for row in rows:
        table.add_row(*row)
    return table


def test_a_table_in_a_pipe_is_not_folded(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_table(open_console(), make_table(ROW))
    assert "FAILED" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("width", [80, 50, 30, 10])
def test_a_table_on_a_narrow_terminal_is_folded_at_words(width):
    file = io.StringIO()
    console = PlainConsole(width=width, file=file, soft_wrap=True, force_terminal=True)
    print_table(console, make_table(ROW))
    words = re.findall(r"[\w.]+", re.sub(r"\x1b\[[\d;]*m", "", file.getvalue()))
    assert sorted(words) == sorted(" ".join(("check found 95 interval at most", *ROW)).split())


def test_control_characters_are_escaped(capsys):
    name = "cat\x1b[2J\x9b31m\u202e\x07"
    print_table(open_console(), make_table((name, "1", "", "", "")))
    print_error("adv", name)
    shown = "".join(capsys.readouterr())
    assert shown.count(r"cat\x1b[2J\x9b31m\u202e") == 2
    assert not re.search("[\x1b\x9b\u202e\x07]", shown)


def test_control_characters_in_a_live_table():
    file = io.StringIO()
    console = PlainConsole(width=80, file=file, force_terminal=True, color_system=None)
    with Live(make_table(("cat\x1b]0;title", "", "", "", "")), console=console):
        pass
    assert r"cat\x1b]0;title" in file.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("markup", [True, False])
def test_a_terminal_gets_sentences_wrapped_at_words_and_commands_whole(width, markup):
    path = "/a/folder/that/is/longer/than/a/line/of/any/terminal/here/" + 60 * "x"
    sentence = f"The scale is small, because this machine has no GPU. It is in {path} now."
    command = f"  python launch.py --resume {path} --trials 32"
    file = io.StringIO()
    console = PlainConsole(file=file, width=width, force_terminal=True, soft_wrap=True)
    console.print(f"{sentence}\n{command}", markup=markup)
    *lines, last = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()
    assert " ".join(lines) == sentence and last == command
    assert all(len(line) <= width or path in line for line in lines)
    assert path in lines  # it has a line of its own


@pytest.mark.parametrize("term", ["dumb", "xterm"])
def test_a_terminal_of_any_kind_has_its_own_width(term, monkeypatch):
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLUMNS", "33")
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert open_console().width == 33
