"""Exceptions as one line, for the ledger and the terminal."""

from __future__ import annotations

from adv.one_line import join_lines


class StorageError(Exception):
    """A disk or mount that fails, such as a full one; the message is one line.

    It ends the search. The trials that ran stay as they are, and the next session resumes them.
    """


def describe_error(error: BaseException, limit: int = 500) -> str:
    """Return the type and the message of an exception in one line.

    Args:
      error: the exception; running out of memory is named as such.
      limit: characters at most.
    """
    memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    kind = "out of memory" if memory else type(error).__name__
    return join_lines(f"{kind}: {error}", limit)


def extract_last_line(error: BaseException, limit: int = 300) -> str:
    """Return the last line of an exception's message, where Ray puts the cause.

    Args:
      error: the exception; one without a message is named by its type.
      limit: characters at most.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:limit]
