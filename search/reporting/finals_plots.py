"""The finalists as pictures: the front with its error bars, and what the choice had flattered."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.record.view import View
from search.reporting.plots import GREY, INK, hover, plain

_BLUE, _ORANGE = "#0072B2", "#D55E00"


def finals_front(view: View) -> go.Figure:
    """Means of fresh seeds on the test split under the strong battery, with 95 % intervals."""
    field = [f for f in compute_standings(view) if f.runs]
    top = 100 * len(view.header.battery) or 100
    figure = plain(
        "Natural accuracy on test images (%)", f"Strong attacked score (percent points, of {top})"
    )
    seeds = [(100 * x, y) for f in field for x, y in f.points]
    figure.add_trace(go.Scatter(
        x=[x for x, _ in seeds], y=[y for _, y in seeds], mode="markers", name="single seeds",
        marker={"size": 5, "color": GREY}, hoverinfo="skip",
    ))  # fmt: skip
    for on_front, name, colour, line in (
        (False, "other finalists", "white", GREY),
        (True, "reported front", _BLUE, INK),
    ):
        some = [f for f in field if f.on_front == on_front]
        figure.add_trace(_means(some, name, colour, line))
    if not field:
        return figure
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, height=520)


def curse(view: View) -> go.Figure:
    """For each finalist the score that chose it, beside what fresh seeds score."""
    field = [f for f in compute_standings(view) if f.runs]
    figure = plain("", "Attacked score (percent points)")
    names = [f"trial {f.trial.number}" for f in field]
    marks = (
        ("search score, which chose it", _ORANGE, "diamond",
         [f.trial.result.point[1] if f.trial.result else None for f in field]),
        ("fresh seeds, same images and battery", _BLUE, "circle",
         [f.validation_mean[1] if f.validation_mean else None for f in field]),
        ("fresh seeds, test images", "#56B4E9", "square",
         [f.claimed_mean[1] if f.claimed_mean else None for f in field]),
        ("fresh seeds, test images, strong battery", INK, "x",
         [f.mean[1] for f in field]),
    )  # fmt: skip
    for name, colour, symbol, values in marks:
        figure.add_trace(go.Scatter(
            x=names, y=values, mode="markers", name=name,
            marker={"color": colour, "symbol": symbol, "size": 11},
            hovertemplate="%{x}: %{y:.1f}",
        ))  # fmt: skip
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, height=440)


def _means(some: list[Finalist], name: str, colour: str, line: str) -> go.Scatter:
    bars: dict[str, dict[str, Any]] = {}
    for axis, m, scale in (("error_x", 0, 100), ("error_y", 1, 1)):
        bars[axis] = {
            "type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": line,
            "array": [max(0.0, scale * (f.intervals[m][1] - f.mean[m])) for f in some],
            "arrayminus": [max(0.0, scale * (f.mean[m] - f.intervals[m][0])) for f in some],
        }  # fmt: skip
    return go.Scatter(
        x=[100 * f.mean[0] for f in some], y=[f.mean[1] for f in some],
        name=name, mode="markers+text", text=[str(f.trial.number) for f in some],
        textposition="top right", **bars,
        marker={"size": 13, "color": colour, "line": {"color": line, "width": 2}},
        hovertext=[_said(f) for f in some], hoverinfo="text",
    )  # fmt: skip


def _said(f: Finalist) -> str:
    return (
        f"P(on the front) {f.p_front:.2f}<br>{len(f.runs)} fresh seed{'s' * (len(f.runs) > 1)}: "
        f"{100 * f.mean[0]:.1f} %, {f.mean[1]:.1f}<br>chosen by:<br>{hover(f.trial)}"
    )
