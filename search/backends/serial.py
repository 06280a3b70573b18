"""Run the whole search in this process, for debugging and tests.

For one seed it proposes the same trials as `search.backends.ray_tune` with one trial at a time.
"""

from __future__ import annotations

from search.interrupt import Interrupt
from search.record.trial import Run
from search.study import Study


def search(study: Study, run: Run, interrupt: Interrupt) -> None:
    """Run every trial that `study` suggests, one after the other.

    Raises:
      Interrupted: `interrupt` asked for it; the current trial resumes from its last epoch.
      StorageError: a disk or mount failed; the same holds.
    """
    while trial := study.suggest():
        interrupt.check()
        for report in study.train(trial, run):
            goes_on = study.update(trial.number, report)
            interrupt.check()
            if not goes_on:
                break
