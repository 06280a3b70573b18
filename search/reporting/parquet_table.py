"""The trials as `trials.parquet`: the table of `trials.csv` with types, for pandas and Polars."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from adv.files import write_atomic
from search.record.view import View
from search.reporting.csv_tables import column_names, trial_rows


def write_parquet(view: View, path: Path) -> None:
    """Write a row for each trial, under the names of `trials.csv`; what is unknown is null.

    A hyperparameter whose values are of several types is written as text.

    Args:
      view: of the search.
      path: of the file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = trial_rows(view)
    names = column_names(view)
    columns = [_to_column(pa, [row[name] for row in rows]) for name in names]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, names=names), buffer)
    write_atomic(path, buffer.getvalue())


def _to_column(pa: Any, values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    if not known:
        return pa.array(values, pa.float64())
    if any(isinstance(value, float) for value in known) and not any(
        isinstance(value, str | bool) for value in known
    ):
        return pa.array([None if value is None else float(value) for value in values])
    if len({type(value) for value in known}) > 1 or not isinstance(known[0], bool | int | str):
        return pa.array([None if value is None else str(value) for value in values])
    return pa.array(values)
