"""Printed commands do in a shell what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adv.one_line import join_lines
from adv.shell import adapt_commands, join_command, quote
from adv.terminal.console import printable

NAMES = (
    *("runs/x", "a b", "a  b", " a ", "it's", 'say "a"', "$(touch hit)", "`touch hit`", "$HOME"),
    *("a;touch hit", "a&b|c", "a\nb", "\x1b[31mred", "\\", "\\'", "~", "*", "#x", "!x", "x=y", "é"),
    *("日本", "-x", "--help", "a\u202eb", "a\u00a0b", os.fsdecode(b"caf\xe9"), "a\\x41", "{a,b}"),
)


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_bash_reads_the_words_that_were_meant(name, tmp_path):
    code = "import os, sys; print([os.fsencode(word) for word in sys.argv[1:]])"
    command = join_command(sys.executable, "-c", code, Path(name), "next")
    assert printable(join_lines(command)) == command  # also within a message of one line
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    read = f"./{name}" if name.startswith("-") else name
    assert done.stdout == f"{[os.fsencode(read), b'next']}\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("plain", ["runs/rse-1.2", "--resume", "/tmp/a_b:c,d", "a@b"])
def test_nothing_is_quoted_that_needs_no_quotes(plain):
    assert quote(plain) == plain


@pytest.mark.parametrize(
    ("called", "search", "net"),
    [
        ("launch.py", "python launch.py --space x", "python -m adv models"),
        ("/a/adv/__main__.py", "python launch.py --space x", "python -m adv models"),
        ("/venv/bin/robustune", "robustune --space x", "adv models"),
        ("/venv/bin/adv", "robustune --space x", "adv models"),
    ],
)
def test_commands_are_spelled_as_the_one_that_was_typed(called, search, net, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called, "--space", "x"])
    assert join_command("python", "launch.py", "--space", "x") == search
    assert join_command("python", "-m", "adv", "models") == net
    text = "try python launch.py --space x, then python -m adv models"
    assert adapt_commands(text) == f"try {search}, then {net}"


@pytest.mark.parametrize(
    ("called", "calls", "arguments", "begins"),
    [
        ("/bin/robustune", "launch", "--spcae x", "robustune: No such option"),
        ("/bin/robustune", "launch", "--report nope", "robustune: --report nope: no search"),
        ("launch.py", "launch", "--report nope", "launch.py: --report nope: no search"),
        ("/bin/adv", "adv.__main__", "show nope.pt --out x.html", "adv: no checkpoint"),
        ("/bin/robustune", "launch", "--help", "Usage: robustune"),
        ("/bin/adv", "adv.__main__", "compare --help", "Usage: adv compare"),
    ],
)
def test_mistakes_and_help_name_the_command_that_was_typed(called, calls, arguments, begins):
    code = f"import sys; sys.argv = [{called!r}, *{arguments.split()!r}]\nimport {calls} as it\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}it.run()"], capture_output=True, text=True, check=False
    )
    said = (done.stdout + done.stderr).strip()
    assert said.startswith(begins)
    assert "/" not in called or "python" not in said
