"""Write text of unknown origin, such as file names, so that every output can hold it."""

from __future__ import annotations

import unicodedata

_ESCAPED = ("Cc", "Cs", "Zl", "Zp")  # Control characters, surrogates, line and paragraph ends.
_BIDIRECTIONAL = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


def to_one_line(text: str) -> str:
    r"""Return `text` on one line, with backslash escapes for what a terminal must not receive.

    Escaped are control characters (a terminal executes them), line breaks, characters that reverse
    the direction of writing, and bytes of a file name that are not UTF-8, which Python holds as
    surrogates and no UTF-8 file can hold: the byte E9 becomes `\xe9`. Other text is unchanged.
    """
    return text if text.isprintable() else "".join(map(_escape, text))


def join_lines(text: str, limit: int | None = None) -> str:
    """Return `text` on one line, each white space a single space, escaped like `to_one_line`.

    Args:
      text: of any kind.
      limit: characters at most; the rest is cut off.
    """
    return to_one_line(" ".join(text.split())[:limit])[:limit]


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _ESCAPED or character in _BIDIRECTIONAL:
        return character.encode("unicode_escape").decode("ascii")
    return character
