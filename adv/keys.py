"""Keys and passwords: kept out of the processes that need none, blacked out in messages.

Which variables hold one is told by their names (HF_TOKEN, AWS_SECRET_ACCESS_KEY, ...), and by URLs
with a password as their value (HTTPS_PROXY).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_NAME = re.compile(
    r"(?:^|_)(?:API_?KEY|KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|PWD|CREDENTIALS?|AUTH)(?:_|$)", re.I
)
_HARMLESS = re.compile(r"^(?:OLD)?PWD$|_(?:FILE|PATH|MODE|SOCK)$", re.I)
_LOGIN = re.compile(r"(?<=:/)(/?)[^/\s@'\"]+@")  # ://user:password@host; Path makes :// to :/
_QUERY = re.compile(
    r"([?&][\w.-]*(?:key|token|secret|password|signature|credential|sig|auth)[\w.-]*=)[^&\s'\"]+",
    re.I,
)
_SHORTEST = 6  # characters of a value that is searched for in messages
BLACK = "***"


def find_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that hold a key or a password."""
    return {
        name: value
        for name, value in environment.items()
        if (_NAME.search(name) and not _HARMLESS.search(name)) or _LOGIN.search(value)
    }


@contextmanager
def hide_keys(*needed: str) -> Iterator[None]:
    """Take keys out of the environment until the block ends, so that processes inherit none.

    Args:
      needed: variables that stay.
    """
    hidden = {name: os.environ[name] for name in find_keys(os.environ) if name not in needed}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def redact(text: str) -> str:
    """Return a text with `***` for keys: values of the environment, and what URLs hold."""
    for value in sorted(find_keys(os.environ).values(), key=len, reverse=True):
        if len(value) >= _SHORTEST:
            text = text.replace(value, BLACK)
    return _QUERY.sub(rf"\g<1>{BLACK}", _LOGIN.sub(rf"\g<1>{BLACK}@", text))
