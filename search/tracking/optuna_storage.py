"""A copy of a search in an Optuna storage, for optuna-dashboard and Optuna's plots.

The ledger remains the truth: the copy is written, never read back.
"""

from __future__ import annotations

import warnings
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from adv.keys import redact
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import Event, View
from search.tracking.tracker import study_id
from spaces import Space, find_objective

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

ENDS = ("finished", "stopped", "failed")


@final
class OptunaCopy:
    """A reader of the ledger that copies trials that have ended to an Optuna storage.

    The study is named after the run and its id. It is written anew at the first event of a session
    and after the run was scored again, so it always holds what the ledger says.

    Args:
      storage: see `open_storage`.
      header: of the ledger.
      space: the search space.
    """

    def __init__(self, storage: BaseStorage, header: StudyHeader, space: Space) -> None:
        self._storage, self._space = storage, space
        self.name = study_id(header)
        self._fresh = True

    def __call__(self, event: Event, view: View) -> None:
        """Copy the trial that has ended with this event, or all that have ended."""
        if self._fresh or event["event"] == "rebuilt":
            self._fresh = False
            self.write(view)
        elif event["event"] in ENDS:
            self._study.add_trial(self._convert(view.trials[event["trial"]], view))

    def write(self, view: View) -> None:
        """Write the study anew, with all trials that have ended, in that order."""
        import optuna

        if any(study.study_name == self.name for study in self._storage.get_all_studies()):
            optuna.delete_study(study_name=self.name, storage=self._storage)
        self._study = optuna.create_study(
            study_name=self.name, storage=self._storage, directions=["maximize"] * 2
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the names of objectives are experimental in Optuna
            self._study.set_metric_names([_metric_name(name) for name in view.header.aims])
        head = view.header
        about = {"space": head.space, "data": head.data, "score": head.score, "commit": head.commit}
        for name, value in about.items():
            self._study.set_user_attr(name, value)
        ended = [trial for trial in view.trials.values() if trial.state in ENDS]
        for trial in sorted(ended, key=lambda trial: trial.ended):
            self._study.add_trial(self._convert(trial, view))

    def _convert(self, trial: Trial, view: View) -> FrozenTrial:
        """Return a trial as Optuna shows it; one that was stopped early counts as pruned."""
        from optuna.trial import TrialState

        from search.samplers.optuna_conversion import to_optuna_trial

        copy = to_optuna_trial(self._space, trial, view.header)
        if trial.state == "stopped":
            copy.state = TrialState.PRUNED
        copy.datetime_complete = datetime.fromtimestamp(trial.ended)
        copy.datetime_start = datetime.fromtimestamp(trial.started)
        kept: dict[str, Any] = {
            "trial": trial.number,
            "seed": trial.seed,
            "seconds": round(trial.seconds, 3),
        }
        gap = trial.result.details.masking_gap if trial.result else None
        if gap:
            kept |= {"masking_gap": gap.gap, "flagged": gap.flagged}
        copy.user_attrs = kept | ({"reason": trial.reason} if trial.reason else {})
        if bounds := copy.constraints:
            shown = {"constraints": list(bounds.values())}  # the form that the dashboard reads
            copy.system_attrs = {**copy.system_attrs, **shown}
        return copy


def open_storage(place: str) -> BaseStorage:
    """Return an Optuna storage.

    Args:
      place: the URL of a database, such as `sqlite:///optuna.db`, or the path of a journal file.

    Raises:
      ValueError: it cannot be opened; the message is one line.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if "://" in place:
            return RDBStorage(place)
        Path(place).absolute().parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(place))
    except Exception as error:  # of sqlalchemy, of a driver that is missing, of the file
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"--optuna-storage {redact(place)}: {reason}") from None


def _metric_name(objective: str) -> str:
    """Return the name of an objective as Optuna maximises it."""
    return objective if find_objective(objective).larger else f"minus {objective}"
