"""The finals in the terminal: a line for each event, and the table at the end."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.formatting import format_clock, format_objective, objective_title
from search.record.view import Event, View
from search.reporting.terminal import print_text
from spaces import OBJECTIVES, find_objective


class FinalsLog:
    """A reader of the ledger that prints when a final training starts, finishes or fails.

    Args:
      console: where to print.
    """

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
            values = run.result.objectives
            text += "finished  " + "  ".join(
                f"{objective_title(n)} {format_objective(n, values[n])}" for n in run.result.aims
            )
            text += f"  | P(on the front) {_format_probabilities(compute_standings(view))}"
        else:
            return
        print_text(self.console, f"[{format_clock(view.elapsed)}] {text}")


def _format_probabilities(finalists: list[Finalist]) -> str:
    known = (f"{f.trial.number}: {f.p_front:.2f}" for f in finalists if not math.isnan(f.p_front))
    return ", ".join(known)


def finals_table(finalists: list[Finalist], score: str) -> Table:
    """Return the table of the finalists that have been trained again.

    Args:
      finalists: from `compute_standings`.
      score: name of the score of the search.
    """
    table = Table(
        title="Finalists, trained again with fresh seeds",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    table.add_column("trial", justify="right")
    table.add_column("P(front)", justify="right")
    table.add_column("seeds", justify="right")
    for name in next((f.aims for f in finalists), OBJECTIVES):
        table.add_column(f"{objective_title(name)} on test", justify="right")
    for text in ("worst seed", f"{score} score", "fresh seeds, same images", "masking gap"):
        table.add_column(text, justify="right")
    for f in finalists:
        if f.runs:
            mark = " *" if f.on_front else "  "
            table.add_row(str(f.trial.number), f"{f.p_front:.2f}{mark}", *_cells(f))
    return table


def _cells(f: Finalist) -> list[str]:
    judged = f.aims[f.judged]
    means = [_with_interval(n, f.mean[m], f.intervals[m]) for m, n in enumerate(f.aims)]
    others = (
        f.worst.result.point if f.worst and f.worst.result else None,
        f.trial.result.point if f.trial.result else None,
        f.validation_mean,
    )
    scores = ["–" if pair is None else _format(judged, pair[f.judged]) for pair in others]
    gap = f"{100 * f.gap[0]:.1f}{' flagged' * f.flagged}" if f.gap else "–"
    return [str(len(f.runs)), *means, *scores, gap]


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> str:
    low, high = sorted(find_objective(name).sign * end for end in interval)
    ends = (format_objective(name, end).removesuffix(" %") for end in (low, high))
    return f"{_format(name, value)} ({' to '.join(ends)})"


def _format(name: str, maximised: float) -> str:
    """Return a value of which larger is better in its own unit and direction."""
    return format_objective(name, find_objective(name).sign * maximised)
