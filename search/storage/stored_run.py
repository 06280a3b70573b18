"""A `Run` whose trials keep their state in a store, for workers that share no folder."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search.backends.scratch import scratch_folder, sweep
from search.errors import StorageError
from search.record.trial import EpochReport, Run
from search.storage.location import Location
from search.storage.store import Store
from search.storage.trial_files import TrialCopier
from spaces import Params

PATIENCE = 120.0  # seconds for which a store may fail before the search ends
FIRST_WAIT, LONGEST_WAIT = 1.0, 15.0  # seconds between two tries


@dataclass(frozen=True)
class StoredRun:
    """Runs a trial in a temporary folder of its worker, and keeps a copy of it in a store.

    Each report is passed on only when the state to resume from is in the store. A store that fails
    is tried again for two minutes; then the search ends, and no trial has failed.

    Args:
      run: that trains the trial.
      location: of the run in the store.
      folder: of the run on the driver, which the folders of its trials are named in.
    """

    run: Run
    location: Location
    folder: Path

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Train the trial from the state that the store has, and yield its reports.

        Raises:
          StorageError: the store fails.
        """
        name = folder.relative_to(self.folder)
        sweep((tempfile.gettempdir(),))  # what killed workers of this node have left
        with scratch_folder() as scratch:
            local = scratch / name
            local.mkdir(parents=True)
            copier = TrialCopier(Store(self.location), str(name), local)
            persist(copier.download)
            for report in self.run(params, seed, local):
                persist(copier.upload)
                yield report


def persist(
    work: Callable[[], None],
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Do something with a store again and again, until it succeeds or patience is over.

    Raises:
      StorageError: it has failed for that long.
    """
    deadline, wait = time.monotonic() + patience, FIRST_WAIT
    while True:
        try:
            work()
            return
        except StorageError as error:
            if time.monotonic() + wait > deadline:
                raise StorageError(f"{error}; tried for {patience:.0f} s") from None
        sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
