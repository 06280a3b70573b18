"""Inject faults into real searches, and see what each costs: trials, values, seconds.

    python benchmarks/faults.py --list
    python benchmarks/faults.py --only driver --only disk-full --times 3
    python benchmarks/faults.py --only trial-fork --out docs/reliability.md

Each fault is injected into a search of three small trials by `launch.py`, and the run that comes of
it is compared with an undisturbed twin of the same seed: trials lost, trials or epochs recorded
twice, parameters and values that differ, exit statuses that are not as documented. Seconds are
from the fault to the end of the last launch, imports included. The table that --out names keeps its
other rows; --keep collects rows in a file of their own. The exit status is 1 if a kind is not ok.
File systems are mounted by root only; without its rights these kinds are skipped. All kinds
together take more than an hour on two cores.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1])]

import rich_click as click  # noqa: E402
from fault_kinds import (  # noqa: E402
    bad_trials,
    damage,
    deaths,
    exact_resume,
    full_disks,
    storage,
    surroundings,
)
from fault_kinds.lab import Lab, StuckError  # noqa: E402
from fault_kinds.verdict import Kind, Outcome  # noqa: E402
from markdown_report import machine, table, write_section  # noqa: E402

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for room in (
        deaths,
        full_disks,
        storage,
        damage,
        surroundings,
        bad_trials,
        exact_resume,
    )
    for kind in room.KINDS
}
HEADS = (
    "fault",
    "times",
    "lost",
    "doubled",
    "exit status",
    "seconds",
    "values equal",
    "verdict",
)
WIDTH = len(HEADS) + 2  # parts of a row of the table, with what stands before and behind it


@click.command()
@click.option("--list", "list_", is_flag=True, help="List the kinds, and inject nothing.")
@click.option("--table", "table_", is_flag=True, help="Add what --keep holds; inject nothing.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this kind; repeatable.")
@click.option("--times", type=click.IntRange(1), metavar="N", help="Inject each kind N times.")
@click.option(
    "--away",
    type=click.FloatRange(0.1),
    default=60.0,
    show_default=True,
    help="Seconds for which a storage is away.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of rows; those of earlier calls stay unless they are made anew.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Markdown file whose section `faults` has the table; its rows stay in the same way.",
)
def main(
    list_: bool,
    table_: bool,
    only: tuple[str, ...],
    times: int | None,
    away: float,
    keep: Path | None,
    out: Path | None,
) -> None:
    """Inject faults into searches, and print a row for each kind."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # end what was started, then go
    if wrong := set(only) - set(KINDS):
        raise click.BadParameter(f"{', '.join(sorted(wrong))}: there are {', '.join(KINDS)}")
    if list_:
        for kind in KINDS.values():
            print(f"{kind.name:20} {kind.text}")
        return
    rows = {**_read_table(out), **_load(keep)}
    with tempfile.TemporaryDirectory(prefix="faults-") as workshop:
        for name in () if table_ else only or KINDS:
            kind = KINDS[name]
            rows[name] = run_kind(kind, times or kind.times, away, Path(workshop))
            print(_describe(rows[name]), flush=True)
            if keep:
                keep.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    text = format_table([rows[name] for name in KINDS if name in rows])
    print(f"\n{text}")
    if out:
        where = machine("cpu", ()).replace("processor time", "wall time")
        about = f"By `python benchmarks/faults.py --out FILE`, its latest rows on {where}."
        write_section(out, "faults", f"{text}\n\n{about}")
    sys.exit(any(row["verdict"].startswith("not") for row in rows.values()))


def run_kind(kind: Kind, times: int, away: float, workshop: Path) -> dict[str, str]:
    """Inject a kind of fault some times, and return its row of the table."""
    if kind.root and os.geteuid() != 0:
        return {**dict.fromkeys(HEADS, "–"), "fault": kind.text, "verdict": "skipped: needs root"}
    print(f"{kind.name}: {kind.text} ...", flush=True)
    outcomes = [inject(kind, away, workshop) for _ in range(times)]
    complaints = dict.fromkeys(text for outcome in outcomes for text in outcome.complaints)
    seconds = [outcome.seconds for outcome in outcomes]
    ok = all(outcome.ok for outcome in outcomes)
    return {
        "fault": kind.text,
        "times": str(times),
        "lost": str(sum(outcome.lost for outcome in outcomes)),
        "doubled": str(sum(outcome.doubled for outcome in outcomes)),
        "exit status": "; ".join(dict.fromkeys(_statuses(o.statuses) for o in outcomes)),
        "seconds": f"{min(seconds):.0f}" + f" to {max(seconds):.0f}" * (times > 1),
        "values equal": "yes" if all(outcome.equal for outcome in outcomes) else "no",
        "verdict": "ok" if ok else f"not ok: {'; '.join(complaints) or 'see the row'}",
    }


def inject(kind: Kind, away: float, workshop: Path) -> Outcome:
    """Inject a fault once in a laboratory of its own; a search that is stuck is no success."""
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        Lab(Path(folder), away, workshop=workshop) as lab,
    ):
        try:
            return kind.inject(lab)
        except StuckError as error:
            complaint = str(error)
        except Exception as error:  # one kind that fails must not end the others
            traceback.print_exc()
            complaint = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        return Outcome((), seconds, equal=False, complaints=[complaint])


def _statuses(statuses: Sequence[str]) -> str:
    """Return exit statuses in short: 20 times killed, 0."""
    spans: list[list[Any]] = []
    for status in statuses:
        word = "killed" if status == "-9" else status
        if spans and spans[-1][0] == word:
            spans[-1][1] += 1
        else:
            spans.append([word, 1])
    return ", ".join(f"{n} times {word}" if n > 1 else word for word, n in spans)


def _load(keep: Path | None) -> dict[str, dict[str, str]]:
    """Return the rows of earlier calls, by the name of their kind."""
    if keep is None or not keep.exists():
        return {}
    return _by_name(json.loads(line) for line in keep.read_text().splitlines())


def _read_table(out: Path | None) -> dict[str, dict[str, str]]:
    """Return the rows of the table that stands in a Markdown file, by the name of their kind."""
    if out is None or not out.exists():
        return {}
    lines = [re.split(r"(?<!\\) ?\| ?", line) for line in out.read_text().splitlines()]
    rows = [dict(zip(HEADS, line[1:-1], strict=True)) for line in lines if len(line) == WIDTH]
    return _by_name(rows)


def _by_name(rows: Iterable[dict[str, str]]) -> dict[str, dict[str, str]]:
    by_text = {kind.text: kind.name for kind in KINDS.values()}
    return {by_text[row["fault"]]: row for row in rows if row["fault"] in by_text}


def _describe(row: Mapping[str, str]) -> str:
    return "  " + ", ".join(f"{head} {row[head]}" for head in HEADS[1:])


def format_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as a Markdown table."""
    return table(HEADS, [[row[head] for head in HEADS] for row in rows])


if __name__ == "__main__":
    main()
