"""Weights & Biases, written by the driver alone: a run for the study and one for each trial.

The tracker is a reader of the ledger. It hands each event to one daemon thread and forgets it, so
W&B can neither delay nor end a search: what goes wrong there costs one line and the tracking.
"""

from __future__ import annotations

import copy
import hashlib
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue
from ssl import SSLError
from typing import Any, final
from urllib.error import HTTPError
from urllib.request import urlopen

from search.ledger import Event, View
from search.login import resolve_mode as resolve_mode
from search.tables import columns, hypervolumes, rows
from search.trial import Trial
from spaces import OBJECTIVES

EVERY = 10.0  # seconds between two pictures of the study
ENDS = ("finished", "stopped", "failed")


@final
class Tracker:
    """A reader of the ledger that shows the study in W&B.

    Args:
      folder: of the run; all that W&B stages stays in `folder/wandb`.
      header: the ledger's first event.
      mode: "online", "offline" or "off", as `resolve_mode` says.
      project: in W&B.
      entity: in W&B; by default the account's own.
      say: takes the one line that says what went wrong.
      every: seconds between two pictures of the study.

    The ids are made from the header, so a resumed search goes on in the same runs.
    """

    def __init__(
        self,
        folder: Path,
        header: Mapping[str, Any],
        mode: str,
        project: str,
        entity: str | None = None,
        *,
        say: Callable[[str], None] = lambda line: None,
        every: float = EVERY,
    ) -> None:
        self.study = study_id(header)
        self._folder, self._mode, self._say, self._every = folder.absolute(), mode, say, every
        self._where = {"project": project, "entity": entity, "group": self.study}
        self._header = header
        self._queue: Queue[tuple[Event, Trial] | None] = Queue()
        self._latest: View | None = None
        self._counted: int | None = None
        self._flags: dict[int, bool] = {}
        self._runs: dict[str, Any] = {}
        self._url = ""
        self._thread = threading.Thread(target=self._serve, name="tracking", daemon=True)
        if mode != "off":
            self._thread.start()

    def __call__(self, event: Event, view: View) -> None:
        """Take note of an event; returns at once."""
        if self._mode == "off":
            return
        if self._counted is None:  # what an earlier session has told already
            self._counted = len(view.having("finished")) - (event["event"] == "finished")
            self._flags = _flags(view)
        if event["event"] in ENDS or event["event"] == "session":
            self._latest = _snapshot(view)
        if "trial" in event:
            self._queue.put((event, copy.copy(view.trials[event["trial"]])))

    def where(self) -> str:
        """The study's address when online, the command that uploads it when offline, else ""."""
        if self._mode == "offline":
            return f"wandb sync {shlex.quote(str(self._folder / 'wandb'))}/offline-run-*"
        return self._url if self._mode == "online" else ""

    def close(self, timeout: float = 20.0) -> None:
        """Finish all runs; what has not reached W&B after `timeout` seconds stays on disk."""
        self._queue.put(None)
        if self._mode == "off" or not self._thread.is_alive():
            return
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._mode = "off"
            runs = shlex.quote(str(self._folder / "wandb"))
            self._say(
                f"W&B did not take everything within {timeout:.0f} s, later: "
                f"wandb sync --include-online {runs}/*run-*"
            )
            _abandon()

    def _serve(self) -> None:
        try:
            self._start()
            drawn, due = None, time.monotonic()
            while True:
                with suppress(Empty):
                    item = self._queue.get(timeout=self._every)
                    if item is None:
                        break
                    self._log(*item)
                if self._latest is not drawn and time.monotonic() >= due:
                    drawn, due = self._latest, time.monotonic() + self._every
                    self._draw(drawn)
            self._finish()
        except Exception as error:  # W&B may raise anything; a search must not hear of it
            if self._mode != "off":
                self._mode = "off"
                self._say(f"W&B tracking is off: {_line(error)}")

    def _start(self) -> None:
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
        import wandb

        wandb.setup(wandb.Settings(silent=True, mode=self._mode))
        if self._mode == "online":
            self._mode = "offline" if (trouble := _trouble(wandb)) else "online"
            if trouble:
                self._say(f"W&B is offline: {trouble}; upload later: {self.where()}")
        plain = {k: v for k, v in self._header.items() if k not in {"event", "time", "format"}}
        run = self._run(self.study, "study", str(self._header.get("name", self.study)), plain)
        run.define_metric("*", step_metric="finished")
        run.define_metric("hypervolume", step_metric="finished", summary="max")
        self._url = run.url or ""

    def _run(self, key: str, job: str, name: str, config: Mapping[str, Any]) -> Any:
        """The open run with the id `key`; a new one, or the one of an earlier session."""
        if key not in self._runs:
            import wandb

            settings = wandb.Settings(
                silent=True, console="off", x_disable_stats=True, x_save_requirements=False,
                disable_git=True, disable_code=True, init_timeout=30, stop_fn=lambda: None,
                x_transaction_log_flush_interval=1,
            )  # fmt: skip
            self._runs[key] = wandb.init(
                id=key, name=name, job_type=job, config=dict(config), mode=self._mode,
                dir=str(self._folder), resume="allow", reinit="create_new", settings=settings,
                **self._where,
            )  # fmt: skip
        return self._runs[key]

    def _trial(self, trial: Trial) -> Any:
        key = f"{self.study}-{trial.name}"
        fresh = key not in self._runs
        run = self._run(key, "trial", f"trial {trial.name}", {"seed": trial.seed, **trial.params})
        if fresh:
            run.define_metric("*", step_metric="epoch")
        return run

    def _log(self, event: Event, trial: Trial) -> None:
        run = self._trial(trial)
        if event["event"] == "epoch":
            run.log({**event["metrics"], "seconds": event["seconds"], "epoch": event["epoch"]})
        if event["event"] in ENDS:
            self._flags[trial.number] = _flags(self._latest).get(trial.number, False)
            run.summary.update(_summary(trial) | {"on_front": self._flags[trial.number]})
            self._runs.pop(run.id).finish(exit_code=int(trial.state == "failed"))

    def _draw(self, view: View | None) -> None:
        """The study as it stands: its numbers, the table of all trials, the front as a chart."""
        if view is None:
            return
        import wandb

        from search.figures import front

        run, names = self._runs[self.study], columns(view)
        for n, area in enumerate(hypervolumes(view), start=1):
            if n > (self._counted or 0):
                run.log({"finished": n, "hypervolume": area})
                self._counted = n
        table = [[row[name] for name in names] for row in rows(view)]
        run.log({
            "finished": self._counted or 0,
            "failed": len(view.having("failed")),
            "front_size": len(view.front()),
            "trials": wandb.Table(columns=names, data=table, allow_mixed_types=True),
            "front": wandb.Plotly(front(view)),
        })  # fmt: skip

    def _finish(self) -> None:
        self._draw(self._latest)
        for key, run in self._runs.items():
            if key != self.study:
                run.summary["state"] = "interrupted"
            run.finish()
        self._runs.clear()
        for number, on_front in _flags(self._latest).items():
            if on_front != self._flags.get(number, on_front):
                trial = self._latest.trials[number]  # type: ignore[union-attr]
                run = self._trial(trial)
                run.summary["on_front"] = on_front
                run.finish()


