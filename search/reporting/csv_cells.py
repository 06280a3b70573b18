"""CSV cells that no spreadsheet takes for a formula.

A text that begins with =, +, -, @, a tab or a carriage return would be run as a formula. It gets an
apostrophe in front, as OWASP advises; numbers stay as they are.
"""

from __future__ import annotations

import re
from typing import Any

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")


def escape_cell(value: Any) -> Any:
    """Return what to write for a value; only text that looks like a formula is changed."""
    formula = isinstance(value, str) and _FORMULA.match(value) and not _is_number(value)
    return f"'{value}" if formula else value


def unescape_cell(text: str) -> str:
    """Return the text for which `escape_cell` wrote this one."""
    return text[1:] if _ESCAPED.match(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
