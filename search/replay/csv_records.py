"""A CSV file as a table: a row for each trial, or for each of its epochs.

Columns: the knobs, `epoch` where there is one row an epoch, and two objectives, larger is better:
`natural_accuracy` and `attacked_score`, else the last two columns. Kinds of knobs are seen from the
values: text is a choice, whole numbers are whole, positive numbers that span two decades are
logarithmic. A column that is empty in some rows is a knob that exists only where an earlier choice
has the values that it has in the other rows.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.replay.recorded_trials import Record, Surrogate, Table, TableError, filled, no_recipe
from search.stopping.rung_schedule import rung_epochs
from spaces import OBJECTIVES, Choice, Float, Int, Knob, Params, Space, Value, exists

Row = dict[str, str]
DECADES = 100.0


def from_csv(path: Path, surrogate: Surrogate = "nearest") -> Table:
    """The table in a file, `.csv` or `.csv.gz`.

    Raises:
      TableError: what is wrong with the file, in one line.
      OSError: it cannot be read.
    """
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        reader = csv.DictReader(io.StringIO(text.decode()))
    except UnicodeDecodeError:
        raise TableError(f"{path} is not text") from None
    rows: list[Row] = [dict(row) for row in reader]
    columns = list(reader.fieldnames or [])
    if not rows or len(columns) < 3:
        raise TableError(f"{path}: a table has rows, at least one knob and two objectives")
    named = all(name in columns for name in OBJECTIVES)
    aims = list(OBJECTIVES) if named else [c for c in columns if c != "epoch"][-2:]
    knobs = [c for c in columns if c not in (*aims, "epoch")]
    knobs = [c for c in knobs if len({row[c] for row in rows}) > 1]
    if not knobs:
        raise TableError(f"{path}: no column but {', '.join(aims)} takes different values")
    space = Space(f"the trials in {path.name}", _space(path, rows, knobs), no_recipe)
    return Table(path.name.split(".")[0], space, _records(path, rows, space, aims), surrogate)


def _records(path: Path, rows: Sequence[Row], space: Space, aims: Sequence[str]) -> list[Record]:
    trials: dict[tuple[str, ...], list[tuple[int, float, float]]] = {}
    points: dict[tuple[str, ...], Params] = {}
    for line, row in enumerate(rows, 2):
        key = tuple(row[name] for name in space.knobs)
        try:
            epoch = int(float(row["epoch"])) if "epoch" in row else 1
            values = float(row[aims[0]]), float(row[aims[1]])
        except (TypeError, ValueError):
            raise TableError(f"{path}, line {line}: epoch and objectives are numbers") from None
        if not np.isfinite(values).all():
            raise TableError(f"{path}, line {line}: an objective is not finite")
        trials.setdefault(key, []).append((epoch, *values))
        points[key] = _point(space, row)
    first = min(seen[0] for told in trials.values() for seen in told)
    epochs = 1 + max(seen[0] for told in trials.values() for seen in told) - first
    records = []
    for key, told in trials.items():
        curve = np.full((epochs, 2), np.nan)
        for epoch, one, other in told:
            curve[epoch - first] = one, other
        final = max(told)[1:]
        records.append(
            Record(points[key], filled(curve, final), final, rungs=rung_epochs([1.0] * epochs))
        )
    return records


def _point(space: Space, row: Row) -> Params:
    params: dict[str, Value] = {}
    for name, knob in space.knobs.items():
        if exists(knob, params):
            params[name] = knob.parse(row[name])
    return params


def _space(path: Path, rows: Sequence[Row], names: Sequence[str]) -> dict[str, Knob]:
    knobs: dict[str, Knob] = {}
    for name in names:
        when = _when(path, rows, name, knobs)
        knobs[name] = _knob([row[name] for row in rows if row[name] != ""], when)
    return knobs


def _knob(texts: Sequence[str], when: dict[str, tuple[Value, ...]]) -> Knob:
    try:
        numbers = sorted({float(text) for text in texts})
    except ValueError:
        numbers = []
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        return Choice(tuple(sorted(set(texts))), when=when)
    low, high = numbers[0], numbers[-1]
    log = low > 0 and high / low >= DECADES
    if all(text.lstrip("+-").isdigit() for text in texts):
        return Int(int(low), int(high), log=log, when=when)
    return Float(low, high, log=log, when=when)


def _when(path: Path, rows: Sequence[Row], name: str,
          knobs: dict[str, Knob]) -> dict[str, tuple[Value, ...]]:  # fmt: skip
    """On which earlier choice the knob depends, seen from where its column is empty."""
    empty = [row[name] == "" for row in rows]
    if not any(empty):
        return {}
    for other, knob in knobs.items():
        if not isinstance(knob, Choice):
            continue
        filled = {row[other] for row, none in zip(rows, empty, strict=True) if not none}
        if filled.isdisjoint(row[other] for row, none in zip(rows, empty, strict=True) if none):
            return {other: tuple(sorted(filled))}
    raise TableError(f"{path}: column {name!r} is empty in some rows, and no earlier column of "
                     "text says in which")  # fmt: skip
