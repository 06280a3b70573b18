"""How often would a masking gap be flagged, for nets of published methods?

    python benchmarks/gap_calibration.py runs-cifar10.csv
    python benchmarks/gap_calibration.py runs-cifar10.csv --attack cr_attack --loss margin
    python benchmarks/gap_calibration.py runs/judge/accuracies.csv --attack margin --loss margin

The file has a row for each method, with the columns `method`, `clean_acc`, `autoattack_acc` and
that of the attack (`pgd_50_acc`), in percent. For each method, sets of n images are drawn with
these accuracies and judged by the rule of `adv.masking_gap`, and by the former one, 4 points. The
output is a Markdown table, and the largest share of flags among sound methods and the smallest
among those that mask their gradients, named by --masked.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich_click as click
from markdown_report import table

from adv.intervals import (
    MASKING_GAP_LIMIT,
    MISSED_BY_CROSS_ENTROPY,
    MISSED_BY_MARGIN,
    gap_limit,
    wilson,
)

IMAGES = (200, 1000, 10_000)
DRAWS = 2000
MISSED = {"cross-entropy": MISSED_BY_CROSS_ENTROPY, "margin": MISSED_BY_MARGIN}
Accuracies = tuple[float, float, float]  # natural, under the attack, under AutoAttack; in [0, 1]


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--attack", default="pgd_50", show_default=True, help="The attack of the claim.")
@click.option("--loss", type=click.Choice(list(MISSED)), default="cross-entropy", show_default=True)
@click.option("--masked", default="elle,ssat", show_default=True, help="Methods that mask.")
def main(path: Path, attack: str, loss: str, masked: str) -> None:
    """Print how often each method is flagged with 200, 1,000 and 10,000 images."""
    rows, flags = [], {}
    for name, accuracies in read_accuracies(path, attack).items():
        natural, claimed, strong = accuracies
        flags[name] = [flag_shares(accuracies, n, MISSED[loss]) for n in IMAGES]
        shares = (claimed - strong) / max(natural - strong, 1e-9)
        cells = [f"{100 * new:.1f} ({100 * old:.0f})" for new, old in flags[name]]
        gap, limit = 100 * (claimed - strong), 100 * gap_limit(natural, strong, MISSED[loss])
        rows.append((name, f"{gap:.1f}", f"{limit:.1f}", f"{100 * shares:.0f} %", *cells))
    heads = ("method", "gap, points", "limit", "missed share", *(f"n = {n:,}" for n in IMAGES))
    print(f"Flagged, in percent of {DRAWS:,} draws of n images (in brackets: above 4 points)\n")
    print(table(heads, rows) + "\n")
    known = set(masked.split(","))
    for column, n in enumerate(IMAGES):
        found: dict[bool, list[float]] = {name in known: [] for name in flags}
        for name in flags:
            found[name in known].append(flags[name][column][0])
        alarms = f"false alarms at most {100 * max(found[False]):.1f} %" if False in found else ""
        hits = f"hits at least {100 * min(found[True]):.1f} %" if True in found else ""
        print(f"n = {n:,}: {', '.join(filter(None, (alarms, hits)))}")


def read_accuracies(path: Path, attack: str) -> dict[str, Accuracies]:
    """Read the accuracies of each method, as shares.

    Raises:
      click.UsageError: the file has no such column.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = ("clean_acc", f"{attack}_acc", "autoattack_acc")
    for column in columns:
        if not rows or column not in rows[0]:
            raise click.UsageError(f"{path} has no column {column!r}")
    return {row["method"]: tuple(float(row[c]) / 100 for c in columns) for row in rows}  # type: ignore[misc]


def flag_shares(accuracies: Sequence[float], n: int, missed_share: float) -> tuple[float, float]:
    """Return how often n images flag a net by the rule, and by the former rule of 4 points."""
    natural, claimed, strong = accuracies
    strong = min(claimed, strong)  # the reference may miss an image too
    kinds = [strong, claimed - strong, natural - claimed, 1 - natural]
    counts = np.random.default_rng(n).multinomial(n, kinds, size=DRAWS)
    new = old = 0
    for stands, missed, fooled, _ in counts.tolist():
        low = wilson(missed / n, n)[0]
        new += low > gap_limit((stands + missed + fooled) / n, stands / n, missed_share)
        old += low > MASKING_GAP_LIMIT
    return new / DRAWS, old / DRAWS


if __name__ == "__main__":
    main()
