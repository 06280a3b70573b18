"""Plots of the finalists: the front with error bars, and how optimistic search scores were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from search.finals.finalist import Finalist
from search.formatting import count
from search.record.view import View
from search.reporting.plots import GREY, INK, empty_figure, hover_text

_BLUE, _ORANGE = "#0072B2", "#D55E00"


def finals_front(view: View, finalists: Sequence[Finalist]) -> go.Figure:
    """Plot means of fresh seeds on the test split under the final battery, with 95 % intervals.

    Args:
      view: of the search.
      finalists: from `compute_standings`.
    """
    trained = [f for f in finalists if f.runs]
    top = 100 * len(view.header.battery) or 100
    figure = empty_figure(
        "Natural accuracy on test images (%)",
        f"Attacked score, final battery (percent points, of {top})",
    )
    seeds = [(100 * x, y) for f in trained for x, y in f.points]
    figure.add_trace(
        go.Scatter(
            x=[x for x, _ in seeds],
            y=[y for _, y in seeds],
            mode="markers",
            name="single seeds",
            marker={"size": 5, "color": GREY},
            hoverinfo="skip",
        )
    )
    for on_front, name, colour, line in (
        (False, "other finalists", "white", GREY),
        (True, "reported front", _BLUE, INK),
    ):
        some = [f for f in trained if f.on_front == on_front]
        figure.add_trace(_plot_means(some, name, colour, line))
    if not trained:
        return figure
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, height=520)


def selection_bias(finalists: Sequence[Finalist]) -> go.Figure:
    """Plot for each finalist the score that selected it, beside what fresh seeds score."""
    trained = [f for f in finalists if f.runs]
    figure = empty_figure("", "Attacked score (percent points)")
    names = [f"trial {f.trial.number}" for f in trained]
    marks = (
        (
            "search score, which selected it",
            _ORANGE,
            "diamond",
            [f.trial.result.point[1] if f.trial.result else None for f in trained],
        ),
        (
            "fresh seeds, same images and battery",
            _BLUE,
            "circle",
            [f.validation_mean[1] if f.validation_mean else None for f in trained],
        ),
        (
            "fresh seeds, test images",
            "#56B4E9",
            "square",
            [f.claimed_mean[1] if f.claimed_mean else None for f in trained],
        ),
        ("fresh seeds, test images, final battery", INK, "x", [f.mean[1] for f in trained]),
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


def _plot_means(some: list[Finalist], name: str, colour: str, line: str) -> go.Scatter:
    bars: dict[str, dict[str, Any]] = {}
    for axis, m, scale in (("error_x", 0, 100), ("error_y", 1, 1)):
        bars[axis] = {
            "type": "data",
            "symmetric": False,
            "thickness": 1,
            "width": 3,
            "color": line,
            "array": [max(0.0, scale * (f.intervals[m][1] - f.mean[m])) for f in some],
            "arrayminus": [max(0.0, scale * (f.mean[m] - f.intervals[m][0])) for f in some],
        }
    return go.Scatter(
        x=[100 * f.mean[0] for f in some],
        y=[f.mean[1] for f in some],
        name=name,
        mode="markers+text",
        text=[str(f.trial.number) for f in some],
        textposition="top right",
        **bars,
        marker={"size": 13, "color": colour, "line": {"color": line, "width": 2}},
        hovertext=[_hover_text(f) for f in some],
        hoverinfo="text",
    )


def _hover_text(f: Finalist) -> str:
    return (
        f"P(on the front) {f.p_front:.2f}<br>{count(len(f.runs), 'fresh seed')}: "
        f"{100 * f.mean[0]:.1f} %, {f.mean[1]:.1f}<br>selected by:<br>{hover_text(f.trial)}"
    )
