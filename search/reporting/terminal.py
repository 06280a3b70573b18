"""The progress of a search in the terminal: a live table, or one line per event in a plain log."""

from __future__ import annotations

import time
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.formatting import (
    format_clock,
    format_objective,
    format_params,
    objective_title,
)
from search.outcome.front import search_member
from search.record.trial import Trial
from search.record.view import Event, View
from search.reporting.front_table import format_result, front_table
from spaces import find_objective

EPOCH_EVERY = 60.0  # seconds between two epoch lines in a plain log
MAX_ROWS = 8  # of the front on the screen
FINAL_WORK = 2.0  # work of a final training with its attacks, in units of a trial


class LiveProgress:
    """A reader of the ledger that shows the progress; use it as a context.

    Args:
      console: where to print; a terminal gets the live table, anything else plain lines.
      trials: how many are planned.
      view: the state before this session.
      finals: how many final trainings follow, as far as is known.
    """

    def __init__(self, console: Console, trials: int, view: View, finals: int = 0) -> None:
        self.console, self.trials, self.finals = console, trials, finals
        self._began = self._heard = time.monotonic()
        self._before = _work(view)
        self._last_line = -EPOCH_EVERY
        self._view = view
        self._body: RenderableType = Text()
        self._live = RichLive(
            console=console, get_renderable=self._screen, refresh_per_second=2, transient=True
        )
        self._is_live = console.is_terminal or _is_live_notebook(console)

    def __enter__(self) -> LiveProgress:
        if self._is_live:
            self._body = _body(self._view)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_live:
            self._live.stop()

    def __call__(self, event: Event, view: View) -> None:
        """Show one more event."""
        self._view, self._heard = view, time.monotonic()
        if self._is_live:
            self._body = _body(view)
        line = self._line(event, view)
        if line:
            print_text(self.console, line)

    def _line(self, event: Event, view: View) -> str:
        """Return the line of an event, or "". A terminal prints failures and relaxations only."""
        kind = event["event"]
        text = ""
        if kind == "failed":
            text = f"trial {event['trial']} failed: {event['reason']}"
        elif kind == "relaxed":
            text = f"stopping fewer trials: {event['reason']}"
        elif self._is_live:
            return ""
        elif kind == "proposed":
            text = f"trial {event['trial']} started  {format_params(event['params'])}"
        elif kind == "finished":
            trial = view.trials[event["trial"]]
            remarks = "".join(f"  {remark}" for remark in trial.remarks)
            result = format_result(trial)
            text = f"trial {trial.number} finished  {result}{remarks}  {self._state(view)}"
        elif kind == "stopped":
            text = f"trial {event['trial']} stopped early: {event['reason']}"
        elif kind == "epoch" and time.monotonic() - self._last_line > EPOCH_EVERY:
            self._last_line = time.monotonic()
            text = f"trial {event['trial']} epoch {event['epoch']}/{event['epochs']}"
        if not text:
            return ""
        self._last_line = time.monotonic()
        return f"[{format_clock(view.elapsed)}] {text}"

    def _state(self, view: View) -> str:
        done, failed = len(view.in_state("finished")), len(view.in_state("failed"))
        stopped = len(view.in_state("stopped"))
        running = len(view.in_state("running"))
        best = " / ".join(_best(view, name) for name in view.header.aims)
        return (
            f"| {done}/{self.trials} done, {running} running, {stopped} stopped, {failed} failed "
            f"| best {best} | "
            f"front {len(view.front())} | {self._time_left(view)}"
        )

    def _time_left(self, view: View) -> str:
        """Return the estimated time left, from the speed of this session."""
        done = _work(view) - self._before
        rest = self._all(view) - _work(view)
        if done < 0.2:
            return "time left not known yet"
        return (
            f"about {format_clock((time.monotonic() - self._began) / done * max(0.0, rest))} left"
        )

    def _all(self, view: View) -> float:
        """Return the whole work in units of a trial, finals included."""
        return self.trials + FINAL_WORK * self._trainings(view)

    def _trainings(self, view: View) -> int:
        """Return how many final trainings there are: as recorded once the finals have begun."""
        return view.finals_header.trainings if view.finals else self.finals

    def _screen(self) -> RenderableType:
        view = self._view
        counts = Table.grid(padding=(0, 1))
        done = len(view.finals.in_state("finished")) if view.finals else 0
        total = self._trainings(view)
        finals = f", final trainings {done}/{total}" if total else ""
        counts.add_row(
            ProgressBar(total=self._all(view), completed=_work(view), width=30),
            f"{len(view.in_state('finished'))}/{self.trials} done{finals}",
            f"· {len(_running(view))} running",
            f"· {len(view.in_state('stopped'))} stopped",
            f"· {len(view.in_state('failed'))} failed",
            f"· {format_clock(view.elapsed + time.monotonic() - self._heard)} elapsed",
            f"· {self._time_left(view)}",
        )
        return Group(counts, self._body)


