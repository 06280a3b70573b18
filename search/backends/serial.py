"""The whole search in this process: the twin of `search.backends.ray_tune`, for debugging and tests."""

from __future__ import annotations

from search.interrupt import Stop
from search.record.trial import Run
from search.study import Study


def search(study: Study, run: Run, stop: Stop) -> None:
    """Run every trial that `study` suggests, one after the other.

    Raises:
      Interrupted: `stop` said so; the trial at hand goes on from its last epoch next time.
    """
    while trial := study.suggest():
        stop.check()
        with study.failing(trial.number):
            for values in run(trial.params, trial.seed, study.folder(trial.number)):
                goes_on = study.update(trial.number, values)
                stop.check()
                if not goes_on:
                    break
