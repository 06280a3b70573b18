"""Draw the front of a run as an SVG, for the README.

    python benchmarks/front_picture.py runs/NAME docs/tradeoff.svg

Large points are means of fresh seeds on test images with 95 % intervals: filled ones are reported
as the front, open ones cannot be told from it, grey ones are not on it. Small grey points are the
trials of the search, on validation images.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import rich_click as click

from adv.files import write_atomic
from search.command_line import run_command
from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.record.ledger import read
from search.reporting.finals_terminal import mark_finalist

WIDTH, HEIGHT, LEFT, BOTTOM, MARGIN = 640, 400, 64, 52, 16
BLUE, INK, GREY = "#0072B2", "#1c2128", "#b8bec5"
FILLS = {"*": BLUE, "?": "white", "": GREY}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("path", type=click.Path(path_type=Path))
def main(run: Path, path: Path) -> None:
    """Draw the front of a run."""
    view = read(run / "ledger.jsonl")
    trials = [trial.result.point for trial in view.scored() if trial.result]
    finalists = [f for f in compute_standings(view) if f.runs]
    write_atomic(path, draw(trials, finalists))


def draw(trials: Sequence[tuple[float, float]], finalists: Sequence[Finalist]) -> str:
    """Return the picture of trials and finalists as SVG."""
    ends = [(100 * x, y) for f in finalists for x, y in zip(*f.intervals, strict=True)]
    every = [*((100 * x, y) for x, y in trials), *ends]
    x_axis = _Axis(min(x for x, _ in every), max(x for x, _ in every), LEFT, WIDTH - MARGIN)
    y_axis = _Axis(min(y for _, y in every), max(y for _, y in every), HEIGHT - BOTTOM, MARGIN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for tick in x_axis.ticks:
        at = x_axis(tick)
        parts.append(_line(at, MARGIN, at, HEIGHT - BOTTOM, "#e6e8eb"))
        parts.append(_text(at, HEIGHT - BOTTOM + 16, f"{tick:g}"))
    for tick in y_axis.ticks:
        at = y_axis(tick)
        parts.append(_line(LEFT, at, WIDTH - MARGIN, at, "#e6e8eb"))
        parts.append(_text(LEFT - 18, at + 4, f"{tick:g}"))
    parts.append(_text((LEFT + WIDTH) / 2, HEIGHT - 12, "natural accuracy (%)"))
    parts.append(
        f'<g transform="translate(14 {HEIGHT / 2}) rotate(-90)">{_text(0, 0, "attacked score")}</g>'
    )
    parts += [_circle(x_axis(100 * x), y_axis(y), 2.5, GREY, GREY) for x, y in trials]
    parts += [_draw_finalist(f, x_axis, y_axis) for f in finalists]
    return "\n".join([*parts, "</svg>\n"])


class _Axis:
    """A linear axis with about five round ticks."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        room = 0.05 * ((high - low) or 1.0)
        self.low, self.high, self.start, self.end = low - room, high + room, start, end
        step = next(
            s for s in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if (self.high - self.low) / s <= 7
        )
        first = int(self.low // step) + 1
        self.ticks = [k * step for k in range(first, int(self.high // step) + 1)]

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _draw_finalist(f: Finalist, x_axis: _Axis, y_axis: _Axis) -> str:
    (left, right), (low, high) = f.intervals
    x, y = x_axis(100 * f.mean[0]), y_axis(f.mean[1])
    mark = mark_finalist(f)
    colour = BLUE if mark else GREY
    params = " ".join(f"{key}={value}" for key, value in f.trial.params.items())
    return (
        _line(x_axis(100 * left), y, x_axis(100 * right), y, colour)
        + _line(x, y_axis(low), x, y_axis(high), colour)
        + _circle(x, y, 6, FILLS[mark], colour, f"trial {f.trial.number}: {params}")
        + _text(x + 8, y - 8, str(f.trial.number), "start")
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        'stroke-width="1.2"/>'
    )


def _circle(x: float, y: float, r: float, fill: str, stroke: str, title: str = "") -> str:
    inner = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" fill="{fill}" stroke="{stroke}" '
        f'stroke-width="2">{inner}</circle>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{text}</text>'


if __name__ == "__main__":
    run_command(main, "front_picture.py")
