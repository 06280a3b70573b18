"""Look at the free space of the run folder, before a write fails."""

from __future__ import annotations

import shutil
from pathlib import Path

from search.errors import StorageError, format_bytes
from search.recipes import count_parameters
from search.record.run_folder import trial_path
from search.record.view import Event, View
from search.session.job import Job
from search.trials.trial_state import BEST, STATE

COPIES = 5  # of the parameters in a trial's files: weights, two of Adam, an average; the best net
REPORT_BYTES = 10_000_000  # the report, which holds plotly, beside the one that it replaces
_WRITING = {"proposed", "started", "epoch"}  # events of trials that are about to write


def estimate_trial(job: Job) -> int:
    """Return the bytes of a trial's state and best net, for the largest net at the known points.

    It is 0 where the net of none can be built: the trials will say so.
    """
    space = job.study.space
    points = space.known or (space.at([0.5] * len(space.knobs)),)
    data = job.run.data
    sizes = count_parameters(job.run.recipe, points, len(data.classes), data.shape)
    return 4 * COPIES * max(sizes, default=0)


def warn_of_space(job: Job, at_once: int) -> str:
    """Return a warning in one line if the disk may become full, "" if there is room.

    Needed are, for each trial to come, its best net and a copy of it in `front/`; for each that
    runs, its state beside the one that it replaces; and the report. A quota is not seen.

    Args:
      job: the search.
      at_once: how many trials run at a time.
    """
    each = estimate_trial(job)
    needed = 2 * job.study.remaining * each // COPIES + 2 * at_once * each + REPORT_BYTES
    free = shutil.disk_usage(job.folder).free
    if free >= needed:
        return ""
    return (
        f"The disk of {job.folder} has {format_bytes(free)} free, and the search may write about "
        f"{format_bytes(needed)}."
    )


class SpaceWatcher:
    """A reader of the ledger that ends the search while there is still room to end it in order.

    The limit is what the trials that run may write next: each writes its state and its best net
    beside the files that these replace. As their size counts the largest pair seen in this session,
    and the estimate before there is one. A quota, or a limit on the size of files, is not seen.

    Args:
      folder: of the run.
      estimate: bytes of the state and the best net of a trial.
    """

    def __init__(self, folder: Path, estimate: int) -> None:
        self.folder, self.estimate = folder, estimate
        self.largest = 0

    def __call__(self, event: Event, view: View) -> None:
        """Check the free space if a trial is about to write.

        Raises:
          StorageError: there is too little; the trials that run resume from their last state.
        """
        final = event["event"] == "final"
        inner = event["part"] if final else event
        if inner["event"] not in _WRITING:
            return
        trial = self.folder / trial_path(inner["trial"], final=final)
        self.largest = max(self.largest, _size(trial / STATE) + _size(trial / BEST))
        running = len((view.finals if final and view.finals else view).in_state("running"))
        needed = running * (self.largest or self.estimate)
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise StorageError(
                f"too little space: {self.folder} has {format_bytes(free)} free, and what runs "
                f"may write {format_bytes(needed)}; free some"
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
