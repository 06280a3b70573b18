"""The phase of a running trial: a small file in its folder, for whoever shows the search.

It is no part of the record: it is written at most twice a second, lost without harm, and gone when
the trial has ended.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from adv.evaluation.engine.attack_progress import listen

PHASE = "phase.json"
EVERY = 0.5  # seconds between two writes, while the phase itself is the same


@dataclass(frozen=True)
class Phase:
    """The work of a trial after its last epoch, and how much of it is done.

    Args:
      name: "attacking", "attacking strongly", "checking gradients".
      done: runs of attacks that are over.
      of: how many there are.
    """

    name: str
    done: int
    of: int


@contextmanager
def report_attacks(folder: Path, name: str = "attacking") -> Iterator[None]:
    """Keep the phase of a trial up to date while the block attacks its net.

    Args:
      folder: of the trial.
      name: of the phase.
    """
    path, written = folder / PHASE, 0.0

    def write(done: int, total: int) -> None:
        nonlocal written
        if done and time.monotonic() - written < EVERY:
            return
        written = time.monotonic()
        with contextlib.suppress(OSError):
            partial = path.with_suffix(".partial")
            partial.write_text(json.dumps(asdict(Phase(name, done, total))))
            partial.replace(path)

    try:
        with listen(write):
            yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def read_phase(folder: Path) -> Phase | None:
    """Return the phase of the trial that keeps its files in a folder, None if it has none."""
    try:
        plain = json.loads((folder / PHASE).read_text())
        return Phase(str(plain["name"])[:40], int(plain["done"]), int(plain["of"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
