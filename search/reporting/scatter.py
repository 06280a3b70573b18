"""A scatter of the trials drawn in characters."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from search.formatting import format_objective, objective_title
from spaces import find_objective

Point = tuple[float, float]
OTHER, ON_FRONT = "·", "●"


def draw_scatter(
    points: Sequence[Point],
    on_front: Sequence[bool],
    names: tuple[str, str],
    size: tuple[int, int],
    *,
    ascii_only: bool = False,
) -> Text:
    """Return a scatter with its axes: the first objective to the right, the second upwards.

    Where less of an objective is better its axis is turned, so that better is right and up.

    Args:
      points: values as they are recorded.
      on_front: which of them are on the front; drawn over the others.
      names: of both objectives.
      size: columns and rows of the whole.
      ascii_only: use no other characters than those of ASCII.
    """
    columns, rows = size
    marks = (".", "o") if ascii_only else (OTHER, ON_FRONT)
    ranges = [_range([point[m] for point in points], names[m]) for m in range(2)]
    labels = [[format_objective(names[m], end) for end in ranges[m]] for m in range(2)]
    left = max(map(len, labels[1])) + 1
    width, height = max(4, columns - left - 1), max(2, rows - 4)
    grid = [[" "] * width for _ in range(height)]
    for best in (False, True):
        for point, on in zip(points, on_front, strict=True):
            if on is best:
                x = _place(point[0], ranges[0], width)
                y = height - 1 - _place(point[1], ranges[1], height)
                grid[y][x] = marks[on]
    legend, title = f"{marks[1]} on the front  {marks[0]} others", objective_title(names[1])
    if len(title) + 2 + len(legend) <= columns:
        title += f"{legend:>{columns - len(title)}}"
    text = Text(f"{title}\n", "dim", no_wrap=True)
    for i, row in enumerate(grid):
        label = labels[1][1] if i == 0 else labels[1][0] if i == height - 1 else ""
        text.append(f"{label:>{left - 1}} {'|' if ascii_only else '│'}", "dim")
        for mark in row:
            text.append(mark, "bold green" if mark == marks[1] else "dim")
        text.append("\n")
    low, high = labels[0]
    title = objective_title(names[0])
    pad = " " * left
    if len(low) + len(title) + len(high) + 2 <= width:
        between = width - len(low) - len(high)
        text.append(f"{pad}{low}{title:^{between}}{high}", "dim")
    else:
        text.append(f"{pad}{low}{high:>{max(1, width - len(low))}}\n{pad}{title}", "dim")
    return text


def _range(values: Sequence[float], name: str) -> tuple[float, float]:
    """Return the worse and the better end of an axis."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5 * abs(low or 1), high + 0.5 * abs(high or 1)
    return (low, high) if find_objective(name).larger else (high, low)


def _place(value: float, ends: tuple[float, float], cells: int) -> int:
    """Return the cell of a value, the first one at the worse end."""
    share = (value - ends[0]) / (ends[1] - ends[0])
    return min(cells - 1, int(share * cells))
