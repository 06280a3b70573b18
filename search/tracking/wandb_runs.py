"""The W&B runs of a search: one for the search, one for each trial, one for each final training.

The tracker calls this on a thread of its own, so it may be slow and may raise.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from search.finals.standings import compute_standings
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import Event, View
from search.reporting.csv_tables import column_names, gap_columns, hypervolumes, trial_rows
from search.reporting.finals_csv import FINALISTS, finalist_rows
from search.tracking.logged_runs import LoggedRuns
from search.tracking.wandb_environment import hide_run_variables
from search.tracking.wandb_login import find_login_problem

ENDS = ("finished", "stopped", "failed")


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
        self.mode, self.url = mode, ""
        self._folder, self._study, self._header = folder, study, header
        self._place = {"project": project, "entity": entity, "group": study}
        self._runs: dict[str, Any] = {}
        self._rows: dict[str, int] = {}  # of the open runs: the rows of their history so far
        self._logged: LoggedRuns

    def open(self) -> str:
        """Start W&B and the run of the search.

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
        place = [self.mode, self._place["entity"], self._place["project"]]
        self._logged = LoggedRuns(here, "/".join(filter(None, place)))
        config = _config(self._header)
        run = self._run(self._study, "study", self._header.name or self._study, config)
        run.define_metric("*", step_metric="finished")
        if not self._logged.has(self._study, config):  # scored again since: other hypervolumes
            self._rows[self._study] = 0
        self.url = run.url or ""
        return problem

    def log_event(self, event: Event, trial: Trial, view: View | None) -> None:
        """Log one event of a trial, and epochs before it that have not been logged.

        Args:
          event: of the ledger.
          trial: that the event is about; for a `final` event the training of the finals.
          view: the latest state of the search.
        """
        final = event["event"] == "final"
        part, key = (event["part"] if final else event), self._key(trial, final=final)
        if part["event"] in ENDS:
            best = _front_numbers(view) if view and not final else set()
            self._log_end(trial, best, final=final)
            return
        run = self._trial_run(trial, final=final)
        if part["event"] == "epoch":
            self._rows[key] = min(self._rows[key], part["epoch"] - 1)  # one may be trained again
            self._log_epochs(key, run, trial, part["epoch"])

    def update(self, view: View) -> None:
        """Log whatever of the trials that have ended differs from what W&B has been told.

        An earlier session may have been killed before it had logged everything, trials may have
        left the front since, or have other scores.
        """
        best = _front_numbers(view)
        for trial, is_final in _trials(view):
            if trial.state in ENDS:
                self._log_end(trial, best, final=is_final)

    def _log_end(self, trial: Trial, best: set[int], *, final: bool) -> None:
        """Log the end of a trial and close its run, unless this has been done.

        Args:
          trial: a trial, or a final training.
          best: numbers of the trials on the front.
          final: whether it is a final training.
        """
        key, summary = self._key(trial, final=final), _summary(trial)
        summary |= _final_values(trial) if final else {"on_front": trial.number in best}
        if key not in self._runs and self._logged.has(key, summary):
            return
        run = self._trial_run(trial, final=final)
        self._log_epochs(key, run, trial, max(trial.epochs, default=0))
        run.summary.update(summary)
        self._runs.pop(key).finish(exit_code=int(trial.state == "failed"))
        self._logged.note(key, self._rows.pop(key), summary)

    def _log_epochs(self, key: str, run: Any, trial: Trial, last: int) -> None:
        """Log the epochs of a trial up to `last` that its run does not have."""
        for number, epoch in sorted(dict(trial.epochs).items()):
            if self._rows[key] < number <= last:
                run.log({**epoch.metrics, "seconds": epoch.seconds, "epoch": number})
        self._rows[key] = max(self._rows[key], last)

    def log_study(self, view: View | None) -> None:
        """Log the state of the search: counts, the table of all trials, the front as a chart."""
        if view is None:
            return
        from search.reporting.plots import front

        run, names, area = self._runs[self._study], column_names(view), hypervolumes(view)
        if view.header != self._header:  # the run was scored again
            self._header = view.header
            run.config.update(_config(view.header), allow_val_change=True)
            self._rows[self._study] = 0
        for n in range(self._rows[self._study], len(area)):
            run.log({"finished": n + 1, "hypervolume": area[n]})
        self._rows[self._study] = max(self._rows[self._study], len(area))
        table = [[row[name] for name in names] for row in trial_rows(view)]
        run.log(
            {
                "finished": len(area),
                "failed": len(view.in_state("failed")),
                "front_size": len(view.front()),
                "trials": _wandb().Table(columns=names, data=table, allow_mixed_types=True),
                "front": _wandb().Plotly(front(view)),
                **_finals_charts(view),
            }
        )

    def close(self, view: View | None) -> None:
        """Log the last state, and finish all runs."""
        self.log_study(view)
        if view:
            self.update(view)
            for trial, is_final in _trials(view):
                key, last = self._key(trial, final=is_final), max(trial.epochs, default=0)
                if trial.state not in ENDS and last > self._rows.get(key, self._logged.rows(key)):
                    self._log_epochs(key, self._trial_run(trial, final=is_final), trial, last)
        for key, run in self._runs.items():
            summary = _config(self._header) if key == self._study else {"state": "interrupted"}
            if key != self._study:
                run.summary.update(summary)
            run.finish()
            self._logged.note(key, self._rows[key], summary)
        self._runs.clear()

    def _key(self, trial: Trial, *, final: bool) -> str:
        """Return the id of the run of a trial, or of a final training."""
        return f"{self._study}-{'final-' * final}{trial.name}"

    def _trial_run(self, trial: Trial, *, final: bool) -> Any:
        """Return the open run of a trial or a final training, whose metrics are over epochs."""
        key, job = self._key(trial, final=final), "finalist" if final else "trial"
        fresh = key not in self._runs
        of = {"trial": int(trial.origin)} if final else {}
        run = self._run(key, job, f"{job} {trial.name}", {"seed": trial.seed, **of, **trial.params})
        if fresh:
            run.define_metric("*", step_metric="epoch")
        return run

    def _run(self, key: str, job: str, name: str, config: Mapping[str, Any]) -> Any:
        """Return the open run with the id `key`: a new one, or that of an earlier session."""
        if key not in self._runs:
            settings = _wandb().Settings(
                silent=True,
                console="off",
                x_disable_stats=True,
                x_save_requirements=False,
                disable_git=True,
                disable_code=True,
                init_timeout=30,
                stop_fn=lambda: None,  # by default a click in W&B interrupts this process
                x_transaction_log_flush_interval=1,
            )
            with hide_run_variables():
                self._runs[key] = _wandb().init(
                    id=key,
                    name=name,
                    job_type=job,
                    config=dict(config),
                    mode=self.mode,
                    dir=str(self._folder),
                    resume="allow",
                    reinit="create_new",
                    settings=settings,
                    **self._place,
                )
            self._rows[key] = self._logged.rows(key)
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


