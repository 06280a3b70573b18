"""Parallel coordinates: each trial as a line through its hyperparameters to both objectives.

A trial without a conditional hyperparameter passes below that axis, through a line "not used".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from search.formatting import format_value
from search.record.trial import Trial
from search.record.view import View
from search.reporting.plots import BLUE, GREY, INK, ORANGE, empty_figure
from search.reporting.slices_plots import draw_sample, kind_of_trial, shown_figure
from spaces import find_objective

UNUSED = -0.12  # height of the line of trials without a hyperparameter, of the axes' 0 to 1
_LINES: Mapping[str, Mapping[str, Any]] = {
    "other trials": {"color": GREY, "width": 1},
    "marked": {"color": ORANGE, "width": 1, "dash": "dot"},
    "on the front": {"color": BLUE, "width": 2.5},
}


def parallel(view: View, front: set[int]) -> go.Figure:
    """Plot each trial as a line through its hyperparameters, which ends in both objectives."""
    names = [*view.header.knobs, *view.header.aims]
    figure = empty_figure("", "")
    trials = draw_sample(view, front)
    scales = [_make_scale(view, name, trials) for name in names]
    for kind, style in _LINES.items():
        x: list[float | None] = []
        y: list[float | None] = []
        numbers: list[int | None] = []
        for trial in (t for t in trials if kind_of_trial(t, view, front) == kind):
            for i, name in enumerate(names):
                value = _value(trial, name)
                x.append(i)
                y.append(UNUSED if value is None else round(scales[i](value), 4))
                numbers.append(trial.number)
            x, y, numbers = [*x, None], [*y, None], [*numbers, None]
        if x:
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines",
                name=kind,
                customdata=numbers,
                line=style,
                opacity=1.0 if kind == "on the front" else 0.45,
                hovertemplate="trial %{customdata}<extra></extra>",
            )
    for i, name in enumerate(names):
        _draw_axis(figure, i, view, name, trials)
    unused = any(not all(name in t.params for name in view.header.knobs) for t in trials)
    figure.update_xaxes(
        tickvals=list(range(len(names))),
        ticktext=[_title(view, name) for name in names],
        range=[-0.35, len(names) - 0.5],
        showgrid=False,
        showline=False,
        ticks="",
    )
    ticks = (
        {"tickvals": [UNUSED], "ticktext": ["not used"]} if unused else {"showticklabels": False}
    )
    figure.update_yaxes(
        range=[UNUSED - 0.06 if unused else -0.06, 1.08],
        showgrid=False,
        showline=False,
        ticks="",
        **ticks,
    )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    width = max(560, 130 * len(names))
    return figure.update_layout(
        height=440, legend=legend, meta={"width": width}, margin={"l": 70, "t": 40}
    )


def _value(trial: Trial, name: str) -> Any:
    return trial.params[name] if name in trial.params else shown_figure(trial, name)


def _title(view: View, name: str) -> str:
    if name in view.header.knobs:
        return escape(name)
    return f"<b>{find_objective(name).title.capitalize()}</b>"


def _ends(view: View, name: str, trials: Sequence[Trial]) -> tuple[float, float, bool]:
    """Return the ends of an axis, and whether it is logarithmic."""
    head = view.header.knobs.get(name)
    if head and head.get("kind") != "Choice":
        return float(head["low"]), float(head["high"]), bool(head.get("log"))
    values = [v for t in trials if (v := shown_figure(t, name)) is not None]
    return min(values, default=0.0), max(values, default=1.0), False


def _options(view: View, name: str) -> list[str]:
    return [str(option) for option in view.header.knobs[name]["options"]]


def _make_scale(view: View, name: str, trials: Sequence[Trial]) -> Any:
    """Return a function from a value to its height on the axis, in [0, 1]."""
    if view.header.knobs.get(name, {}).get("kind") == "Choice":
        places = {option: i for i, option in enumerate(_options(view, name))}
        return lambda value: places.get(str(value), 0) / max(1, len(places) - 1)
    low, high, log = _ends(view, name, trials)
    bend = math.log if log and low > 0 else float
    span = bend(high) - bend(low) or 1.0
    return lambda value: (bend(value) - bend(low)) / span


def _draw_axis(figure: go.Figure, i: int, view: View, name: str, trials: Sequence[Trial]) -> None:
    """Draw the axis of a name with its ends, or its options, as labels."""
    figure.add_shape(
        type="line", x0=i, x1=i, y0=0, y1=1, line={"color": INK, "width": 1}, layer="above"
    )
    if view.header.knobs.get(name, {}).get("kind") == "Choice":
        options = _options(view, name)
        labels = [(n / max(1, len(options) - 1), text) for n, text in enumerate(options)]
    else:
        low, high, _ = _ends(view, name, trials)
        labels = [(0.0, format_value(low)), (1.0, format_value(high))]
    for y, text in labels:
        figure.add_annotation(
            x=i,
            y=y,
            text=escape(text[:14]),
            showarrow=False,
            xanchor="left",
            xshift=4,
            yshift=9 if y == 1.0 else 0,
            font={"size": 11, "color": INK},
            bgcolor="white",
            opacity=0.9,
        )
