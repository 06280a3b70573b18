"""Plots of the trials by one or two hyperparameters.

A conditional hyperparameter is drawn for the trials that have it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from search.outcome.marks import find_marks
from search.record.trial import Trial
from search.record.view import View
from search.reporting.plots import BLUE, GREY, INK, ORANGE, axis_title, empty_figure
from spaces import find_objective

MAX_POINTS = 400  # trials in a plot; of more, some spread over the search, and the front
Knob = Mapping[str, Any]


def draw_sample(view: View, front: set[int]) -> list[Trial]:
    """Return the finished trials that are drawn, by number: the front, and evenly spread others."""
    done = view.scored()
    step = max(1.0, len(done) / MAX_POINTS)
    kept = {done[int(i * step)].number for i in range(min(len(done), MAX_POINTS))}
    return [trial for trial in done if trial.number in kept | front]


def slices(view: View, knob: str, front: set[int]) -> go.Figure:
    """Plot both objectives against one hyperparameter, for the trials that have it."""
    head = view.header.knobs[knob]
    having = [trial for trial in draw_sample(view, front) if knob in trial.params]
    figure = empty_figure(escape(knob), "")
    axis = figure.layout.yaxis.to_plotly_json()
    for row, name in enumerate(view.header.aims):
        y = {**axis, "domain": [0.0, 0.47] if row else [0.53, 1.0], "automargin": True}
        y["title"] = {"text": find_objective(name).title.capitalize(), "font": {"size": 12}}
        figure.update_layout({"yaxis2" if row else "yaxis": y})
        for kind, marker in _MARKERS.items():
            some = [t for t in having if kind_of_trial(t, view, front) == kind]
            figure.add_scatter(
                x=[_place(trial.params[knob], head) for trial in some],
                y=[shown_figure(trial, name) for trial in some],
                yaxis="y2" if row else "y",
                mode="markers",
                marker=marker,
                name=kind,
                customdata=[trial.number for trial in some],
                showlegend=False,
                hovertemplate="trial %{customdata}: %{x}, %{y:.1f}<extra></extra>",
            )
    if head.get("log"):
        figure.update_xaxes(type="log", **_log_ticks(head))
    else:
        figure.update_xaxes(nticks=6)
    figure.update_xaxes(anchor="y2")
    return figure.update_layout(height=380, margin={"l": 60, "r": 12, "t": 12, "b": 48})


def pair(view: View, first: str, second: str, objective: str, front: set[int]) -> go.Figure:
    """Plot two hyperparameters against each other, coloured by an objective."""
    having = [t for t in draw_sample(view, front) if first in t.params and second in t.params]
    figure = empty_figure(escape(first), escape(second))
    heads = view.header.knobs[first], view.header.knobs[second]
    figure.add_scatter(
        x=[_place(t.params[first], heads[0]) for t in having],
        y=[_place(t.params[second], heads[1]) for t in having],
        mode="markers",
        customdata=[t.number for t in having],
        marker={
            "size": 11,
            "color": [shown_figure(t, objective) for t in having],
            "colorscale": "Cividis",  # made for colour-blind readers
            "line": {"color": INK, "width": [2 if t.number in front else 0.5 for t in having]},
            "colorbar": {
                "title": {"text": axis_title(view, objective), "side": "right"},
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
        showlegend=False,
        hovertemplate="trial %{customdata}: %{marker.color:.1f}<extra></extra>",
    )
    for axis, head in zip(("xaxis", "yaxis"), heads, strict=True):
        if head.get("log"):
            figure.update_layout({axis: {"type": "log", **_log_ticks(head)}})
    return figure.update_layout(height=380)


_MARKERS: Mapping[str, Mapping[str, Any]] = {
    "other trials": {"color": GREY, "size": 6, "opacity": 0.7},
    "marked": {"color": ORANGE, "size": 8, "symbol": "x"},
    "on the front": {"color": BLUE, "size": 10, "line": {"color": INK, "width": 1}},
}


def kind_of_trial(trial: Trial, view: View, front: set[int]) -> str:
    """Return what a trial is drawn as: "on the front", "marked" or one of the "other trials"."""
    if trial.number in front:
        return "on the front"
    return "marked" if find_marks(trial, view.header) else "other trials"


def shown_figure(trial: Trial, name: str) -> float | None:
    """Return an objective of a trial in the unit in which it is shown, None if it has none."""
    if trial.result is None or name not in trial.result.objectives:
        return None
    return round(find_objective(name).shown * trial.result.objectives[name], 3)


def _place(value: Any, head: Knob) -> Any:
    """Return a value as Plotly takes it: of a choice as text, so that its axis has categories."""
    if head.get("kind") == "Choice":
        return escape(str(value))
    return float(f"{value:.6g}")


def _log_ticks(head: Knob) -> dict[str, Any]:
    """Return where a logarithmic axis has ticks: at powers of ten, of a short range 2 and 5 too."""
    decades = math.log10(head["high"] / head["low"])
    return {"dtick": max(1, round(decades / 4)) if decades > 2 else "D2", "tickformat": "~g"}
