"""The finals in the terminal: a line for each event, and the table at the end."""

from __future__ import annotations

import math

from rich.console import Console
from rich.table import Table

from search.finals.finalist import Finalist
from search.finals.selection import SURE
from search.finals.standings import compute_standings
from search.formatting import format_clock, format_objective, format_value, objective_title
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


def finals_table(finalists: list[Finalist]) -> Table:
    """Return the table of the finalists that have been trained again.

    Reported members of the front are marked with "*", nets that cannot be told from it with "?".
    The page and `finalists.csv` hold more of each.

    Args:
      finalists: from `compute_standings`; only the known ones are shown.
    """
    known = [f for f in finalists if f.known]
    names = list(dict.fromkeys(name for f in known for name in f.trial.params))
    flagged = any(f.flagged for f in known)
    table = Table(
        title="Pareto front (*), and what cannot be told from it (?)",
        title_justify="left",
        title_style="bold",
        box=None,
    )
    aims = next((f.aims for f in known), OBJECTIVES)
    heads = ("trial", "P(front)", "seeds", *(f"{objective_title(n)} on test" for n in aims))
    for head in (*heads, *names, *("masking gap",) * flagged):
        table.add_column(head, justify="right", overflow="fold")
    for f in known:
        gap = f"{100 * f.gap[0]:.1f}{' flagged' * f.flagged}" if f.gap else ""
        table.add_row(
            f"{mark_finalist(f)} {f.trial.number}".strip(),
            f"{f.p_front:.2f}",
            str(len(f.runs)),
            *(_with_interval(n, f.mean[m], f.intervals[m]) for m, n in enumerate(aims)),
            *(format_value(f.trial.params.get(name, "")) for name in names),
            *(gap,) * flagged,
        )
    return table


def mark_finalist(f: Finalist) -> str:
    """Return "*" for a reported member of the front, "?" for what cannot be told from it."""
    if f.on_front:
        return "*"
    return "?" if f.p_front > SURE else ""


def _with_interval(name: str, value: float, interval: tuple[float, float]) -> str:
    low, high = sorted(find_objective(name).sign * end for end in interval)
    ends = (format_objective(name, end).removesuffix(" %") for end in (low, high))
    return f"{_format(name, value)} ({' to '.join(ends)})"


def _format(name: str, maximised: float) -> str:
    """Return a value of which larger is better in its own unit and direction."""
    return format_objective(name, find_objective(name).sign * maximised)
