"""Fit how much of what can be fooled PGD on the cross-entropy misses on a sound net.

    python benchmarks/gap_prediction.py benchmarks/gap_nets.csv --published runs-cifar10.csv

The rows come from `gap_nets.py`. The missed share is predicted by a line in what is known of a net
without a stronger attack; for each choice of such figures the table has the error on families of
nets that were left out of the fit, and that of a constant. The line in the figure that does best
alone is the rule of `adv.intervals`, which adds the slack that keeps false alarms of nets of
left-out families under 2 %; its numbers are printed. Then: false alarms and misses of the rule by
the number of images, by drawing images anew with each net's accuracies. --published adds the table
of published methods that `gap_calibration.py` reads; their confidence is not published, so it is
predicted from natural accuracy, smoothing and averaging on our nets.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rich_click as click
from gap_nets import Row, read_rows
from markdown_report import table

from adv.intervals import MISSED_BY_CROSS_ENTROPY, expected_miss, gap_limit, wilson

IMAGES = (200, 1000, 10_000)
DRAWS = 500
FOOLED = 25  # images: a share of fewer says too little for a fit
CHOICES: Sequence[tuple[str, ...]] = (
    (),
    ("classes",),
    ("natural",),
    ("smoothing",),
    ("averaged",),
    ("one_step",),
    ("doubt",),
    ("smoothing", "averaged"),
    ("classes", "natural", "smoothing", "averaged"),
    ("natural", "doubt"),
    ("classes", "natural", "smoothing", "averaged", "doubt"),
)
MASKED = ("elle", "ssat")
UNSMOOTHED = ("n_aaer",)
NOT_AVERAGED = ("pgd_at",)


def known(row: Row, name: str) -> float:
    """Return a figure of a net; doubt is 1 minus its mean confidence."""
    if name == "doubt":
        return 1 - row.confidence
    if name == "classes":
        return float(np.log(row.classes))
    return float(getattr(row, name))


def missed_share(row: Row) -> float:
    """Return the share of the images that can be fooled which PGD missed."""
    return (row.claimed - row.strong) / max(row.natural - row.strong, 1e-9)


def design(rows: Sequence[Row], names: Sequence[str]) -> np.ndarray:
    """Return the figures [rows, 1 + names], with a column of ones."""
    return np.array([[1.0, *(known(row, name) for name in names)] for row in rows])


def fit(rows: Sequence[Row], names: Sequence[str], values: np.ndarray) -> np.ndarray:
    """Return the coefficients of least squares."""
    return np.asarray(np.linalg.lstsq(design(rows, names), values, rcond=None)[0])


def predict_left_out(rows: Sequence[Row], names: Sequence[str]) -> np.ndarray:
    """Return predictions for each net by a fit without the nets of its family."""
    values, found = np.array([missed_share(row) for row in rows]), np.zeros(len(rows))
    for family in {row.family for row in rows}:
        taught = [k for k, row in enumerate(rows) if row.family != family]
        asked = [k for k, row in enumerate(rows) if row.family == family]
        line = fit([rows[k] for k in taught], names, values[taught])
        found[asked] = design([rows[k] for k in asked], names) @ line
    return found


def flag_share(row: Row, missed: float, n: int) -> float:
    """Return how often so many images flag a net, with its accuracies as the true ones."""
    strong = min(row.claimed, row.strong)
    kinds = [strong, row.claimed - strong, max(0.0, row.natural - row.claimed)]
    kinds.append(max(0.0, 1 - sum(kinds)))
    counts = np.random.default_rng(n).multinomial(n, np.array(kinds) / sum(kinds), size=DRAWS)
    flags = 0
    for stands, lost, fooled, _ in counts.tolist():
        limit = gap_limit((stands + lost + fooled) / n, stands / n, missed)
        flags += wilson(lost / n, n)[0] > limit
    return flags / DRAWS


def format_rule(rows: Sequence[Row], title: str, limits: Sequence[Sequence[float]]) -> list[str]:
    """Return a row of the table: how often nets are flagged under each rule, by number of images.

    Args:
      rows: the nets.
      title: what they are.
      limits: for each rule the share that each net's attack may miss.
    """
    cells = []
    for rule in limits:
        for n in IMAGES:
            shares = [flag_share(row, missed, n) for row, missed in zip(rows, rule, strict=True)]
            cells.append(f"{100 * float(np.mean(shares)):.1f}")
    return [title, str(len(rows)), *cells]


@click.command()
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--published", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(path: Path, published: Path | None) -> None:
    """Print the errors of each fit, the rule's numbers, and its false alarms and misses."""
    everything = read_rows(path)
    sound = [row for row in everything if not row.masked]
    clear = [row for row in sound if (row.natural - row.strong) * row.images >= FOOLED]
    values = np.array([missed_share(row) for row in clear])
    lines = []
    for names in CHOICES:
        error = values - predict_left_out(clear, names)
        line = fit(clear, names, values)
        lines.append(
            [
                ", ".join(names) or "a constant",
                f"{100 * float(np.sqrt((error**2).mean())):.1f}",
                f"{100 * float(error.max()):.1f}",
                " ".join(f"{value:+.3f}" for value in line),
            ]
        )
    families = len({row.family for row in clear})
    print(f"{len(clear)} rows of {families} families; share of the foolable images, in percent\n")
    print(table(["predicted from", "error (RMS)", "largest", "coefficients"], lines) + "\n")
    start, slope = fit(clear, ["doubt"], values)
    slack = find_slack(clear, predict_left_out(clear, ["doubt"]))
    print(f"rule: {start:.3f} + {slope:.3f} (1 - confidence), slack {slack:.3f}\n")
    rules = {
        "sound": sound,
        "hidden gradients": [row for row in everything if row.masked and missed_share(row) > 0.5],
    }
    if published:
        methods = read_published(published, sound)
        rules["published, sound"] = [row for row in methods if row.net not in MASKED]
        rules["published, masked"] = [row for row in methods if row.net in MASKED]
    heads = [
        "nets",
        "rows",
        *(f"{r}, n = {n:,}" for r in ("predicted", "constant") for n in IMAGES),
    ]
    text = [
        format_rule(
            rows,
            title,
            [
                [expected_miss(row.confidence) for row in rows],
                [MISSED_BY_CROSS_ENTROPY] * len(rows),
            ],
        )
        for title, rows in rules.items()
        if rows
    ]
    print("Flagged, in percent\n\n" + table(heads, text))


