"""Say how attacks rank the nets of a published table, beside a reference attack.

    python benchmarks/judge_table.py TABLE.csv --natural COLUMN --reference COLUMN --score COLUMN

The table has a row for each net or method; its first column is the name. Printed are, for each
score, the mean difference from the reference, Spearman's rank correlation over all rows and over
the ten best under the reference, and its front with the natural accuracy: which members of the
reference's front it has and which others.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import rich_click as click
from judge import correlate, find_front
from markdown_report import table


@click.command()
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--natural", required=True, metavar="COLUMN")
@click.option("--reference", required=True, metavar="COLUMN")
@click.option("--score", "scores", required=True, multiple=True, metavar="COLUMN")
@click.option("--best", type=click.IntRange(2), default=10, show_default=True)
def main(path: Path, natural: str, reference: str, scores: tuple[str, ...], best: int) -> None:
    """Print how each score ranks the rows."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for column in (natural, reference, *scores):
        if not rows or column not in rows[0]:
            there = ", ".join(rows[0] if rows else ())
            raise click.BadParameter(f"{path} has no column {column!r}; there are: {there}")
    values = {
        column: np.array([float(row[column]) for row in rows])
        for column in (natural, reference, *scores)
    }
    names = np.array([next(iter(row.values())) for row in rows])
    exact = values[reference]
    top = np.argsort(-exact, kind="stable")[:best]
    wanted = set(names[find_front(values[natural], exact)])
    lines = []
    for column in (*scores, reference):
        front = set(names[find_front(values[natural], values[column])])
        lines.append(
            [
                column,
                f"{(values[column] - exact).mean():+.2f}",
                f"{correlate(values[column], exact):.2f}",
                f"{correlate(values[column][top], exact[top]):.2f}",
                ", ".join(sorted(front & wanted)),
                ", ".join(sorted(wanted - front)) or "none",
                ", ".join(sorted(front - wanted)) or "none",
            ]
        )
    heads = ["score", "mean diff.", "rank correlation", f"of the {best} best"]
    print(f"{len(rows)} rows\n")
    print(table([*heads, "on both fronts", "left out", "in their place"], lines))


if __name__ == "__main__":
    main()
