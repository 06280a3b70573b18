"""The finals in the terminal: a line for each training, and the table at the end."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.record.view import Event, View
from search.reporting.terminal import clock, say, shown, title
from spaces import OBJECTIVES


class Again:
    """A reader that says of each training in the finals when it starts and what came of it."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: Event, view: View) -> None:
        """Print the line of an event, if it has one."""
        if event["event"] != "final" or view.finals is None:
            return
        part = event["part"]
        run = view.finals.trials[part["trial"]]
        text = f"final {run.number} (trial {run.origin}, seed {run.seed}) "
        if part["event"] == "proposed":
            text += "started"
        elif part["event"] == "failed":
            text += f"failed: {part['reason']}"
        elif part["event"] == "finished" and run.result:
            values = zip(OBJECTIVES, run.result.point, strict=True)
            text += "finished  " + "  ".join(f"{title(n)} {shown(n, v)}" for n, v in values)
            text += f"  | P(on the front) {_chances(compute_standings(view))}"
        else:
            return
        say(self.console, f"[{clock(view.elapsed)}] {text}")


def _chances(field: list[Finalist]) -> str:
    known = (f"{f.trial.number}: {f.p_front:.2f}" for f in field if not math.isnan(f.p_front))
    return ", ".join(known)


def finals_table(field: list[Finalist]) -> Table:
    """Means with intervals, P(on the front), and what chose those with fresh values."""
    table = Table(
        title="Finalists, trained again with fresh seeds", title_justify="left",
        title_style="bold", box=None,
    )  # fmt: skip
    table.add_column("trial", justify="right")
    table.add_column("P(front)", justify="right")
    table.add_column("seeds", justify="right")
    for name in OBJECTIVES:
        table.add_column(f"{title(name)} on test", justify="right")
    for text in ("worst seed", "search score", "again, same images", "masking gap"):
        table.add_column(text, justify="right")
    for f in field:
        if f.runs:
            mark = " *" if f.on_front else "  "
            table.add_row(str(f.trial.number), f"{f.p_front:.2f}{mark}", *_cells(f))
    return table


def _cells(f: Finalist) -> list[str]:
    score = OBJECTIVES[1]
    worst = f.worst.result.point[1] if f.worst and f.worst.result else math.nan
    means = [_with(name, f.mean[m], f.intervals[m]) for m, name in enumerate(OBJECTIVES)]
    chose = f.trial.result.point[1] if f.trial.result else math.nan
    again = shown(score, f.validation_mean[1]) if f.validation_mean else "–"
    gap = f"{100 * f.gap[0]:.1f}{' flagged' * f.flagged}" if f.gap else "–"
    return [str(len(f.runs)), *means, shown(score, worst), shown(score, chose), again, gap]


def _with(name: str, value: float, interval: tuple[float, float]) -> str:
    low, high = (shown(name, end).removesuffix(" %") for end in interval)
    return f"{shown(name, value)} ({low} to {high})"
