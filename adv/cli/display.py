"""What `python -m adv` prints."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import rich_click as click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from adv.attacks import Hunt
from adv.cli.target import Subject
from adv.evaluation.attack_speed import Speed
from adv.evaluation.randomized_smoothing import Certificates
from adv.evaluation.score import Score
from adv.intervals import wilson
from adv.models.size import SHOWN, name_of, size_of
from adv.runtime.random_streams import is_random
from adv.training.loop import Epoch


def show(score: Score, subject: Subject) -> None:
    """Print what an evaluation found, smaller balls first, then in the battery's order."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(subject.title, markup=False)
    random = is_random(subject.net)
    how = f"{score.draws} draws a gradient, {score.votes} votes" if random else "not random"
    console.print(f"{score.images} {subject.split} images, 95 % Wilson intervals, {how}\n")
    table = Table(box=None)
    for column in ("attack", "eps", "accuracy", "interval"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    rows = [(score.names[i], score.eps[i], score.attacked_accuracies[i]) for i in score.order]
    for name, eps, share in [("none", 0.0, score.natural_accuracy), *rows]:
        table.add_row(escape(name), f"{eps:.4g}", f"{100 * share:.1f} %", _between(score, share))
    console.print(table)
    if len(set(score.eps)) > 1:
        low, high = score.attacked_interval
        console.print(f"\naggregated attacked score  {score.attacked_score:.1f} "
                      f"({low:.1f} to {high:.1f}), of {100 * len(score.names)}")  # fmt: skip
        console.print(f"mean {100 * score.mean:.1f} %, worst case {100 * score.worst:.1f} %, "
                      f"area under the curve {100 * score.area:.1f} %")  # fmt: skip
    elif len(score.names) > 1:
        console.print(f"\nstands against all of them  {100 * score.worst:.1f} % "
                      f"({_between(score, score.worst)})")  # fmt: skip


def _between(score: Score, share: float) -> str:
    low, high = wilson(share, score.images)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def show_certificates(found: Certificates, subject: Subject, trained: float | None) -> None:
    """Print certified accuracies over the radius; `trained` is the noise the net has met."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(subject.title, markup=False)
    console.print(
        f"{len(found.labels)} {subject.split} images, 95 % Wilson intervals, "
        f"sigma {found.sigma:g}, {found.draws} draws, alpha {found.alpha:g}\n"
    )
    table = Table(box=None)
    for column in ("l2 radius", "certified accuracy", "interval"):
        table.add_column(column, justify="right")
    radii = [r for k in range(9) if (r := found.sigma * k / 2) <= found.largest]
    for radius, share, low, high in found.curve(radii):
        between = f"{100 * low:.1f} to {100 * high:.1f}"
        table.add_row(f"{radius:.3g}", f"{100 * share:.1f} %", between)
    console.print(table)
    console.print(f"\nabstained {100 * found.abstained:.1f} %, largest radius {found.largest:.3g}")
    if trained is None or abs(trained - found.sigma) > 0.01 * found.sigma:
        met = "without noise" if trained is None else f"in noise of sigma {trained:g}"
        console.print(f"the net was trained {met}: one trained in this noise has larger radii")


def show_models() -> None:
    """Print each net with its size; several where its settings decide the size."""
    table = Table(box=None)
    for column in ("net", "parameters", "multiply-adds an image"):
        table.add_column(column, justify="left" if column == "net" else "right")
    for net in SHOWN:
        size = size_of(net)
        table.add_row(name_of(net), f"{size.parameters:,}", f"{size.multiply_adds / 1e6:,.1f} M")
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(
        "\nTen classes, images of 3x32x32. Each takes activation (relu, gelu, silu) and dropout; "
        "WRN also se."
    )


def show_speeds(head: Mapping[str, Any], found: Iterable[Speed], count: int) -> None:
    """Print what `head` says of the machine, and a row for each attack when all are measured."""
    console = Console(highlight=False, soft_wrap=True)
    console.print("{device}, {threads} CPU threads, torch {torch}".format(**head), markup=False)
    console.print("{batch} images, {steps} steps of each attack\n".format(**head), markup=False)
    table = Table(box=None)
    for column in ("net", "attack", "steps/s", "images x steps/s", "of the limit", "peak memory"):
        table.add_column(column, justify="left" if column in ("net", "attack") else "right")
    with Console(stderr=True).status("measuring") as status:
        for n, speed in enumerate(found, 1):
            status.update(f"measured {n} of {count}; Ctrl-C ends it")
            table.add_row(
                escape(speed.net),
                speed.attack,
                f"{speed.steps_per_second:.3g}",
                f"{speed.steps_per_second * head['batch']:,.0f}",
                f"{100 * speed.share:.0f} %",
                f"{speed.peak_bytes / 2**20:,.0f} MiB",
            )
    console.print(table)


def show_queries(found: Hunt, most: int) -> None:
    """Print what the queries bought."""
    steps = [n for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000) if n < most]
    budgets = [*steps[-3:], most]
    shares = [f"{n}: {100 * share:.1f} %" for n, share, _, _ in found.curve(budgets)]
    median = "none fell" if math.isnan(found.median) else f"median {found.median:.0f}"
    click.echo(f"\nqueries to success: {median}; accuracy within {', '.join(shares)}")


_USUAL = ("loss", "eps", "steps", "fraction", "lr", "clean_accuracy", "attacked_accuracy")


@contextmanager
def progress(epochs: int) -> Iterator[Callable[[Epoch, Score, bool], None]]:
    """A bar on a terminal while a net trains; the function prints a line for an epoch.

    It is told the epoch, what watching it found, and whether it is the best one so far.
    """
    columns = (SpinnerColumn(), TextColumn("training"), BarColumn(), MofNCompleteColumn())
    terminal = Console(stderr=True)
    still = not terminal.is_terminal
    with Progress(
        *(*columns, TimeElapsedColumn()), console=terminal, transient=True, disable=still
    ) as bar:
        task = bar.add_task("", total=epochs)

        def tell(epoch: Epoch, score: Score, kept: bool) -> None:
            figures = {k: v for k, v in epoch.metrics.items() if k not in _USUAL}
            extra = "".join(f"  {name} {value:.3g}" for name, value in figures.items())
            line = (
                f"epoch {epoch.number}/{epoch.total}  loss {epoch.metrics['loss']:.3f}  "
                f"watched: natural {100 * score.natural_accuracy:.1f} %  "
                f"attacked {100 * score.mean:.1f} %{extra}  {epoch.seconds:.1f} s"
                f"{'  kept' if kept else ''}"
            )
            bar.update(task, advance=1)
            if terminal.is_terminal and sys.stdout.isatty():
                bar.console.print(line, highlight=False, markup=False, soft_wrap=True)
            else:
                click.echo(line)

        yield tell


def waiting() -> AbstractContextManager[Any]:
    """A sign of life on a terminal, until the work inside is done."""
    return Console(stderr=True).status("attacking; Ctrl-C ends it")
