"""The finals in the terminal: a line for each event."""

from __future__ import annotations

import math

from rich.console import Console

from search.finals.finalist import Finalist
from search.finals.selection import SURE
from search.finals.standings import compute_standings
from search.formatting import format_clock, format_objective, objective_title
from search.record.view import Event, View
from search.reporting.terminal import is_live, print_text


class FinalsLog:
    """A reader of the ledger that prints when a final training starts, finishes or fails.

    Args:
      console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console

    def __call__(self, event: Event, view: View) -> None:
        """Print the line of an event, if it has one; a live view shows finals itself."""
        if event["event"] != "final" or view.finals is None or is_live(self.console):
            return
        part = event["part"]
        if part["event"] == "excused" and part.get("reason"):
            print_text(self.console, f"[{format_clock(view.elapsed)}] {part['reason']}")
            return
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


def mark_finalist(f: Finalist) -> str:
    """Return "*" for a reported member of the front, "?" for what cannot be told from it."""
    if f.on_front:
        return "*"
    return "?" if f.p_front > SURE else ""
