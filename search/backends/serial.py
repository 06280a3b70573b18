"""Run the whole search in this process, for debugging and tests.

For one seed it proposes the same trials as `search.backends.ray_tune` with one trial at a time.
"""

from __future__ import annotations

from search.interrupt import Interrupt
from search.record.trial import Run
from search.study import Study


def search(study: Study, run: Run, stop: Interrupt) -> None:
    """Run every trial that `study` suggests, one after the other.

    Raises:
      Interrupted: `stop` asked for it; the current trial resumes from its last epoch next time.
    """
    while trial := study.suggest():
        stop.check()
        with study.record_failure(trial.number):
            for report in run(trial.params, trial.seed, study.trial_folder(trial.number)):
                goes_on = study.update(trial.number, report)
                stop.check()
                if not goes_on:
                    break
