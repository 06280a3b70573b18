"""The W&B runs of a search: one for the search, one for each trial, one for each final training.

The tracker calls this on a thread of its own, so it may be slow and may raise.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import Event, View
from search.tracking.logged_runs import LoggedRuns
from search.tracking.metric_names import epoch_row
from search.tracking.run_records import (
    ENDS,
    RunRecord,
    all_records,
    common_tags,
    make_record,
)
from search.tracking.standing import Standing, find_standing
from search.tracking.wandb_environment import hide_run_variables
from search.tracking.wandb_login import find_login_problem
from search.tracking.wandb_nets import NetFile, find_left_net, find_nets, log_net
from search.tracking.wandb_run import set_tags, start_run
from search.tracking.wandb_study import StudyRun


@final
class WandbRuns:
    """The W&B runs of one search.

    Args:
      folder: of the run, absolute; W&B keeps its files in `folder/wandb`.
      study: the id and the group in W&B, see `tracker.study_id`.
      header: of the ledger.
      mode: "online" or "offline".
      project: in W&B.
      entity: in W&B; by default that of the account.
    """

    def __init__(
        self,
        folder: Path,
        study: str,
        header: StudyHeader,
        mode: str,
        project: str,
        entity: str | None,
    ) -> None:
        self.mode, self.url, self.entity, self.project = mode, "", entity, project
        self._folder, self._study, self._header = folder, study, header
        self.opened = 0  # how many runs were, of this session
        self._runs: dict[str, Any] = {}
        self._rows: dict[str, int] = {}  # of the open runs: the rows of their history so far
        self._nets: dict[str, NetFile] | None = None  # those to log; None: not yet
        self._standing: tuple[View, Standing] | None = None
        self._roles = False  # whether `_standing` has them
        self._logged: LoggedRuns
        self._whole: StudyRun

    def open(self) -> str:
        """Start W&B, and online the run of the search.

        Returns:
          Why W&B is offline although it should be online, or "".
        """
        here = self._folder / "wandb"
        here.mkdir(parents=True, exist_ok=True)
        if not os.access(here, os.W_OK):
            raise PermissionError(f"{here} is not writable")
        os.environ |= {
            "WANDB_DIR": str(self._folder),
            "WANDB_DATA_DIR": str(here / "data"),
            "WANDB_CACHE_DIR": str(here / "cache"),
            "WANDB_ARTIFACT_DIR": str(here / "artifacts"),
        }
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it sends even in offline mode
        logging.raiseExceptions = False  # else W&B's log on a full disk prints tracebacks
        wandb = _wandb()
        with hide_run_variables():
            wandb.setup(wandb.Settings(silent=True, mode=self.mode))
        problem = find_login_problem(wandb) if self.mode == "online" else ""
        if problem:
            self.mode = "offline"
        place = [self.mode, self.entity, self.project]
        self._logged = LoggedRuns(here, "/".join(filter(None, place)))
        known = self._logged.has(self._study, _config(self._header))
        rows = self._logged.rows(self._study) if known else 0  # scored again: other hypervolumes
        self._whole = StudyRun(wandb, self._study_run, self._study, self._logged, rows)
        if self.mode == "online":  # offline an open run is a folder, which news alone deserve
            run = self._study_run()
            self.url, self.entity = run.url or "", self.entity or run.entity
        return problem

    def log_event(self, event: Event, trial: Trial, view: View | None) -> None:
        """Log one event of a trial, and epochs before it that have not been logged.

        Args:
          event: of the ledger.
          trial: that the event is about; for a `final` event the training of the finals.
          view: the latest state of the search.
        """
        final = event["event"] == "final"
        part = event["part"] if final else event
        standing = self._find_standing(view)
        record = make_record(self._study, trial, self._header, standing, final=final)
        if part["event"] in ENDS:
            self._log_end(record)
            return
        run = self._trial_run(record)
        if part["event"] == "epoch":  # one may be trained again
            self._rows[record.key] = min(self._rows[record.key], part["epoch"] - 1)
            self._log_epochs(record.key, run, trial, part["epoch"])

    def update(self, view: View) -> None:
        """Log whatever of the trials that have ended differs from what W&B has been told.

        An earlier session may have been killed before it had logged everything, trials may have
        left the front since, or have other scores.
        """
        for record in all_records(self._study, view, self._find_standing(view, roles=True)):
            if record.ended:
                self._log_end(record)

    def _find_standing(self, view: View | None, *, roles: bool = False) -> Standing:
        """Return the place of the nets of a search, which is computed once for each view.

        The roles are assigned when a session begins and ends: while it runs they change often.
        """
        if view is None:
            return Standing()
        if self._standing is None or self._standing[0] is not view or (roles and not self._roles):
            self._standing, self._roles = (view, find_standing(view, roles=roles)), roles
        return self._standing[1]

    def _log_end(self, record: RunRecord) -> None:
        """Log the end of a trial or final training and close its run, unless this has been done."""
        key, told = record.key, _told(record)
        net = self._find_net(record)
        if key not in self._runs and self._logged.has(key, told) and net is None:
            return
        run = self._trial_run(record)
        self._log_epochs(key, run, record.trial, max(record.trial.epochs, default=0))
        run.summary.update(record.summary)
        if net:
            log_net(_wandb(), run, record, net, online=self.mode == "online")
            self._logged.note(f"{key}/net", 1, _told_of_net(net))
        self._runs.pop(key).finish(exit_code=int(record.trial.state == "failed"))
        self._logged.note(key, self._rows.pop(key), told)

    def _find_net(self, record: RunRecord) -> NetFile | None:
        """Return the net of a run if W&B is to be told of it now."""
        if self._nets is None:
            return None
        net, noted = self._nets.get(record.key), f"{record.key}/net"
        if net is None and self._logged.rows(noted):
            net = find_left_net(record, self._folder)
        return None if net is None or self._logged.has(noted, _told_of_net(net)) else net

    def _log_epochs(self, key: str, run: Any, trial: Trial, last: int) -> None:
        """Log the epochs of a trial up to `last` that its run does not have."""
        for number, report in sorted(dict(trial.epochs).items()):
            if self._rows[key] < number <= last:
                run.log(epoch_row(report))
        self._rows[key] = max(self._rows[key], last)

    def log_study(self, view: View | None, *, whole: bool = False) -> None:
        """Log the state of the search to its own run.

        Args:
          view: the latest state; None: nothing is known yet.
          whole: also what takes time: the finals, the importance, all figures.
        """
        if view is None:
            return
        if view.header != self._header:  # the run was scored again
            self._header = view.header
            self._study_run().config.update(_config(view.header), allow_val_change=True)
            self._whole.rows = 0
        self._whole.log(view, self._find_standing(view, roles=whole), whole=whole)

    def close(self, view: View | None, *, nets: bool = False) -> None:
        """Log the last state, and finish all runs.

        Args:
          view: the last state.
          nets: log the nets of the front as well, because it is not going to change soon.
        """
        self.log_study(view, whole=True)
        if view:
            standing = self._find_standing(view, roles=True)
            if nets:
                self._nets = find_nets(self._study, standing, self._folder)
            self.update(view)
            for record in all_records(self._study, view, standing):
                key, last = record.key, max(record.trial.epochs, default=0)
                if not record.ended and last > self._rows.get(key, self._logged.rows(key)):
                    self._log_epochs(key, self._trial_run(record), record.trial, last)
        self._rows[self._study] = self._whole.rows
        for key, run in self._runs.items():
            summary = _config(self._header) if key == self._study else {"state": "interrupted"}
            if key != self._study:
                run.summary.update(summary)
            run.finish()
            self._logged.note(key, self._rows[key], summary)
        self._whole.note()
        self._runs.clear()

    def _study_run(self) -> Any:
        """Return the open run of the search, whose metrics are over the finished trials."""
        fresh = self._study not in self._runs
        name = self._header.name or self._study
        run = self._run(self._study, "study", name, _config(self._header))
        if fresh:
            run.define_metric("*", step_metric="finished")
            set_tags(run, common_tags(self._header))
        return run

    def _trial_run(self, record: RunRecord) -> Any:
        """Return the open run of a trial or a final training, whose metrics are over epochs."""
        fresh = record.key not in self._runs
        run = self._run(record.key, record.kind, record.name, record.config)
        if fresh:
            run.define_metric("*", step_metric="epoch")
        set_tags(run, record.tags)
        return run

    def _run(self, key: str, job: str, name: str, config: Mapping[str, Any]) -> Any:
        """Return the open run with the id `key`: a new one, or that of an earlier session."""
        if key not in self._runs:
            place = {"project": self.project, "entity": self.entity, "group": self._study}
            where = {"mode": self.mode, "dir": str(self._folder), **place}
            self._runs[key] = start_run(
                _wandb(), id=key, name=name, job_type=job, config=dict(config), **where
            )
            self._rows[key] = self._logged.rows(key)
            self.opened += 1
        return self._runs[key]


def drop_pending_uploads() -> None:
    """Keep W&B from waiting for its uploads at exit, which it does without a limit.

    The process of W&B ends when the driver does; the data is on disk by then.
    """
    with suppress(Exception):
        _wandb().sdk.wandb_setup.singleton()._connection._cleanup()


def _config(header: StudyHeader) -> dict[str, Any]:
    """Return what a search began with, and its score, as the config of its run."""
    plain = {k: v for k, v in header.to_json().items() if k not in {"time", "format"}}
    return {**plain, "score": header.score}


def _told(record: RunRecord) -> dict[str, Any]:
    """Return all that W&B is told of a run at its end, beside its epochs."""
    return {"summary": record.summary, "config": record.config, "tags": record.tags}


def _told_of_net(net: NetFile) -> dict[str, Any]:
    return {"sha256": net.sha256, "aliases": net.aliases}


def _wandb() -> Any:
    return importlib.import_module("wandb")
