"""What the terminal shows while a search runs: a live table, or a line an event in a plain log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.record.trial import Trial
from search.record.view import Event, View
from spaces import OBJECTIVES, Value

EVERY = 60.0  # seconds between two epoch lines in a plain log
MOST = 8  # rows of the front on the screen
FINAL = 2.0  # trials' worth of work in a training of the finals, with its strong attacks


class Live:
    """A reader of the ledger; use it as a context.

    Args:
      console: where to print; its kind decides between the live table and plain lines.
      trials: how many are planned in all.
      view: what was there before this session.
      finals: how many trainings with fresh seeds come after it, as far as one knows.
    """

    def __init__(self, console: Console, trials: int, view: View, finals: int = 0) -> None:
        self.console, self.trials, self.finals = console, trials, finals
        self._began = time.monotonic()
        self._before = _work(view)
        self._told = -EVERY
        self._view = view
        self._body: RenderableType = Text()
        self._live = RichLive(
            console=console, get_renderable=self._screen, refresh_per_second=2, transient=True
        )

    def __enter__(self) -> Live:
        if self.console.is_terminal:
            self._body = _body(self._view)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def __call__(self, event: Event, view: View) -> None:
        """Show one more event."""
        self._view = view
        if self.console.is_terminal:
            self._body = _body(view)
        line = self._line(event, view)
        if line:
            say(self.console, line)

    def _line(self, event: Event, view: View) -> str:
        """What a plain log says of an event, "" for nothing; a terminal hears of failures only."""
        kind = event["event"]
        text = ""
        if kind == "failed":
            text = f"trial {event['trial']} failed: {event['reason']}"
        elif kind == "relaxed":
            text = f"fewer trials are stopped: {event['reason']}"
        elif self.console.is_terminal:
            return ""
        elif kind == "proposed":
            text = f"trial {event['trial']} started  {knobs(event['params'])}"
        elif kind == "finished":
            trial = view.trials[event["trial"]]
            said = "".join(f"  {remark}" for remark in trial.remarks)
            text = f"trial {trial.number} finished  {values(trial)}{said}  {self._state(view)}"
        elif kind == "stopped":
            text = f"trial {event['trial']} stopped early: {event['reason']}"
        elif kind == "epoch" and time.monotonic() - self._told > EVERY:
            self._told = time.monotonic()
            text = f"trial {event['trial']} epoch {event['epoch']}/{event['epochs']}"
        if not text:
            return ""
        self._told = time.monotonic()
        return f"[{clock(view.elapsed)}] {text}"

    def _state(self, view: View) -> str:
        done, failed = len(view.in_state("finished")), len(view.in_state("failed"))
        stopped = len(view.in_state("stopped"))
        running = len(view.in_state("running"))
        best = " / ".join(_best(view, name) for name in OBJECTIVES)
        return (
            f"| {done}/{self.trials} done, {running} running, {stopped} stopped, {failed} failed "
            f"| best {best} | "
            f"front {len(view.front())} | {self._left(view)}"
        )

    def _left(self, view: View) -> str:
        """How long it will still take, from what this session has done so far."""
        done = _work(view) - self._before
        rest = self._all(view) - _work(view)
        if done < 0.2:
            return "time left unknown yet"
        return f"about {clock((time.monotonic() - self._began) / done * max(0.0, rest))} left"

    def _all(self, view: View) -> float:
        """The whole work in trials' worth, finals included."""
        return self.trials + FINAL * self._trainings(view)

    def _trainings(self, view: View) -> int:
        """Of the finals: as many as they have said, once they have begun."""
        return view.finals_header.trainings if view.finals else self.finals

    def _screen(self) -> RenderableType:
        view = self._view
        counts = Table.grid(padding=(0, 1))
        again = len(view.finals.in_state("finished")) if view.finals else 0
        finals = f", {again}/{self._trainings(view)} again" if self._trainings(view) else ""
        counts.add_row(
            ProgressBar(total=self._all(view), completed=_work(view), width=30),
            f"{len(view.in_state('finished'))}/{self.trials} done{finals}",
            f"· {len(_running(view))} running",
            f"· {len(view.in_state('stopped'))} stopped",
            f"· {len(view.in_state('failed'))} failed",
            f"· {clock(view.elapsed + self._since(view))} elapsed",
            f"· {self._left(view)}",
        )
        return Group(counts, self._body)

    def _since(self, view: View) -> float:
        last = view.sessions[-1].last if view.sessions else None
        return 0.0 if last is None else max(0.0, time.time() - last)


