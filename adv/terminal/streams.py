"""Prepare stdout and stderr of a command line, and end it in order when they are gone."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from adv.terminal.console import OutputClosed, print_error

_PLAIN = {"–": "-", "—": "-", "…": "...", "·": "|", "×": "x", "≤": "<=", "≥": ">=", "±": "+-"}
# A disk that is full, a quota, a limit on the size of files (`ulimit -f`), a disk that is broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_CLOSED = 128 + 13  # what a shell reports for a program that SIGPIPE ended


def run_program(name: str, main: Callable[[], int | None]) -> NoReturn:
    """Run a command line and exit with the status that it returns.

    Characters that stdout cannot encode are replaced, so that no result is lost at its end. If the
    reader of the output goes away, as in `| head`, the status is 141 as for any Unix program; if
    its disk is full, one line says so and the status is 1.

    Args:
      name: the program's name in error messages.
      main: the command line. It returns the exit status, None for 0, or raises SystemExit.
    """
    if not _prepare_streams():
        print_error(name, "stdout is closed: redirect it to a file, or to /dev/null to discard it")
        sys.exit(2)
    if trouble := _find_trouble():
        print_error(name, trouble)
        sys.exit(2)
    try:
        code = main()
        sys.stdout.flush()
    except SystemExit as left:
        if not _is_broken_pipe(left.__context__):
            raise
        code = _CLOSED  # click exits by itself
    except OutputClosed:
        code = _CLOSED
    except OSError as error:
        if _is_broken_pipe(error):
            code = _CLOSED
        elif error.errno in DISK_ERRORS:
            print_error(name, describe_os_error(error))
            code = 1
            _discard_output()
        else:
            raise
    if code == _CLOSED:
        _discard_output()
    sys.exit(code)


def describe_os_error(error: OSError) -> str:
    """Return in words what has failed and, if it is known, on which file."""
    name = error.filename2 or error.filename  # the second is the destination of a copy
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(name)}: {reason}" if isinstance(name, str | bytes) else reason


def _find_trouble() -> str:
    """Return in what state of the process nothing can work, with the remedy; "" if in none."""
    try:
        os.getcwd()
    except OSError:  # torch does not even load
        return "the current folder has been removed: change to another one (cd)"
    mask = os.umask(0o077)
    os.umask(mask)
    if mask & 0o700:
        return f"umask {mask:03o} takes new files away from yourself: set umask 077, or 022"
    return ""


def _prepare_streams() -> bool:
    """Let the streams replace what they cannot encode; return False if stdout is closed.

    A closed stdin or stderr becomes the null device: else the next file that is opened would get
    its number, and warnings of C libraries would be written into that file.
    """
    codecs.register_error("plain", _replace)
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number, which is this one
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # open until the process ends
    if sys.stdout is None:
        return False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    return True


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that an encoding lacks: by plain ones, or by escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or _escape(c) for c in lost), error.end


def _escape(character: str) -> str:
    """Return an escape; that of a byte if a file's name that is not UTF-8 has it."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else ascii(character)[1:-1]


def _is_broken_pipe(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno == errno.EPIPE


def _discard_output() -> None:
    """Let Python's last flush of stdout go nowhere: it would print a traceback."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
