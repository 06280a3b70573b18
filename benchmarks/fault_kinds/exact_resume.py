"""A search that is killed at every epoch gives the same ledger as one that is not."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fault_kinds.lab import SERIAL, Lab, Launch, add_space
from fault_kinds.verdict import Case, Kind, Outcome, find_twin
from search.record.ledger import read

HOOKS = Path(__file__).with_name("site_hooks")
SPACE = Path(__file__).with_name("exact_space.py")
MOMENTS = {
    "before-state": "before the state of an epoch is written",
    "before-event": "between an epoch's state and its event",
    "after-event": "after the event of an epoch",
}
MOST = 100  # launches of one search
SIZES = ("--trials", "2", "--epochs", "2", "--finalists", "1")


@dataclass(frozen=True)
class KillAtEpochs:
    """Kills driver and worker by SIGKILL at each epoch of a search and at the end of each trial.

    Args:
      moment: a key of `MOMENTS`.
      sizes: flags of the search.
    """

    moment: str
    sizes: Sequence[str] = SIZES

    def __call__(self, lab: Lab) -> Outcome:
        """Launch the search again and again until it reaches its end."""
        with type(lab)(lab.folder, lab.away, add_space(lab, SPACE, "exact")) as inner:
            flags = ("--space", "exact", "--name", "x", *SERIAL, *self.sizes)
            twin = find_twin(inner, lambda home: inner.start(home, *flags), *self.sizes)
            case = Case(inner, inner.open_home(self.moment), twin)
            launch = self._launch(inner, case.home, 0, *flags)
            while launch.process.returncode == -signal.SIGKILL and len(case.launches) < MOST:
                case.expect(launch, -signal.SIGKILL)
                inner.clear()
                again = ("--resume", "runs/x", *SERIAL)
                launch = self._launch(inner, case.home, len(case.launches), *again)
            case.expect(launch, 0)
            return case.judge(read)

    def _launch(self, lab: Lab, home: Path, launches: int, *flags: str) -> Launch:
        """Start it and wait; the state that the launch before could not write is let through."""
        passed = int(self.moment == "before-state" and launches > 0)
        variables = {
            "PYTHONPATH": str(HOOKS),
            "FAULT_MOMENT": self.moment,
            "FAULT_PASSED": str(passed),
            "FAULT_COUNT": str(home / f"moments-{launches}"),
        }
        launch = lab.start(home, *flags, variables=variables)
        launch.wait()
        return launch


KINDS = tuple(
    Kind(f"exact-{moment}", f"killed at every epoch, {text}", KillAtEpochs(moment))
    for moment, text in MOMENTS.items()
)