def _wandb() -> Any:
    return importlib.import_module("wandb")


def _finals_charts(view: View) -> dict[str, Any]:
    """Return the table of the finalists and their front, if there are finals."""
    finalists = compute_standings(view)
    rows_ = finalist_rows(finalists)
    if not any(row["seeds"] for row in rows_):
        return {}
    from search.reporting.finals_plots import finals_front

    data = [[row[name] for name in FINALISTS] for row in rows_]
    return {
        "finalists": _wandb().Table(columns=list(FINALISTS), data=data, allow_mixed_types=True),
        "finals_front": _wandb().Plotly(finals_front(view, finalists)),
    }


def _trials(view: View) -> Iterator[tuple[Trial, bool]]:
    """Yield each trial and each final training, and whether it is one of these."""
    for part, is_final in ((view, False), (view.finals, True)):
        yield from ((trial, is_final) for trial in (part.trials.values() if part else ()))


def _front_numbers(view: View) -> set[int]:
    return {trial.number for trial in view.front()}


def _summary(trial: Trial) -> dict[str, Any]:
    """Return the final values of a trial, as W&B shows them."""
    summary: dict[str, Any] = {"state": trial.state}
    if trial.reason:
        summary["reason"] = trial.reason
    if trial.result:
        summary |= trial.result.objectives
        for name in trial.result.objectives:
            if name in trial.result.intervals:
                summary[f"{name}_low"], summary[f"{name}_high"] = trial.result.intervals[name]
        summary |= gap_columns(trial)
        summary["best_epoch"] = trial.result.details.best_epoch
    return summary


def _final_values(trial: Trial) -> dict[str, Any]:
    """Return the values of a final training under the battery of the search."""
    if not trial.result:
        return {}
    details = trial.result.details
    known = {"validation": details.validation, "claimed": details.claimed}
    return {
        f"{kind}_{name}": value
        for kind, values in known.items()
        for name, value in (values or {}).items()
    }
