"""Printed commands do in a shell what they say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adv.one_line import join_lines
from adv.shell import join_command, quote
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