def study_id(header: Mapping[str, Any]) -> str:
    """An id for W&B that two studies share only if they are the same one."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", str(header.get("name", "study")))[:40]
    token = header.get("id") or hashlib.sha256(repr(header.get("time")).encode()).hexdigest()[:8]
    return f"{name}-{re.sub(r'[^A-Za-z0-9_-]+', '-', str(token))[:24]}"


def _snapshot(view: View) -> View:
    trials = {n: replace(trial, epochs=dict(trial.epochs)) for n, trial in view.trials.items()}
    return View(view.header, trials, list(view.sessions), view.elapsed)


def _flags(view: View | None) -> dict[int, bool]:
    """Which of the finished trials are on the front."""
    best = {trial.number for trial in view.front()} if view else set()
    return {trial.number: trial.number in best for trial in view.having("finished")} if view else {}


def _summary(trial: Trial) -> dict[str, Any]:
    told: dict[str, Any] = {"state": trial.state}
    if trial.reason:
        told["reason"] = trial.reason
    if trial.result:
        told |= trial.result.objectives
        for name in OBJECTIVES:
            if name in trial.result.intervals:
                told[f"{name}_low"], told[f"{name}_high"] = trial.result.intervals[name]
        told["best_epoch"] = trial.result.details.get("best_epoch")
    return told


def _trouble(wandb: Any) -> str:
    """Why W&B cannot be reached with the key at hand, or "". Takes about 15 s at most."""
    server = wandb.setup().settings.base_url
    try:
        urlopen(server, timeout=5).close()
    except HTTPError:
        pass  # an answer, which is all that is asked for
    except OSError as error:
        if not isinstance(getattr(error, "reason", None), SSLError):  # W&B brings its own roots
            return f"{server} cannot be reached ({getattr(error, 'reason', error)})"
    try:
        return "" if wandb.login(prompt=False, verify=True) else "there is no API key"
    except Exception as error:
        return _line(error)


def _line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _abandon() -> None:
    """End wandb-core: at exit W&B would wait for it without limit. The data are on disk by then."""
    with suppress(Exception):
        import wandb

        connection = wandb.sdk.wandb_setup.singleton()._connection
        connection._cleanup()  # takes the waiting out of the exit
        connection._proc._process.kill()
