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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.replay.recorded_trials import (
    BenchmarkError,
    RecordedTrial,
    SurrogateName,
    TrialBenchmark,
    fill_gaps,
    no_recipe,
)
from search.reporting.csv_cells import unescape_cell
from search.stopping.rung_schedule import rung_epochs
from spaces import OBJECTIVES, Choice, Float, Int, Knob, Params, Space, Value, exists

Row = dict[str, str]
LOG_RATIO = 100.0  # of the largest to the smallest value: two decades


def benchmark_from_csv(path: Path, surrogate: SurrogateName = "nearest") -> TrialBenchmark:
    """Return the benchmark in a file, `.csv` or `.csv.gz`.

    Raises:
      BenchmarkError: the file is not as described; the message is one line.
      OSError: it cannot be read.
    """
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        reader = csv.DictReader(io.StringIO(text.decode()))
    except UnicodeDecodeError:
        raise BenchmarkError(f"{path} is not text") from None
    reader.fieldnames = list(map(unescape_cell, reader.fieldnames or ()))
    rows: list[Row] = [_unescape(row) for row in reader]
    columns = list(reader.fieldnames)
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
    space = Space(f"the trials in {path.name}", _space(path, rows, knobs), no_recipe)
    return TrialBenchmark(
        path.name.split(".")[0], space, _records(path, rows, space, objectives), surrogate
    )


def _unescape(row: dict[str, str]) -> Row:
    return {k: unescape_cell(v) if isinstance(v, str) else v for k, v in row.items()}


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
        except (TypeError, ValueError):
            raise BenchmarkError(
                f"{path}, line {line}: epoch and objectives must be numbers"
            ) from None
        if not np.isfinite(values).all():
            raise BenchmarkError(f"{path}, line {line}: an objective is not finite")
        trials.setdefault(key, []).append((epoch, *values))
        points[key] = _point(space, row)
    first = min(report[0] for reports in trials.values() for report in reports)
    epochs = 1 + max(report[0] for reports in trials.values() for report in reports) - first
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
