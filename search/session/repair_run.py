"""Repair the ledger of a run, and say what is lost and how the search goes on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from adv.shell import join_command, name_program
from adv.terminal.console import PlainConsole, open_console, print_error, print_table
from search.formatting import count
from search.record.event_lines import describe_numbers
from search.record.repair import Repair, repair_ledger
from search.record.run_folder import LEDGER, REPAIRED
from search.record.trial import Trial
from search.record.view import View

MAX_ROWS = 50  # of the table of lines


def repair_run(folder: Path) -> int:
    """Copy what is whole of a run's ledger, and print what is lost.

    Returns:
      The exit status: 0 done, or nothing to do; 1 the copy cannot be written.

    Raises:
      ValueError: the ledger cannot be repaired; the message is one line.
    """
    console = open_console()
    try:
        repair = repair_ledger(folder)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        print_error(name_program(), f"cannot use{where}: {error.strerror or error}")
        return 1
    if not repair.needed:
        kept = count(len(repair.kept), "whole event")
        console.print(
            f"{folder / LEDGER} has no damage: {kept}. Nothing was written.", markup=False
        )
        return 0
    _print_losses(console, repair)
    _print_commands(console, folder)
    return 0


def _print_losses(console: PlainConsole, repair: Repair) -> None:
    """Print which events are lost, and what becomes of the trials."""
    own = len(repair.kept) - 1 - repair.header_lost  # without what the repair itself has added
    kept, dropped = count(own, "event"), len(repair.dropped)
    console.print(f"{kept} kept, {count(dropped, 'line')} left out.")
    if dropped:
        table = Table("line", "why it is left out")
        for place, reason in repair.dropped[:MAX_ROWS]:
            table.add_row(str(place), escape(reason))
        if dropped > MAX_ROWS:
            table.add_row("...", f"and {dropped - MAX_ROWS} more")
        print_table(console, table)
    for text in (*describe_missing(repair), *describe_consequences(repair)):
        console.print(text, markup=False)


def _print_commands(console: PlainConsole, folder: Path) -> None:
    """Print the commands that put the copy in place and go on with the search."""
    ledger, copy = folder / LEDGER, folder / REPAIRED
    aside = join_command("mv", "--", ledger, _aside(folder))
    for line in (
        f"\nThe copy is {copy}; the ledger is as it was. To go on with the copy:",
        f"  {aside} && {join_command('mv', '--', copy, ledger)}",
        f"  {join_command('python', 'launch.py', '--resume', folder)}",
    ):
        console.print(line, markup=False)


def _aside(folder: Path) -> Path:
    """Return a free name for the damaged ledger."""
    names = [folder / f"ledger.damaged{n}.jsonl" for n in ("", *range(2, 1000))]
    return next(path for path in names if not path.exists())


def describe_missing(repair: Repair) -> Iterator[str]:
    """Yield a sentence for each gap in the numbers of the events."""
    for numbers in repair.missing:
        text = describe_numbers("event", numbers)
        yield f"{text[0].upper()}{text[1:]} missing."


def describe_consequences(repair: Repair) -> Iterator[str]:
    """Yield sentences on what a repair means for the search and its trials."""
    for change, number in Counter(repair.mended).items():
        yield f"{count(number, 'line')} mended: {change}."
    if repair.moved:
        yield "Events were not in the order of their numbers; in the copy they are."
    if repair.header_lost:
        yield "What was searched is taken from study.json."
    yield from _describe_trials("trial", repair.view, repair.lost)
    finals = repair.view.finals or View()
    yield from _describe_trials("final training", finals, repair.lost_finals)


def _describe_trials(noun: str, view: View, lost: Iterable[int]) -> Iterator[str]:
    if named := _name(noun, lost):
        yield f"{named}: lost, for nothing says what was trained; another configuration is tried."
    if named := _name(noun, (trial.number for trial in view.in_state("running"))):
        yield f"{named}: not ended; trained again, or on from a saved state."
    gaps = [t.number for t in view.trials.values() if t.state != "running" and _misses_epochs(t)]
    if named := _name(noun, gaps):
        yield f"{named}: the result is kept, but not all epochs."


def _misses_epochs(trial: Trial) -> bool:
    """Return whether reports of a trial are missing before its last one."""
    return len(trial.epochs) < max(trial.epochs, default=0)


def _name(noun: str, numbers: Iterable[int]) -> str:
    """Return trials by number as the beginning of a sentence, "" for none."""
    every = sorted(numbers)
    text = f"{noun}{'s' * (len(every) > 1)} {', '.join(map(str, every))}"
    return text[0].upper() + text[1:] if every else ""
