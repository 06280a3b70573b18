"""The Markdown tables of `techniques.py`, for one seed or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from adv import Score
from adv.auditing.finding import Interval, mean_with_interval, paired_difference

Row = dict[str, Any]
"""The results of one trained net, by column."""


def result_path(out: Path, name: str, kind: str) -> Path:
    """Return the path of a row's file."""
    return out / f"{''.join(c if c.isalnum() else '-' for c in name)}.{kind}"


def read_row(out: Path, name: str) -> Row:
    """Return what is there of a row, {} if it was not evaluated."""
    path = result_path(out, name, "json")
    return json.loads(path.read_text()) if path.exists() else {}


def table(
    folders: tuple[Path, ...], names: tuple[str, ...], columns: tuple[str, ...], images: int
) -> str:
    """Return a Markdown table: accuracies in percent, and differences under AutoAttack.

    A difference is that to the first row, image by image. With several folders, one for each seed,
    an image counts by its mean over the seeds, and the range over seeds follows.
    """
    attack = next(column for column in columns if column.startswith("AutoAttack"))
    rows = [[read_row(out, name) for out in folders] for name in names]
    seeds = "" if len(folders) == 1 else f", {len(folders)} seeds"
    head = (f"BigNet, {images} test images{seeds}", *columns, f"{attack}, less {names[0]}")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, row in zip(names, rows, strict=True):
        cells = [_cell([it[column] for it in row if column in it]) for column in columns]
        lines.append(f"| {' | '.join([name, *cells, _difference(row, rows[0], attack)])} |")
    return "\n".join(lines)


def _cell(results: list[Row]) -> str:
    """Return the text of a cell, given the results of its seeds."""
    if len(results) < 2:
        return str(results[0]["cell"]) if results else ""
    if "score" not in results[0]:
        means = [float(result["value"]) for result in results]
        return f"{sum(means) / len(means):.0f}{_range(means, '.0f')}"
    correct = torch.stack([_correct(result).double() for result in results])
    mean, interval = mean_with_interval(correct.mean(0))
    means = (100 * correct.mean(1)).tolist()
    return f"{100 * mean:.1f} {_percent(interval)}{_range(means, '.1f')}"


def _difference(row: list[Row], first: list[Row], attack: str) -> str:
    """Return the difference of two rows under `attack`, over the seeds that both have."""
    pairs = [
        (_correct(mine[attack]), _correct(other[attack]))
        for mine, other in zip(row, first, strict=True)
        if mine is not other and attack in mine and attack in other
    ]
    if not pairs:
        return ""
    if len(pairs) == 1:
        gain, interval = paired_difference(*pairs[0])
        return f"{100 * gain:+.1f} {_percent(interval, '+.1f')}"
    gains = torch.stack([mine.double() - other.double() for mine, other in pairs])
    gain, interval = mean_with_interval(gains.mean(0))
    means = (100 * gains.mean(1)).tolist()
    return f"{100 * gain:+.1f} {_percent(interval, '+.1f')}{_range(means, '+.1f')}"


def _correct(result: Row) -> torch.Tensor:
    """Return [n] booleans: which images stay correct under every attack of a column."""
    return Score.from_dict(result["score"]).ok.all(0)


def _percent(interval: Interval, form: str = ".1f") -> str:
    return f"({100 * interval[0]:{form}} to {100 * interval[1]:{form}})"


def _range(values: list[float], form: str) -> str:
    return f", seeds {min(values):{form}} to {max(values):{form}}"
