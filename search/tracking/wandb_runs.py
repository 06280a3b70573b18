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
from search.tracking.wandb_environment import hide_run_variables
from search.tracking.wandb_login import find_login_problem
from spaces import OBJECTIVES

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
        self._logged = 0  # finished trials whose hypervolume has been logged
        self._on_front: dict[int, bool] = {}  # as logged last, by trial

    def mark_as_logged(self, view: View, event: Event) -> None:
        """Skip what an earlier session has logged: all in `view` except the new `event`."""
        self._logged = len(view.scored()) - (event["event"] == "finished")
        self._on_front = dict(_on_front(view))

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
        config = _config(self._header)
        run = self._run(self._study, "study", self._header.name or self._study, config)
        run.define_metric("*", step_metric="finished")
        run.define_metric("hypervolume", step_metric="finished", summary="max")
        self.url = run.url or ""
        return problem

    def log_event(self, event: Event, trial: Trial, view: View | None) -> None:
        """Log one event of a trial.

        Args:
          event: of the ledger.
          trial: that the event is about; for a `final` event the training of the finals.
          view: the latest state of the search.
        """
        if event["event"] == "final":
            self._log_final(event["part"], trial)
            return
        run = self._trial_run(trial)
        if event["event"] == "epoch":
            run.log({**event["metrics"], "seconds": event["seconds"], "epoch": event["epoch"]})
        if event["event"] in ENDS:
            self._on_front[trial.number] = on_front = dict(_on_front(view)).get(trial.number, False)
            run.summary.update({**_summary(trial), "on_front": on_front})
            self._runs.pop(run.id).finish(exit_code=int(trial.state == "failed"))

    def _log_final(self, part: Event, trial: Trial) -> None:
        """Log one event of a final training to a run with the job type `finalist`."""
        config = {"seed": trial.seed, "trial": int(trial.origin), **trial.params}
        run = self._epoch_run(f"{self._study}-final-{trial.name}", "finalist", trial, config)
        if part["event"] == "epoch":
            run.log({**part["metrics"], "seconds": part["seconds"], "epoch": part["epoch"]})
        if part["event"] in ENDS:
            summary = _summary(trial)
            if trial.result:
                details = trial.result.details
                known = {"validation": details.validation, "claimed": details.claimed}
                for kind, values in known.items():
                    summary |= {f"{kind}_{name}": value for name, value in (values or {}).items()}
            run.summary.update(summary)
            self._runs.pop(run.id).finish(exit_code=int(trial.state == "failed"))

    def log_study(self, view: View | None) -> None:
        """Log the state of the search: counts, the table of all trials, the front as a chart."""
        if view is None:
            return
        from search.reporting.plots import front

        run, names, area = self._runs[self._study], column_names(view), hypervolumes(view)
        if view.header != self._header:  # the run was scored again
            self._header = view.header
            run.config.update(_config(view.header), allow_val_change=True)
        for n in range(self._logged, len(area)):
            run.log({"finished": n + 1, "hypervolume": area[n]})
        self._logged = max(self._logged, len(area))
        table = [[row[name] for name in names] for row in trial_rows(view)]
        run.log(
            {
                "finished": self._logged,
                "failed": len(view.in_state("failed")),
                "front_size": len(view.front()),
                "trials": _wandb().Table(columns=names, data=table, allow_mixed_types=True),
                "front": _wandb().Plotly(front(view)),
                **_finals_charts(view),
            }
        )

    def close(self, view: View | None) -> None:
        """Log the last state, finish all runs, and correct `on_front` where it has changed."""
        self.log_study(view)
        for key, run in self._runs.items():
            if key != self._study:
                run.summary["state"] = "interrupted"
            run.finish()
        self._runs.clear()
        for number, on_front in _on_front(view):
            if view and on_front != self._on_front.get(number, on_front):
                run = self._trial_run(view.trials[number])
                run.summary["on_front"] = on_front
                run.finish()

    def _trial_run(self, trial: Trial) -> Any:
        config = {"seed": trial.seed, **trial.params}
        return self._epoch_run(f"{self._study}-{trial.name}", "trial", trial, config)

    def _epoch_run(self, key: str, job: str, trial: Trial, config: Mapping[str, Any]) -> Any:
        """Return the open run with the id `key`, whose metrics are plotted over epochs."""
        fresh = key not in self._runs
        run = self._run(key, job, f"{job} {trial.name}", config)
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


def _on_front(view: View | None) -> Iterator[tuple[int, bool]]:
    """Yield each finished trial's number, and whether it is on the front."""
    if view is not None:
        best = {trial.number for trial in view.front()}
        yield from ((trial.number, trial.number in best) for trial in view.in_state("finished"))


def _summary(trial: Trial) -> dict[str, Any]:
    """Return the final values of a trial, as W&B shows them."""
    summary: dict[str, Any] = {"state": trial.state}
    if trial.reason:
        summary["reason"] = trial.reason
    if trial.result:
        summary |= trial.result.objectives
        for name in OBJECTIVES:
            if name in trial.result.intervals:
                summary[f"{name}_low"], summary[f"{name}_high"] = trial.result.intervals[name]
        summary |= gap_columns(trial)
        summary["best_epoch"] = trial.result.details.best_epoch
    return summary
