"""Plots of the finalists: the front with error bars, and how optimistic search scores were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from search.finals.finalist import Finalist
from search.formatting import count, shown
from search.outcome.marks import find_marks, list_marks
from search.record.view import View
from search.reporting.plots import GREY, INK, axis_title, empty_figure, hover_text, label
from spaces import OBJECTIVES, find_objective

_BLUE, _ORANGE = "#0072B2", "#D55E00"


def finals_front(view: View, finalists: Sequence[Finalist]) -> go.Figure:
    """Plot means of fresh seeds on the test split under the final battery, with 95 % intervals.

    Args:
      view: of the search.
      finalists: from `compute_standings`.
    """
    known = [f for f in finalists if f.known]
    marks = {f.trial.number: list_marks(find_marks(f.trial, view.header, f)) for f in known}
    figure = empty_figure(*(_axis_title(view, name) for name in view.header.aims))
    seeds = [(f.trial.number, *_shown(f, point)) for f in known for point in f.points]
    figure.add_trace(
        go.Scatter(
            x=[x for _, x, _ in seeds],
            y=[y for _, _, y in seeds],
            customdata=[number for number, _, _ in seeds],
            mode="markers",
            name="single seeds",
            marker={"size": 5, "color": GREY},
            hovertemplate="a seed of trial %{customdata}: %{x:.1f} / %{y:.1f}<extra></extra>",
        )
    )
    for on_front, fresh, name, colour, line in (
        (False, True, "other finalists", "white", GREY),
        (False, False, "not reported, without a fresh seed", "white", "#bbbbbb"),
        (True, True, "reported front", _BLUE, INK),
        (True, False, "reported without a fresh seed", "white", _BLUE),
    ):
        some = [f for f in known if f.on_front == on_front and bool(f.runs) == fresh]
        if fresh or some:
            figure.add_trace(_plot_means(some, name, colour, line, marks))
    if not known:
        return figure
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, height=520)


def selection_bias(finalists: Sequence[Finalist]) -> go.Figure:
    """Plot for each finalist the score that selected it, beside what fresh seeds score."""
    trained = [f for f in finalists if f.runs]
    judged = find_objective(next((f.aims[f.judged] for f in trained), OBJECTIVES[1]))
    unit = {"points": "percent points"}.get(judged.unit, judged.unit)
    title = judged.title.capitalize()
    figure = empty_figure("", f"{title} ({unit})" if unit else title)
    names = [f"trial {f.trial.number}" for f in trained]
    marks = (
        (
            "search score, which selected it",
            _ORANGE,
            "diamond",
            [_judged(f, f.trial.result.point if f.trial.result else None) for f in trained],
        ),
        (
            "fresh seeds, same images and battery",
            _BLUE,
            "circle",
            [_judged(f, f.validation_mean) for f in trained],
        ),
        (
            "fresh seeds, test images",
            "#56B4E9",
            "square",
            [_judged(f, f.claimed_mean) for f in trained],
        ),
        (
            "fresh seeds, test images, final battery",
            INK,
            "x",
            [_judged(f, f.mean) for f in trained],
        ),
    )
    for name, colour, symbol, values in marks:
        figure.add_trace(
            go.Scatter(
                x=names,
                y=values,
                mode="markers",
                name=name,
                marker={"color": colour, "symbol": symbol, "size": 11},
                hovertemplate="%{x}: %{y:.1f}",
            )
        )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, height=440)


def _plot_means(
    some: list[Finalist], name: str, colour: str, line: str, marks: Mapping[int, str]
) -> go.Scatter:
    bars: dict[str, dict[str, Any]] = {}
    for axis, m in (("error_x", 0), ("error_y", 1)):
        spans = [sorted(shown(f.aims[m], end) for end in f.intervals[m]) for f in some]
        means = [shown(f.aims[m], f.mean[m]) for f in some]
        bars[axis] = {
            "type": "data",
            "symmetric": False,
            "thickness": 1,
            "width": 3,
            "color": line,
            "array": [max(0.0, high - v) for v, (_, high) in zip(means, spans, strict=True)],
            "arrayminus": [max(0.0, v - low) for v, (low, _) in zip(means, spans, strict=True)],
        }
    return go.Scatter(
        x=[_shown(f, f.mean)[0] for f in some],
        y=[_shown(f, f.mean)[1] for f in some],
        name=name,
        mode="markers+text",
        text=[label(f.trial, marks) for f in some],
        textposition="top right",
        **bars,
        marker={
            "size": 13,
            "color": colour,
            "symbol": ["x" if marks[f.trial.number] else "circle" for f in some],
            "line": {"color": line, "width": 2},
        },
        customdata=[f.trial.number for f in some],
        hovertext=[_hover_text(f, marks[f.trial.number]) for f in some],
        hoverinfo="text",
    )


def _shown(f: Finalist, point: tuple[float, float]) -> tuple[float, float]:
    """Return both objectives in the units in which they are shown."""
    return shown(f.aims[0], point[0]), shown(f.aims[1], point[1])


def _judged(f: Finalist, point: tuple[float, float] | None) -> float | None:
    return None if point is None else _shown(f, point)[f.judged]


def _axis_title(view: View, name: str) -> str:
    """Return the title of an objective's axis, of values on test images."""
    if name == "natural_accuracy":
        return "Natural accuracy on test images (%)"
    if name == "attacked_score":
        top = 100 * len(view.header.battery) or 100
        return f"Attacked score, final battery (percent points, of {top})"
    return axis_title(view, name)


def _hover_text(f: Finalist, marks: str) -> str:
    return (
        f"P(on the front) {f.p_front:.2f}<br>{count(len(f.runs), 'fresh seed')}: "
        f"{' / '.join(f'{value:,.1f}' for value in _shown(f, f.mean))}<br>selected by:<br>"
        + hover_text(f.trial, marks)
    )