def find_slack(rows: Sequence[Row], predicted: np.ndarray) -> float:
    """Return the smallest slack, in steps of .01, with less than 2 % of false alarms at each n."""
    slack = 0.0
    while any(
        np.mean(
            [flag_share(row, guess + slack, n) for row, guess in zip(rows, predicted, strict=True)]
        )
        >= 0.02
        for n in IMAGES
    ):
        slack += 0.01
    return slack


def read_published(path: Path, sound: Sequence[Row]) -> list[Row]:
    """Return published methods as rows, with a confidence predicted from our nets."""
    names = ("natural", "smoothing", "averaged")
    line = fit(sound, names, np.array([row.confidence for row in sound]))
    found = []
    with path.open(newline="") as file:
        for one in csv.DictReader(file):
            natural, claimed, strong = (
                float(one[column]) / 100 for column in ("clean_acc", "pgd_50_acc", "autoattack_acc")
            )
            name = one["method"]
            smoothing = 0.0 if name in UNSMOOTHED else 0.6 if name == "liet" else 0.4
            averaged = int(name not in NOT_AVERAGED)
            row = Row(
                *("published", name, name, "", 8 / 255, 10_000, 10, smoothing, averaged, 0),
                *(natural, 0.0, claimed, strong),
            )
            guess = float(design([row], names)[0] @ line)
            found.append(Row(**{**vars(row), "confidence": min(1.0, max(0.1, guess))}))
    return found


if __name__ == "__main__":
    main()
