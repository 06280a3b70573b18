"""What Weights & Biases is told of a study: a run for it, for each trial, for each finalist.

`tracking` calls this on a thread of its own: what stands here may be slow, and may raise.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import Event, View
from search.reporting.csv_tables import columns, gap_of, hypervolumes, rows
from search.reporting.finals_csv import FINALISTS, finalist_rows
from search.tracking.wandb_login import trouble_with
from spaces import OBJECTIVES

ENDS = ("finished", "stopped", "failed")


@final
class Board:
    """The runs of one study.

    Args:
      folder: of the run, absolute; all that W&B stages stays in `folder/wandb`.
      study: the id and the group, see `tracking.study_id`.
      header: the ledger's first event.
      mode: "online" or "offline".
      project: in W&B.
      entity: in W&B; by default the account's own.
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
        self._drawn = 0  # finished trials of which the hypervolume has been told
        self._flags: dict[int, bool] = {}  # what W&B believes of the front

    def know(self, view: View, event: Event) -> None:
        """Take as told what an earlier session told: all in `view` but the `event` just come."""
        self._drawn = len(view.in_state("finished")) - (event["event"] == "finished")
        self._flags = dict(_flags(view))

    def open(self) -> str:
        """Start W&B and the study's run. Returns why it is offline against the wish, or ""."""
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
        wandb = _wandb()
        wandb.setup(wandb.Settings(silent=True, mode=self.mode))
        trouble = trouble_with(wandb) if self.mode == "online" else ""
        if trouble:
            self.mode = "offline"
        config = {k: v for k, v in self._header.to_json().items() if k not in {"time", "format"}}
        run = self._run(self._study, "study", self._header.name or self._study, config)
        run.define_metric("*", step_metric="finished")
        run.define_metric("hypervolume", step_metric="finished", summary="max")
        self.url = run.url or ""
        return trouble

    def tell(self, event: Event, trial: Trial, view: View | None) -> None:
        """One event of one trial; `view` is the newest state of the study.

        A `final` event comes with the training of the finals that it is of.
        """
        if event["event"] == "final":
            self._tell_final(event["part"], trial)
            return
        run = self._trial(trial)
        if event["event"] == "epoch":
            run.log({**event["metrics"], "seconds": event["seconds"], "epoch": event["epoch"]})
        if event["event"] in ENDS:
            self._flags[trial.number] = on_front = dict(_flags(view)).get(trial.number, False)
            run.summary.update({**_summary(trial), "on_front": on_front})
            self._runs.pop(run.id).finish(exit_code=int(trial.state == "failed"))

    def _tell_final(self, part: Event, trial: Trial) -> None:
        """One event of a training with a fresh seed: a run with the job type `finalist`."""
        config = {"seed": trial.seed, "trial": int(trial.origin), **trial.params}
        run = self._curve(f"{self._study}-final-{trial.name}", "finalist", trial, config)
        if part["event"] == "epoch":
            run.log({**part["metrics"], "seconds": part["seconds"], "epoch": part["epoch"]})
        if part["event"] in ENDS:
            told = _summary(trial)
            if trial.result:
                details = trial.result.details
                known = {"validation": details.validation, "claimed": details.claimed}
                for kind, values in known.items():
                    told |= {f"{kind}_{name}": value for name, value in (values or {}).items()}
            run.summary.update(told)
            self._runs.pop(run.id).finish(exit_code=int(trial.state == "failed"))

    def draw(self, view: View | None) -> None:
        """The study as it stands: its numbers, the table of all trials, the front as a chart."""
        if view is None:
            return
        from search.reporting.plots import front

        run, names, area = self._runs[self._study], columns(view), hypervolumes(view)
        for n in range(self._drawn, len(area)):
            run.log({"finished": n + 1, "hypervolume": area[n]})
        self._drawn = max(self._drawn, len(area))
        table = [[row[name] for name in names] for row in rows(view)]
        run.log({
            "finished": self._drawn, "failed": len(view.in_state("failed")),
            "front_size": len(view.front()),
            "trials": _wandb().Table(columns=names, data=table, allow_mixed_types=True),
            "front": _wandb().Plotly(front(view)),
            **_finals(view),
        })  # fmt: skip

    def close(self, view: View | None) -> None:
        """The last picture; all runs end, and trials that the front has lost since are told so."""
        self.draw(view)
        for key, run in self._runs.items():
            if key != self._study:
                run.summary["state"] = "interrupted"
            run.finish()
        self._runs.clear()
        for number, on_front in _flags(view):
            if view and on_front != self._flags.get(number, on_front):
                run = self._trial(view.trials[number])
                run.summary["on_front"] = on_front
                run.finish()

    def _trial(self, trial: Trial) -> Any:
        config = {"seed": trial.seed, **trial.params}
        return self._curve(f"{self._study}-{trial.name}", "trial", trial, config)

    def _curve(self, key: str, job: str, trial: Trial, config: Mapping[str, Any]) -> Any:
        """A run whose values are shown over epochs."""
        fresh = key not in self._runs
        run = self._run(key, job, f"{job} {trial.name}", config)
        if fresh:
            run.define_metric("*", step_metric="epoch")
        return run

    def _run(self, key: str, job: str, name: str, config: Mapping[str, Any]) -> Any:
        """The open run with the id `key`; a new one, or the one of an earlier session."""
        if key not in self._runs:
            settings = _wandb().Settings(
                silent=True, console="off", x_disable_stats=True, x_save_requirements=False,
                disable_git=True, disable_code=True, init_timeout=30,
                stop_fn=lambda: None,  # by default a click in W&B interrupts the whole search
                x_transaction_log_flush_interval=1,
            )  # fmt: skip
            self._runs[key] = _wandb().init(
                id=key, name=name, job_type=job, config=dict(config), mode=self.mode,
                dir=str(self._folder), resume="allow", reinit="create_new", settings=settings,
                **self._place,
            )  # fmt: skip
        return self._runs[key]


def abandon() -> None:
    """Take back that W&B waits for its uploads at exit, which has no limit.

    Its own process sees the driver end and ends too; the data are on disk by then.
    """
    with suppress(Exception):
        _wandb().sdk.wandb_setup.singleton()._connection._cleanup()


def _wandb() -> Any:
    return importlib.import_module("wandb")


def _finals(view: View) -> dict[str, Any]:
    """The finalists' table and their front, where there are finals."""
    rows_ = finalist_rows(view)
    if not any(row["seeds"] for row in rows_):
        return {}
    from search.reporting.finals_plots import finals_front

    data = [[row[name] for name in FINALISTS] for row in rows_]
    return {
        "finalists": _wandb().Table(columns=list(FINALISTS), data=data, allow_mixed_types=True),
        "finals_front": _wandb().Plotly(finals_front(view)),
    }


def _flags(view: View | None) -> Iterator[tuple[int, bool]]:
    """Which of the finished trials are on the front."""
    if view is not None:
        best = {trial.number for trial in view.front()}
        yield from ((trial.number, trial.number in best) for trial in view.in_state("finished"))


def _summary(trial: Trial) -> dict[str, Any]:
    told: dict[str, Any] = {"state": trial.state}
    if trial.reason:
        told["reason"] = trial.reason
    if trial.result:
        told |= trial.result.objectives
        for name in OBJECTIVES:
            if name in trial.result.intervals:
                told[f"{name}_low"], told[f"{name}_high"] = trial.result.intervals[name]
        told |= gap_of(trial)
        told["best_epoch"] = trial.result.details.best_epoch
    return told
