"""The progress of a search in the terminal: a live view, or one line per event in a plain log."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from rich.console import (
    Console,
    Group,
    RenderableType,
)
from rich.text import Text

from adv.terminal.console import wrap_sentences
from search.formatting import format_clock, format_params
from search.outcome.front import RunFront
from search.record.view import Event, View
from search.reporting.front_table import format_result
from search.reporting.live_screen import LiveScreen, Progress, Standing, find_best, stand
from search.reporting.resized_live import Folded, ResizedLive
from search.reporting.time_left import FINAL_WORK, describe_time_left

EPOCH_EVERY = 60.0  # seconds between two epoch lines in a plain log
_TURNS = {
    "finished",
    "failed",
    "stopped",
    "rebuilt",
    "net",
    "finals",
}  # after which the front may differ


class LiveProgress:
    """A reader of the ledger that shows the progress; use it as a context.

    Args:
      console: where to print; a terminal gets the live view, anything else plain lines.
      trials: how many are planned.
      view: the state before this session.
      finals: how many final trainings follow, as far as is known.
      folder: of the run, in which the trials say what they do after their last epoch.
      since: seconds that have gone by since the last event of the view.
    """

    def __init__(
        self,
        console: Console,
        trials: int,
        view: View,
        finals: int = 0,
        folder: Path | None = None,
        since: float = 0.0,
    ) -> None:
        self.console, self.trials, self.finals, self.folder = console, trials, finals, folder
        self._heard = time.monotonic() - since
        self._last_line = -EPOCH_EVERY
        self._is_live = is_live(console)
        self._view = view
        self._standing = stand(view) if self._is_live else Standing(RunFront("search"))
        self._drawn: RenderableType = Text()
        self._live = ResizedLive(
            console=console, get_renderable=self._draw, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> LiveProgress:
        if self._is_live:
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
        inner = event.get("part", event) if event["event"] == "final" else event
        if self._is_live and inner["event"] in _TURNS:
            self._standing = stand(view)
        line = self._line(event, view)
        if line:
            print_text(self.console, line)

    def _line(self, event: Event, view: View) -> str:
        """Return the line of an event, or "". A live view shows failures itself."""
        kind = event["event"]
        text = ""
        if kind == "relaxed":
            text = f"stopping fewer trials: {event['reason']}"
        elif kind == "excused" and event.get("reason"):
            text = str(event["reason"])
        elif self._is_live:
            return ""
        elif kind == "failed":
            text = f"trial {event['trial']} failed: {event['reason']}"
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
            text = f"trial {event['trial']} epoch {event['epoch']}/{event['epochs']}"
        if not text:
            return ""
        self._last_line = time.monotonic()
        return f"[{format_clock(view.elapsed)}] {text}"

    def _state(self, view: View) -> str:
        done, failed = len(view.in_state("finished")), len(view.in_state("failed"))
        stopped = len(view.in_state("stopped"))
        running = len(view.in_state("running"))
        best = " / ".join(find_best(view, name) for name in view.header.aims)
        return (
            f"| {done}/{self.trials} done, {running} running, {stopped} stopped, {failed} failed "
            f"| best {best} | "
            f"front {len(view.front())} | {self._describe_time_left(view)}"
        )

    def _describe_time_left(self, view: View, since: float = 0.0) -> str:
        """Return the time left in words, `since` seconds after the latest event."""
        return describe_time_left(view, self.trials, self._trainings(view), since)

    def _trainings(self, view: View) -> int:
        """Return how many final trainings there are: as recorded once the finals have begun."""
        return view.finals_header.trainings if view.finals else self.finals

    def _draw(self) -> RenderableType:
        """Return the screen; it is called from another thread, while the view may change."""
        with suppress(RuntimeError):  # a dictionary has grown while it was read
            screen = LiveScreen(self._view, self._standing, self._progress(), self.folder)
            self._drawn = Folded(Group(*screen.fit(self.console)))
        return self._drawn

    def _progress(self) -> Progress:
        view, since = self._view, time.monotonic() - self._heard
        trainings = self._trainings(view)
        return Progress(
            done=_work(view),
            total=self.trials + FINAL_WORK * trainings,
            trials=self.trials,
            trainings=trainings,
            elapsed=view.elapsed + since,
            left=self._describe_time_left(view, since),
        )


def is_live(console: Console) -> bool:
    """Return whether a console can show a view that changes: a terminal that moves its cursor."""
    moves = console.is_terminal and not console.is_dumb_terminal
    return moves or (console.is_jupyter and find_spec("ipywidgets") is not None)


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
    lines = wrap_sentences(Text(text, style), console.width) if console.is_terminal else [text]
    for line in lines:
        console.print(line, style=style, markup=False, soft_wrap=True)


def print_command(console: Console, command: str) -> None:
    """Print a command on a line of its own, which the terminal may break but a copy does not."""
    console.print(Text(f"  {command}"), soft_wrap=True)


def describe_finals_cost(trainings: int, trials: int) -> str:
    """Return how much longer a search takes with so many final trainings, as words."""
    share = 100 * FINAL_WORK * trainings / trials
    return f"about {share:.0f} % more time; --finalists off skips them"
