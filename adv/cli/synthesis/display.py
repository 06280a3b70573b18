"""The terminal output of `python -m adv synthesize`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from adv.generative.ddls import Trace
from adv.generative.metrics import SetScores
from adv.intervals import wilson
from adv.terminal.console import open_console, print_line, print_sentence, print_table

_LINES = 20


@contextmanager
def progress_bar(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """Show a progress bar on a terminal, and yield the function that advances it.

    The function takes the number of steps done and a line of text. About twenty of the lines are
    printed, above the bar on a terminal, else to stdout.
    """
    terminal = open_console(stderr=True)
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(
        *(*columns, TimeRemainingColumn()),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    ) as progress:
        task, printed = progress.add_task("", total=total), 0

        def advance(done: int, line: str) -> None:
            nonlocal printed
            progress.update(task, completed=done)
            if done * _LINES // total <= printed and done != total:
                return
            printed = done * _LINES // total
            if terminal.is_terminal and sys.stdout.isatty():
                terminal.print(line, highlight=False, markup=False)
            else:
                print_line(line)

        yield advance


def print_trace(trace: Trace, before: int) -> None:
    """Print how the chains of DDLS went; `before` images were sampled by an earlier run."""
    steps = len(trace.accepted)
    shown = sorted({0, steps // 4, steps // 2, 3 * steps // 4, steps})
    energies = ", ".join(f"{trace.energy[step]:.2f} ({step})" for step in shown)
    since = f", without the first {before} images" if before else ""
    accepted = f"{100 * trace.acceptance:.1f} %"
    print_sentence(f"mean energy (after steps): {energies}; accepted {accepted}{since}")


def print_scores(rows: list[SetScores], net: str, images: int) -> None:
    """Print the scores of sets, held-out real images in the first row as the upper limit."""
    console = open_console()
    console.print(f"{images} images compared with as many training images; features of {net}")
    table = Table(box=None)
    columns = ("", "own-Frechet", "precision", "recall", "density", "coverage", "as labelled")
    for column in columns:
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        shares = (row.prdc.precision, row.prdc.recall)
        rest = f"{row.prdc.density:.2f}", f"{100 * row.prdc.coverage:.1f} %"
        parts = [f"{100 * share:.1f} %" for share in shares]
        low, high = wilson(row.agreement, images)
        right = f"{100 * row.agreement:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        table.add_row(row.title, f"{row.distance:.2f}", *parts, *rest, right)
    print_table(console, table)
    for row in rows[1:]:
        copies = row.memorisation
        low, high = wilson(copies.close, copies.images)
        console.print(
            f"\n{row.title}: {copies.copies} copies of training images; median distance to the "
            f"nearest one {copies.nearest:.2f} times that of held-out images; closer than the "
            f"closest percent of these: {100 * copies.close:.1f} % "
            f"({100 * low:.1f} to {100 * high:.1f})"
        )
