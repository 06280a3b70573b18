"""Accuracies under attacks as a table, in text and in HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Row = tuple[str, float, float, float, float]
"""An attack, its radius, the accuracy in [0, 1], and the ends of its interval."""

HEAD = ("attack", "eps", "accuracy", "interval")


def format_rows(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """Return the cells below `HEAD`."""
    return [
        (name, f"{eps:.4g}", f"{100 * share:.1f} %", f"{100 * low:.1f} to {100 * high:.1f}")
        for name, eps, share, low, high in rows
    ]


def text_table(rows: Sequence[Row], first: str, last: str) -> str:
    """Return the table as lines of text with aligned columns, between two lines; "" is none."""
    cells = [HEAD, *format_rows(rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells
    ]
    return "\n".join(filter(None, [first, *lines, last]))


def html_table(rows: Sequence[Row], first: str, last: str) -> str:
    """Return the table as HTML, between two paragraphs, for notebooks and pages."""
    head = "".join(f"<th scope='col'>{cell}</th>" for cell in HEAD)
    body = "".join(
        f"<tr><th scope='row'>{escape(row[0])}</th>"
        f"{''.join(f'<td>{escape(cell)}</td>' for cell in row[1:])}</tr>"
        for row in format_rows(rows)
    )
    above, below = (f"<p>{escape(text)}</p>" if text else "" for text in (first, last))
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"
