"""Print what the verbs of `python -m adv` find: tables, one line per epoch, a spinner."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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
from adv.cli.target import Target
from adv.evaluation.attack_speed import Speed
from adv.evaluation.class_balance import balanced_accuracy, is_imbalanced
from adv.evaluation.randomized_smoothing import Certificates
from adv.evaluation.score import Score
from adv.intervals import wilson
from adv.models.size import LISTED_NETS, format_net, size_of
from adv.runtime.random_streams import is_random
from adv.terminal.console import (
    open_console,
    print_line,
    print_sentence,
    print_table,
    spinner,
    spinner_name,
)
from adv.training.loop import Epoch


def print_score(score: Score, target: Target) -> None:
    """Print the accuracy under each attack, smaller balls first, and the aggregates."""
    console = open_console()
    console.print(target.title, markup=False)
    random = is_random(target.net)
    how = f"{score.draws} draws per gradient, {score.votes} votes" if random else "not random"
    console.print(f"{score.images} {target.split_name} images, 95 % Wilson intervals, {how}\n")
    table = Table(box=None)
    for column in ("attack", "eps", "accuracy", "interval"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    rows = [(score.names[i], score.eps[i], score.attacked_accuracies[i]) for i in score.order]
    for name, eps, share in [("none", 0.0, score.natural_accuracy), *rows]:
        table.add_row(escape(name), f"{eps:.4g}", f"{100 * share:.1f} %", _interval(score, share))
    print_table(console, table)
    labels = target.split.labels.cpu()
    if is_imbalanced(labels):
        shares = [balanced_accuracy(row, labels) for row in (score.ok[0], score.ok.all(0))]
        console.print(
            f"\nclasses differ in size: balanced accuracy {100 * shares[0]:.1f} % without an "
            f"attack, {100 * shares[1]:.1f} % under the worst case of all attacks"
        )
    if len(set(score.eps)) > 1:
        low, high = score.attacked_interval
        console.print(
            f"\naggregated attacked score  {score.attacked_score:.1f} "
            f"({low:.1f} to {high:.1f}), of {100 * len(score.names)}"
        )
        console.print(
            f"mean {100 * score.mean:.1f} %, worst case {100 * score.worst:.1f} %, "
            f"area under the curve {100 * score.area:.1f} %"
        )
    elif len(score.names) > 1:
        console.print(
            f"\nrobust to all attacks  {100 * score.worst:.1f} % ({_interval(score, score.worst)})"
        )


def _interval(score: Score, share: float) -> str:
    low, high = wilson(share, score.images)
    return f"{100 * low:.1f} to {100 * high:.1f}"


def print_certificates(found: Certificates, target: Target, trained: float | None) -> None:
    """Print the certified accuracy at several radii.

    Args:
      found: the certificates.
      target: the net and the images.
      trained: sigma of the noise that the net was trained with, None if it was trained without.
    """
    console = open_console()
    console.print(target.title, markup=False)
    console.print(
        f"{len(found.labels)} {target.split_name} images, 95 % Wilson intervals, "
        f"sigma {found.sigma:g}, {found.draws} draws, alpha {found.alpha:g}\n"
    )
    radii = [r for k in range(9) if (r := found.sigma * k / 2) <= found.largest]
    print_radii(("l2 radius", "right and certified"), found.curve(radii))
    console.print(
        "\nCertified accuracy counts right classes only. At radius 0 "
        f"{100 * found.accuracy:.1f} % are right, {100 * found.wrong:.1f} % wrong (their radii do "
        f"not count), {100 * found.abstained:.1f} % abstained. No radius exceeds "
        f"{found.largest:.3g}."
    )
    if trained is None or abs(trained - found.sigma) > 0.01 * found.sigma:
        noise = "without noise" if trained is None else f"with noise of sigma {trained:g}"
        console.print(f"the net was trained {noise}: training with this noise gives larger radii")


def print_radii(names: tuple[str, str], rows: Iterable[tuple[float, float, float, float]]) -> None:
    """Print an accuracy with its interval at each radius.

    Args:
      names: of the radius and of the accuracy.
      rows: radius, accuracy in [0, 1], and the ends of its interval.
    """
    table = Table(box=None)
    for column in (*names, "interval"):
        table.add_column(column, justify="right")
    for radius, share, low, high in rows:
        interval = f"{100 * low:.1f} to {100 * high:.1f}"
        table.add_row(f"{radius:.4g}", f"{100 * share:.1f} %", interval)
    print_table(open_console(), table)


def print_models() -> None:
    """Print each net with its size, some of them in several sizes."""
    table = Table(box=None)
    for column in ("net", "parameters", "multiply-adds per image"):
        table.add_column(column, justify="left" if column == "net" else "right")
    for net in LISTED_NETS:
        size = size_of(net)
        table.add_row(format_net(net), f"{size.parameters:,}", f"{size.multiply_adds / 1e6:,.1f} M")
    console = open_console()
    print_table(console, table)
    console.print(
        "\nFor ten classes and images of 3x32x32. Every net has the settings activation (relu, "
        "gelu, silu) and dropout; WRN also has se."
    )


def print_speeds(setup: Mapping[str, Any], found: Iterable[Speed], count: int) -> None:
    """Print the speed of each attack on each net, once all of them are measured.

    Args:
      setup: the device, the threads, the version of torch, the batch and the steps.
      found: measurements, made as they are asked for.
      count: their number.
    """
    console = open_console()
    console.print("{device}, {threads} CPU threads, torch {torch}".format(**setup), markup=False)
    console.print("{batch} images, {steps} steps of each attack\n".format(**setup), markup=False)
    table = Table(box=None)
    for column in ("net", "attack", "steps/s", "images x steps/s", "efficiency", "peak memory"):
        table.add_column(column, justify="left" if column in ("net", "attack") else "right")
    with spinner("measuring") as status:
        for n, speed in enumerate(found, 1):
            status.update(f"measured {n} of {count}; Ctrl-C stops")
            table.add_row(
                escape(speed.net),
                speed.attack,
                f"{speed.steps_per_second:.3g}",
                f"{speed.steps_per_second * setup['batch']:,.0f}",
                f"{100 * speed.share:.0f} %",
                f"{speed.peak_bytes / 2**20:,.0f} MiB",
            )
    print_table(console, table)


def print_queries(found: Hunt, budget: int) -> None:
    """Print the median number of queries to success, and the accuracy within smaller budgets."""
    steps = [n for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000) if n < budget]
    budgets = [*steps[-3:], budget]
    shares = [f"{n}: {100 * share:.1f} %" for n, share, _, _ in found.curve(budgets)]
    median = "no success" if math.isnan(found.median) else f"median {found.median:.0f}"
    print_sentence(f"\nqueries to success: {median}; accuracy within {', '.join(shares)}")


_COMMON = ("loss", "eps", "steps", "fraction", "lr", "clean_accuracy", "attacked_accuracy")


@contextmanager
def training_progress(epochs: int) -> Iterator[Callable[[Epoch, Score, bool], None]]:
    """Show a progress bar on a terminal while a net trains; yield a function that prints an epoch.

    The function takes the epoch, its score on held-out images, and whether it is the best so far.
    """
    terminal = open_console(stderr=True)
    moving = SpinnerColumn(spinner_name(terminal))
    columns = (moving, TextColumn("training"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *(*columns, TimeElapsedColumn()),
        console=terminal,
        transient=True,
        disable=not terminal.is_terminal,
    ) as bar:
        task = bar.add_task("", total=epochs)

        def print_epoch(epoch: Epoch, score: Score, is_best: bool) -> None:
            special = {k: v for k, v in epoch.metrics.items() if k not in _COMMON}
            extra = "".join(f"  {name} {value:.3g}" for name, value in special.items())
            line = (
                f"epoch {epoch.number}/{epoch.total}  loss {epoch.metrics['loss']:.3f}  "
                f"validation: natural {100 * score.natural_accuracy:.1f} %  "
                f"attacked {100 * score.mean:.1f} %{extra}  {epoch.seconds:.1f} s"
                f"{'  best so far' if is_best else ''}"
            )
            bar.update(task, advance=1)
            if terminal.is_terminal and sys.stdout.isatty():
                bar.console.print(line, highlight=False, markup=False)
            else:
                print_line(line)

        yield print_epoch
