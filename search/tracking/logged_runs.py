"""What Weights & Biases has been told of each of our runs, kept beside its files.

A search may be killed at any time, and what was on the front may leave it later. At each start and
end, what the ledger says is compared with this record, and only runs that differ are opened again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

FILE = "logged.jsonl"
NAMES = 2  # of the metrics; what was told under earlier names is told again under these


@final
class LoggedRuns:
    """A record of the W&B runs that are complete, one line of JSON for each time one was closed.

    Args:
      folder: of W&B's files of this search.
      place: where the runs are, such as "offline robustune"; what was told another place does not
        count.
    """

    def __init__(self, folder: Path, place: str) -> None:
        self._path, self._place = folder / FILE, place
        self._known: dict[str, tuple[int, str]] = {}
        lines = self._path.read_text().splitlines() if self._path.is_file() else []
        for line in lines:
            with suppress(ValueError, KeyError, TypeError):  # cut off when the driver was killed
                told = json.loads(line)
                if told["place"] == place and told["names"] == NAMES:
                    self._known[str(told["run"])] = int(told["rows"]), str(told["summary"])

    def rows(self, run: str) -> int:
        """Return how many rows of its history a run had when it was closed last; 0: never."""
        return self._known.get(run, (0, ""))[0]

    def has(self, run: str, summary: Mapping[str, Any]) -> bool:
        """Return whether a run was closed with this summary."""
        return self._known.get(run, (0, ""))[1] == _digest(summary)

    def note(self, run: str, rows: int, summary: Mapping[str, Any]) -> None:
        """Record that a run was closed with so many rows and this summary."""
        entry = rows, _digest(summary)
        if self._known.get(run) != entry:
            self._known[run] = entry
            told = {
                "run": run,
                "place": self._place,
                "names": NAMES,
                "rows": rows,
                "summary": entry[1],
            }
            with self._path.open("a") as file:
                file.write(json.dumps(told) + "\n")


def _digest(summary: Mapping[str, Any]) -> str:
    """Return a short digest of a summary."""
    text = json.dumps(summary, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
