"""What the live view of a search shows, for the size of the terminal it gets.

Where it is too low, parts are left out in this order: the scatter, the record of early stopping,
all but the last failures, the rows of the front after the third, and the running trials after the
third. Where it is too narrow, columns of the tables are (`search.reporting.fitted_table`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.formatting import format_clock, format_objective, objective_title
from search.outcome.front import RunFront, find_front
from search.outcome.front_member import FrontMember
from search.outcome.marks import SYMBOL
from search.record.view import View
from search.reporting.front_table import front_table
from search.reporting.running_table import list_running, running_table
from search.reporting.scatter import draw_scatter
from search.stopping.audit import describe_stopping
from spaces import find_objective

MAX_ROWS = 8  # of a table
LESS_ROWS = 3  # of a table, where the terminal is low
SCATTER = (72, 12)  # columns and rows, at most
NARROW = 40  # columns below which there is no scatter


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Args:
      done: work that is done, in seconds or any other unit.
      total: of the whole work.
      trials: planned.
      trainings: final ones that follow, or have begun.
      elapsed: seconds.
      left: in words.
    """

    done: float
    total: float
    trials: int
    trainings: int
    elapsed: float
    left: str


@dataclass(frozen=True)
class Standing:
    """What of a search changes only when a trial ends, and takes a moment to compute.

    Args:
      front: of the run so far.
      points: both objectives of each scored trial, as they are recorded.
      on_front: which of them are on the front.
      best: of each objective, as text.
      stopping: sentences on early stopping.
    """

    front: RunFront
    points: Sequence[tuple[float, float]] = ()
    on_front: Sequence[bool] = ()
    best: str = ""
    stopping: Sequence[str] = ()


def stand(view: View) -> Standing:
    """Return how a search stands."""
    front, aims = find_front(view), view.header.aims
    numbers, scored = set(front.numbers), view.scored()
    results = [trial.result.objectives for trial in scored if trial.result]
    best = ", ".join(f"{objective_title(name)} {find_best(view, name)}" for name in aims)
    return Standing(
        front,
        [(values[aims[0]], values[aims[1]]) for values in results],
        [trial.number in numbers for trial in scored],
        f"best so far: {best}",
        describe_stopping(view)[:2],
    )


@dataclass(frozen=True)
class LiveScreen:
    """The live view, as parts that rich can draw.

    Args:
      view: of the search.
      standing: of the search.
      progress: how far it is.
      folder: of the run, in which the trials say what phase they are in; None: they do not.
    """

    view: View
    standing: Standing
    progress: Progress
    folder: Path | None = None

    def fit(self, console: Console) -> list[RenderableType]:
        """Return the parts that fit into the window of a console."""
        plain = not console.encoding.startswith("utf")
        options, height = console.options, max(4, console.height - 1)
        parts: list[RenderableType] = []
        for level in range(5):
            parts = self._list_parts(options.max_width, level, ascii_only=plain)
            lines = (len(console.render_lines(part, options, pad=False)) for part in parts)
            if sum(lines) <= height:
                break
        return parts

    def _list_parts(self, width: int, level: int, *, ascii_only: bool) -> list[RenderableType]:
        """Return the parts of the screen; the higher the level, the less of them."""
        view, front = self.view, self.standing.front
        rows, front_rows = (LESS_ROWS if level >= least else MAX_ROWS for least in (4, 3))
        running = list_running(view)
        parts: list[RenderableType] = [
            *_describe_head(view),
            *_draw_progress(view, self.progress, len(running), width),
            Text(self.standing.best),
        ]
        if running:
            parts.append(running_table(running[:rows], view, self.folder))
            parts += _more(len(running) - rows, "running")
        if level < 1 and width >= NARROW and len(self.standing.points) > 1:
            size = (min(width, SCATTER[0]), SCATTER[1])
            points, on = self.standing.points, self.standing.on_front
            parts.append(draw_scatter(points, on, view.header.aims, size, ascii_only=ascii_only))
        if front.members:
            title = f"Front so far, {view.header.score} score"
            if front.source == "finals":
                title = "Front of the finals so far"
            parts.append(front_table(front.members[:front_rows], title))
            parts += _more(len(front.members) - front_rows, "on the front")
            parts += _name_marks(front.members[:front_rows])
        parts += [Text(line, "dim") for line in self.standing.stopping if level < 2]
        return parts + _describe_failures(view, 3 if level < 3 else 1)


def _describe_failures(view: View, most: int) -> list[RenderableType]:
    failed = [("trial", trial) for trial in view.in_state("failed")]
    failed += [("final", t) for t in (view.finals.in_state("failed") if view.finals else ())]
    return [Text(f"{kind} {t.number} failed: {t.reason}", "red") for kind, t in failed[-most:]]


def _describe_head(view: View) -> list[Text]:
    header = view.header
    name, question = header.name or header.space, header.question
    return [Text(f"{name}: {question}" if question else name, "bold")] if name else []


def _draw_progress(
    view: View, progress: Progress, running: int, width: int
) -> list[RenderableType]:
    finals = ""
    if progress.trainings:
        done = len(view.finals.in_state("finished")) if view.finals else 0
        finals = f", final trainings {done}/{progress.trainings}"
    counts = (
        f"{len(view.in_state('finished'))}/{progress.trials} done{finals}, {running} running, "
        f"{len(view.in_state('stopped'))} stopped, {len(view.in_state('failed'))} failed, "
        f"{format_clock(progress.elapsed)} elapsed, {progress.left}"
    )
    total = max(progress.total, 1e-9)
    bar = ProgressBar(total=total, completed=min(progress.done, total), width=min(width, 60))
    line = Table.grid()
    line.add_row(bar)
    return [line, Text(counts)]


def _name_marks(members: Sequence[FrontMember]) -> list[Text]:
    """Return a line that names what is marked with "!"; the end of the search says it in full."""
    found = [f"trial {m.trial.number} {mark.name}" for m in members for mark in m.marks]
    return [Text(f"{SYMBOL} {', '.join(found)}", "dim")] if found else []


def _more(number: int, what: str) -> list[Text]:
    return [Text(f"and {number} more {what}", "dim")] if number > 0 else []


def find_best(view: View, name: str) -> str:
    """Return the best value of an objective among the trials that may be on the front, as text."""
    every = view.scored()
    kept = [t for t in every if view.feasible(t)] or every
    found = [t.result.objectives[name] for t in kept if t.result]
    best = max if find_objective(name).larger else min
    return format_objective(name, best(found)) if found else "none yet"
