"""A command line on streams that are closed, broken or not UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ROOT_CODE = """
import sys
from adv.terminal.console import open_console, print_line, print_table
from adv.terminal.streams import run_program
from rich.table import Table
def main():
    {body}
run_program("prog", main)
"""


def run(body, redirect="", **environment):
    code = ROOT_CODE.format(body=body)
    return subprocess.run(
        ["sh", "-c", f'"$0" -c "$1" {redirect}', sys.executable, code],
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("utf-8", "1 – 2 … × ε \\xff".encode()),
        ("latin-1", b"1 - 2 ... \xd7 \\u03b5 \\xff"),
        ("ascii", b"1 - 2 ... x \\u03b5 \\xff"),
    ],
)
def test_characters_that_stdout_lacks(encoding, expected):
    for printing in ("print_line", "open_console().print", "print"):
        done = run(f'{printing}("1 – 2 … × ε \\udcff")', PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, expected, b"")


def test_closed_streams():
    done = run("print_line('x')", ">&-")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == (
        b"prog: stdout is closed: redirect it to a file, or to /dev/null to discard it\n"
    )
    opened = "print_line(str(open('/dev/null').fileno() > 2))"
    done = run(opened, "<&- 2>&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"True\n", b"")


@pytest.mark.parametrize(
    "printing", ["print_line('x' * 99)", "print('x')", "__import__('click').echo(1)"]
)
def test_a_reader_that_goes_away(printing):
    """As `| head -0`; the status is that of a program that SIGPIPE ended."""
    reader, writer = os.pipe()
    os.close(reader)
    code = ROOT_CODE.format(body=printing)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("printing", "said"),
    [
        ("print_line('x' * 99)", b"the output cannot be written: No space left on device"),
        ("print('x')", b"No space left on device"),
        ("__import__('click').echo(1)", b"No space left on device"),
    ],
)
def test_an_output_on_a_full_disk_costs_one_line(printing, said):
    done = run(printing, ">/dev/full")
    assert (done.returncode, done.stderr) == (1, b"prog: " + said + b"\n")


def test_the_status_of_the_program():
    assert run("return 3").returncode == 3
    assert run("sys.exit(4)").returncode == 4
    assert run("pass").returncode == 0


@pytest.mark.parametrize(
    ("before", "remedy"),
    [
        ("mkdir gone && cd gone && rmdir ../gone", "cd"),
        ("umask 777", "set umask 077"),
        ("umask 277", "set umask 077"),
    ],
)
def test_a_process_that_can_do_nothing_says_why(tmp_path, project_root, before, remedy):
    code = ROOT_CODE.format(body="print('ran')")
    done = subprocess.run(
        ["bash", "-c", f'{before} && exec "$@"', "bash", sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(project_root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("prog: ") and remedy in done.stderr
    assert done.stderr.count("\n") == 1
