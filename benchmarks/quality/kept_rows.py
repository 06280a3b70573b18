"""A file of finished searches, a JSON object on each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def read_rows(path: Path | None) -> list[Row]:
    """Return the rows of a file, none without one; a truncated line is removed from the file."""
    if path is None or not path.exists():
        return []
    whole, _, cut = path.read_text().rpartition("\n")
    if cut:
        path.write_text(whole + "\n" if whole else "")
    return [json.loads(line) for line in whole.splitlines()]


def append_row(path: Path | None, row: Row) -> None:
    """Append a row to the file; without one do nothing."""
    if path:
        with path.open("a") as lines:
            lines.write(json.dumps(row) + "\n")