def _is_live_notebook(console: Console) -> bool:
    """Return whether the output is a notebook that can show a table which changes."""
    return console.is_jupyter and find_spec("ipywidgets") is not None


def _work(view: View) -> float:
    """Return the work done in units of a trial; its evaluation counts as half of its epochs."""
    total = FINAL_WORK * _work(view.finals) if view.finals else 0.0
    for trial in list(view.trials.values()):
        if trial.state != "running":
            total += 1
        elif trial.epochs:
            last = trial.epochs[max(trial.epochs)]
            total += last.epoch / (1.5 * last.epochs)
    return total


def print_text(console: Console, text: str, style: str = "") -> None:
    """Print sentences: wrapped at words on a terminal, as one line in a log."""
    console.print(Text(text, style), soft_wrap=not console.is_terminal)


def print_command(console: Console, command: str) -> None:
    """Print a command on a line of its own, which the terminal may break but a copy does not."""
    console.print(Text(f"  {command}"), soft_wrap=True)


def describe_finals_cost(trainings: int, trials: int) -> str:
    """Return how much longer a search takes with so many final trainings, as words."""
    share = 100 * FINAL_WORK * trainings / trials
    return f"about {share:.0f} % more time; --finalists off skips them"


def _body(view: View) -> RenderableType:
    running = "   ".join(
        f"{name}: epoch {max(trial.epochs, default=0)}/{_epochs(trial)}{_overfitting_mark(trial)}"
        for name, trial in _running(view)[:MAX_ROWS]
    )
    best = "   ".join(f"{objective_title(name)} {_best(view, name)}" for name in view.header.aims)
    parts: list[RenderableType] = [Text(f"best     {best}"), Text(f"running  {running}")]
    members = view.front()
    if members:
        rows = [search_member(trial, view.header) for trial in members[:MAX_ROWS]]
        parts.append(front_table(rows, f"Pareto front, {view.header.score} score"))
        if len(members) > MAX_ROWS:
            parts.append(Text(f"and {len(members) - MAX_ROWS} more on the front"))
    return Group(*parts)


def _running(view: View) -> list[tuple[str, Trial]]:
    """Return the running trials and final trainings, each with its name."""
    finals = view.finals.in_state("running") if view.finals else []
    return [
        *((str(trial.number), trial) for trial in view.in_state("running")),
        *((f"final {trial.number}", trial) for trial in finals),
    ]


def _epochs(trial: Trial) -> str:
    return str(trial.epochs[max(trial.epochs)].epochs) if trial.epochs else "?"


def _overfitting_mark(trial: Trial) -> str:
    return " overfitted" if trial.epochs and max(trial.epochs) in trial.overfitted else ""


def _best(view: View, name: str) -> str:
    found = [t.result.objectives[name] for t in view.in_state("finished") if t.result]
    best = max if find_objective(name).larger else min
    return format_objective(name, best(found)) if found else "none yet"
