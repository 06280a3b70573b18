"""A rescoring that misbehaves on demand, in a module that a worker process can import."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from formula_runs import score

from search.record.trial_result import TrialResult
from search.session.stored_nets import StoredNet
from spaces import Params

PARAMS: Params = {"x": 0.5, "waste": 0.001, "kind": "plain"}
MISHAPS: Mapping[str, Callable[[], object]] = {
    "raises": lambda: int("x"),
    "crashes": lambda: ctypes.string_at(0),
    "exits": lambda: os._exit(3),
    "leaves": lambda: sys.exit(3),
    "interrupts": lambda: signal.raise_signal(signal.SIGINT),
    "hangs": lambda: time.sleep(600),
}


@dataclass(frozen=True)
class ScoreOrFail:
    """Scores a net by a formula, unless a mishap stands under its number.

    Args:
      mishaps: by number of the net.
      once: a file that is made at the first mishap; where it is, none happens. None: always.
    """

    mishaps: Mapping[int, str]
    once: Path | None = None

    def __call__(self, net: StoredNet) -> TrialResult:
        name = self.mishaps.get(net.number, "")
        if name and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            MISHAPS[name]()
        return score(PARAMS)


def nets(count: int, folder: Path) -> list[StoredNet]:
    """Return stored nets that need no files."""
    return [StoredNet("trial", n, PARAMS, n, folder, (), score(PARAMS)) for n in range(count)]
