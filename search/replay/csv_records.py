"""A CSV file as a benchmark: a row for each trial, or for each of its epochs.

Columns: the hyperparameters; `epoch` if there is one row per epoch; and two objectives, larger is
better: `natural_accuracy` and `attacked_score`, else the last two columns. The kind of a
hyperparameter is inferred from its values: text is categorical, whole numbers are integers,
positive numbers that span two decades are logarithmic. A column that is empty in some rows is
conditional on an earlier categorical column.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.record.limits import MAX_EPOCHS
from search.replay.recorded_trials import (
    BenchmarkError,
    RecordedTrial,
    SurrogateName,
    TrialBenchmark,
    check_size,
    fill_gaps,
    no_recipe,
)
from search.reporting.csv_cells import unescape_cell
from search.stopping.rung_schedule import rung_epochs
from spaces import OBJECTIVES, Choice, Float, Int, Knob, Params, Space, Value, exists

Row = dict[str, str]
MAX_BYTES = 100_000_000  # of text; a million rows of 17 hyperparameters
MAX_VALUE = 1e100  # of an objective, so that areas are finite
LOG_RATIO = 100.0  # of the largest to the smallest value: two decades


def benchmark_from_csv(path: Path, surrogate: SurrogateName = "nearest") -> TrialBenchmark:
    """Return the benchmark in a file, `.csv` or `.csv.gz`.

    Raises:
      BenchmarkError: the file is not as described; the message is one line.
      OSError: it cannot be read.
    """
    rows, columns = _read_rows(path)
    if not rows or len(columns) < 3:
        raise BenchmarkError(f"{path}: needs rows, at least one hyperparameter and two objectives")
    named = all(name in columns for name in OBJECTIVES)
    objectives = list(OBJECTIVES) if named else [c for c in columns if c != "epoch"][-2:]
    knobs = [c for c in columns if c not in (*objectives, "epoch")]
    knobs = [c for c in knobs if len({row[c] for row in rows}) > 1]
    if not knobs:
        raise BenchmarkError(
            f"{path}: no column except {', '.join(objectives)} has different values"
        )
    try:
        space = Space(f"the trials in {path.name}", _space(path, rows, knobs), no_recipe)
        records = _records(path, rows, space, objectives)
    except BenchmarkError:
        raise
    except ValueError as error:
        raise BenchmarkError(f"{path}: {error}") from None
    return TrialBenchmark(path.name.split(".")[0], space, records, surrogate)


def _read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of a file, each with a text for each column, and the columns."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise BenchmarkError(f"{path}: more than {MAX_BYTES / 1e6:g} MB of text")
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        columns, *lines = [[*map(unescape_cell, cells)] for cells in reader if cells] or [[]]
    except (UnicodeDecodeError, gzip.BadGzipFile, zlib.error, EOFError, csv.Error) as error:
        raise BenchmarkError(f"{path} cannot be read as CSV in UTF-8: {error}") from None
    if len(set(columns)) < len(columns):
        raise BenchmarkError(f"{path}: two columns have the same name")
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(columns):
            raise BenchmarkError(
                f"{path}, line {number}: {len(cells)} values for {len(columns)} columns"
            )
    return [dict(zip(columns, cells, strict=True)) for cells in lines], columns


def _records(
    path: Path, rows: Sequence[Row], space: Space, objectives: Sequence[str]
) -> list[RecordedTrial]:
    trials: dict[tuple[str, ...], list[tuple[int, float, float]]] = {}
    points: dict[tuple[str, ...], Params] = {}
    for line, row in enumerate(rows, 2):
        key = tuple(row[name] for name in space.knobs)
        try:
            epoch = int(float(row["epoch"])) if "epoch" in row else 1
            values = float(row[objectives[0]]), float(row[objectives[1]])
        except (OverflowError, ValueError):
            raise BenchmarkError(
                f"{path}, line {line}: epoch and objectives must be numbers"
            ) from None
        if not all(abs(value) <= MAX_VALUE for value in values):
            raise BenchmarkError(f"{path}, line {line}: an objective is not finite, or too large")
        if not 0 <= epoch <= MAX_EPOCHS:
            raise BenchmarkError(
                f"{path}, line {line}: epoch {epoch} is not a number from 0 to {MAX_EPOCHS}"
            )
        trials.setdefault(key, []).append((epoch, *values))
        points[key] = _point(space, row)
    first = min(report[0] for reports in trials.values() for report in reports)
    epochs = 1 + max(report[0] for reports in trials.values() for report in reports) - first
    check_size(str(path), len(trials), epochs)
    records = []
    for key, reports in trials.items():
        curve = np.full((epochs, 2), np.nan)
        for epoch, one, other in reports:
            curve[epoch - first] = one, other
        final = max(reports)[1:]
        records.append(
            RecordedTrial(
                points[key], fill_gaps(curve, final), final, rungs=rung_epochs([1.0] * epochs)
            )
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
    log = low > 0 and high / low >= LOG_RATIO
    if all(text.lstrip("+-").isdigit() for text in texts):
        return Int(int(low), int(high), log=log, when=when)
    return Float(low, high, log=log, when=when)


def _when(
    path: Path, rows: Sequence[Row], name: str, knobs: dict[str, Knob]
) -> dict[str, tuple[Value, ...]]:
    """Infer on which earlier choice a hyperparameter depends, from where its column is empty."""
    empty = [row[name] == "" for row in rows]
    if not any(empty):
        return {}
    for other, knob in knobs.items():
        if not isinstance(knob, Choice):
            continue
        filled = {row[other] for row, none in zip(rows, empty, strict=True) if not none}
        if filled.isdisjoint(row[other] for row, none in zip(rows, empty, strict=True) if none):
            return {other: tuple(sorted(filled))}
    raise BenchmarkError(
        f"{path}: column {name!r} is empty in some rows, but no earlier text "
        "column determines in which"
    )
