"""Print how runs compare: hypervolumes, differences and the joint front."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from adv.terminal.console import open_console, print_table
from search.comparison.compare_views import Difference, RunComparison
from search.formatting import count, format_objective
from search.outcome.front import find_front
from search.record.view import View
from spaces import find_objective


def print_comparison(found: RunComparison, runs: Mapping[str, View]) -> None:
    """Print a comparison: what was compared, two tables, and what the intervals tell."""
    console = open_console()
    console.print(describe_basis(found, runs), markup=False)
    for table in (volume_table(found, runs), front_table(found, runs)):
        console.print()
        print_table(console, table)
    console.print()
    for sentence in sentences(found):
        console.print(sentence, markup=False)


def describe_basis(found: RunComparison, runs: Mapping[str, View]) -> str:
    """Return what is compared, and what the intervals are over, in one paragraph."""
    first = next(iter(runs.values()))
    if found.finals:
        what = f"The fronts that the finals report, on {first.finals_header.images} test images"
        fronts = [find_front(view) for view in runs.values()]
        left = sum(not member.runs for front in fronts for member in front.members)
        caveat = f" {count(left, 'reported net')} without a fresh seed left out." if left else ""
    else:
        images = first.header.scale.get("images")
        what = f"The fronts that the searches saw, on {images or 'their'} validation images"
        what += f", {first.header.score} score"
        unequal = " (only some runs have finals, or under other batteries)"
        what += unequal if any(view.finals for view in runs.values()) else ""
        caveat = (
            " These values selected the nets, so they are too good, the more so the more trials a "
            "run has; and another seed of a search would give other nets."
        )
    return f"{what}. 95 % intervals: {found.method}.{caveat}"


def volume_table(found: RunComparison, runs: Mapping[str, View]) -> Table:
    """Return a table of the runs: trials, nets on the front, hypervolume."""
    table = Table(box=None)
    for column in ("run", "space", "trials", "nets", "hypervolume", "interval"):
        table.add_column(column, justify="left" if column in ("run", "space") else "right")
    for k, (name, view) in enumerate(runs.items()):
        value, interval = found.hypervolumes[k]
        table.add_row(
            escape(name),
            escape(view.header.space),
            str(len(view.scored())),
            str(len(found.fronts[k].numbers)),
            f"{value:.4f}",
            "not known" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}",
        )
    return table


def front_table(found: RunComparison, runs: Mapping[str, View]) -> Table:
    """Return a table of all members, those on the joint front marked with *."""
    table = Table(box=None)
    aims = next(iter(runs.values())).header.aims
    for column in ("", "run", "trial", *(find_objective(name).title for name in aims)):
        table.add_column(column, justify="left" if column == "run" else "right")
    rows = []
    for name, one, joint in zip(found.names, found.fronts, found.joint, strict=True):
        for i, number in enumerate(one.numbers):
            cells = [
                _cell(aim, one.points[i, m], one.intervals[i, m]) for m, aim in enumerate(aims)
            ]
            rows.append((-one.points[i, 0], "*" * joint[i], escape(name), str(number), *cells))
    for _, *cells in sorted(rows, key=lambda row: row[0]):
        table.add_row(*map(str, cells))
    return table


def _cell(name: str, value: float, interval: tuple[float, float]) -> str:
    sign = find_objective(name).sign
    low, high = sorted(sign * float(end) for end in interval)
    texts = [format_objective(name, end).removesuffix(" %") for end in (low, high)]
    return f"{format_objective(name, sign * float(value))} ({texts[0]} to {texts[1]})"


def sentences(found: RunComparison) -> list[str]:
    """Return what the intervals tell: only what excludes zero is called a difference."""
    said = []
    joint = [(name, sum(on)) for name, on in zip(found.names, found.joint, strict=True)]
    members = ", ".join(f"{count(n, 'net')} of {name}" for name, n in joint)
    said.append(f"The joint front (*) holds {members}, by the values as measured.")
    for name, differences in zip(found.names[1:], found.differences, strict=True):
        said += [describe(one, found.names[0], name) for one in differences]
    return said


def describe(one: Difference, first: str, second: str) -> str:
    """Return a difference in one sentence; where the interval holds zero there is none."""
    what = one.figure if one.of == one.figure else f"{find_objective(one.figure).title} ({one.of})"
    if one.interval is None:
        return f"{first} and {second}, {what}: {_by(one, one.value)} apart, interval not known."
    low, high = one.interval
    if not one.told_apart:
        return (
            f"{first} and {second} cannot be told apart in {what}: "
            f"{_by(one, low)} to {_by(one, high)}."
        )
    ahead, sign = (second, 1) if one.value > 0 else (first, -1)
    low, high = sorted((sign * low, sign * high))
    return (
        f"{ahead} is ahead in {what}: by {_by(one, sign * one.value)} "
        f"({_by(one, low)} to {_by(one, high)})."
    )


def _by(one: Difference, value: float) -> str:
    if one.figure == "hypervolume":
        return f"{value:+.4f}"
    objective = find_objective(one.figure)
    unit = {"%": " points", "points": ""}.get(objective.unit, f" {objective.unit}".rstrip())
    digits = ".1f" if objective.unit in ("%", "points") else ".4g"
    return f"{objective.shown * value:+{digits}}{unit}"