def _work(view: View) -> float:
    """Trials' worth of work done; the attack at the end counts as much as half of the epochs."""
    total = FINAL * _work(view.finals) if view.finals else 0.0
    for trial in list(view.trials.values()):
        if trial.state != "running":
            total += 1
        elif trial.epochs:
            last = trial.epochs[max(trial.epochs)]
            total += last.epoch / (1.5 * last.epochs)
    return total


def say(console: Console, text: str) -> None:
    """Print sentences: folded between words on a screen, one line in a log."""
    console.print(text, markup=False, soft_wrap=not console.is_terminal)


def longer(trainings: int, trials: int) -> str:
    """What so many trainings of the finals add to a search of so many trials."""
    return f"about {100 * FINAL * trainings / trials:.0f} % more time, --finalists off saves it"


def _body(view: View) -> RenderableType:
    running = "   ".join(
        f"{name}: epoch {max(trial.epochs, default=0)}/{_epochs(trial)}{_overfitted(trial)}"
        for name, trial in _running(view)[:MOST]
    )
    best = "   ".join(f"{title(name)} {_best(view, name)}" for name in OBJECTIVES)
    parts: list[RenderableType] = [Text(f"best     {best}"), Text(f"running  {running}")]
    members = view.front()
    if members:
        parts.append(front_table(members[:MOST], intervals=False))
        if len(members) > MOST:
            parts.append(Text(f"and {len(members) - MOST} more on the front"))
    return Group(*parts)


def _running(view: View) -> list[tuple[str, Trial]]:
    """The trials that run, and those of the finals, each with its name."""
    again = view.finals.in_state("running") if view.finals else []
    return [
        *((str(trial.number), trial) for trial in view.in_state("running")),
        *((f"final {trial.number}", trial) for trial in again),
    ]


def _epochs(trial: Trial) -> str:
    return str(trial.epochs[max(trial.epochs)].epochs) if trial.epochs else "?"


def _overfitted(trial: Trial) -> str:
    return " overfitted" if trial.epochs and max(trial.epochs) in trial.overfitted else ""


def _best(view: View, name: str) -> str:
    found = [t.result.objectives[name] for t in view.in_state("finished") if t.result]
    return shown(name, max(found)) if found else "none yet"


def front_table(members: Sequence[Trial], *, intervals: bool = True) -> Table:
    """The front: both objectives, with their intervals if wanted, and the knobs."""
    names = list(dict.fromkeys(name for trial in members for name in trial.params))
    table = Table(title="Pareto front", title_justify="left", title_style="bold", box=None)
    table.add_column("trial", justify="right")
    for name in OBJECTIVES:
        table.add_column(title(name), justify="right")
    for name in names:
        table.add_column(name, justify="right")
    for trial in members:
        cells = [_cell(trial, name, intervals) for name in OBJECTIVES]
        table.add_row(
            str(trial.number), *cells, *(value(trial.params.get(name, "")) for name in names)
        )
    return table


def _cell(trial: Trial, name: str, intervals: bool) -> str:
    if trial.result is None:
        return ""
    text = shown(name, trial.result.objectives[name])
    pair = trial.result.intervals.get(name)
    if intervals and pair:
        low, high = (shown(name, end).removesuffix(" %") for end in pair)
        text += f" ({low} to {high})"
    return text


def values(trial: Trial) -> str:
    """Both objectives of a finished trial, in words."""
    return "  ".join(f"{title(name)} {_cell(trial, name, False)}" for name in OBJECTIVES)


def title(name: str) -> str:
    """An objective's name as people read it."""
    return name.replace("_", " ")


def shown(name: str, number: float) -> str:
    """An objective in its unit: accuracies in percent, the score as a sum of percentages."""
    return f"{100 * number:.1f} %" if name.endswith("accuracy") else f"{number:.1f}"


def knobs(params: dict[str, Value]) -> str:
    """A point in one line."""
    return " ".join(f"{name}={value(v)}" for name, v in params.items())


def value(v: Value) -> str:
    """A knob's value, short."""
    return f"{v:.4g}" if isinstance(v, float) else str(v)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
