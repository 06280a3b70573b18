"""The test split of an image folder that has none: made once, and written down.

A fifth of the images, stratified. What was chosen is kept as a table in the cache folder, so that
an image never changes its split when others are added to the folder.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from adv.data.assemble import split_off_test
from adv.files import write_atomic

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]


def split_files(
    folder: Path, paths: list[str], labels: NDArray[np.int64], cache: Path
) -> tuple[Rows, Rows, str]:
    """Return the rows of the files that train, those that test, and a line that says where it is.

    Args:
        folder: of the images.
        paths: of the files, in it.
        labels: of each file.
        cache: the folder for the table.

    Raises:
        OSError: the table cannot be written.
    """
    root = folder.resolve()
    table = cache / f"{root.name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}-split.csv"
    names = [os.path.relpath(path, folder) for path in paths]
    known = _read_table(table)
    fresh = np.array([row for row, name in enumerate(names) if name not in known], dtype=np.int64)
    if len(fresh):
        train, test = split_off_test(labels[fresh])
        known |= {names[fresh[row]]: "train" for row in train}
        known |= {names[fresh[row]]: "test" for row in test}
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(("image", "split"))
        writer.writerows(sorted(known.items()))
        write_atomic(table, buffer.getvalue())
    is_test = np.array([known[name] == "test" for name in names])
    rows = np.arange(len(names))
    note = (
        f"no test/ in {folder}: {is_test.sum():,} of {len(names):,} images are the test split, as "
        f"{table} says"
    )
    return rows[~is_test], rows[is_test], note


def _read_table(table: Path) -> dict[str, str]:
    try:
        with table.open(newline="") as file:
            rows = [row for row in csv.reader(file) if len(row) == 2][1:]
    except (OSError, csv.Error, UnicodeDecodeError):
        return {}
    return {image: split for image, split in rows if split in ("train", "test")}
