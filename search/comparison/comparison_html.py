"""The page of a comparison: fronts of several runs on top of each other, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

import plotly.graph_objects as go

from adv.files import write_atomic
from search.comparison.compare_views import RunComparison
from search.comparison.comparison_terminal import describe_basis, sentences
from search.record.view import View
from search.reporting.html_template import figure, render_page, section, table
from search.reporting.plots import axis_title, empty_figure
from spaces import find_objective

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A5C00", "#56B4E9", "#000000", "#E69F00")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon")


def write_comparison(found: RunComparison, runs: Mapping[str, View], path: Path) -> None:
    """Write the page in one step; it loads nothing from outside."""
    volumes = [
        [
            escape(name),
            f"{value:.4f}",
            "not known" if span is None else f"{span[0]:.4f} to {span[1]:.4f}",
        ]
        for name, (value, span) in zip(found.names, found.hypervolumes, strict=True)
    ]
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences(found))
    title = " and ".join(found.names)
    body = [
        "<header class='bar'><p class='kicker'>Robustune</p>",
        f"<h1>{escape(title)}</h1></header><main>",
        section("What differs", escape(describe_basis(found, runs)), said),
        section(
            "The fronts",
            "Bars are 95 % intervals.",
            figure(plot_fronts(found, runs), "fronts", "Scatter: the fronts of all runs"),
        ),
        section("Hypervolume", "", table("Hypervolume", ["Run", "Value", "Interval"], volumes)),
        "</main>",
    ]
    write_atomic(path, render_page(title, "\n".join(body)))


def plot_fronts(found: RunComparison, runs: Mapping[str, View]) -> go.Figure:
    """Plot the fronts of all runs as staircases in one figure."""
    view = next(iter(runs.values()))
    aims = view.header.aims
    plot = empty_figure(*(axis_title(view, name) for name in aims))
    for k, (name, one) in enumerate(zip(found.names, found.fronts, strict=True)):
        axes = []
        for m, aim in enumerate(aims):
            unit = find_objective(aim).shown * find_objective(aim).sign
            values = unit * one.points[:, m]
            ends = [abs(unit * (one.intervals[:, m, e] - one.points[:, m])) for e in (0, 1)]
            axes.append((values, ends if unit > 0 else ends[::-1]))
        (x, (x_low, x_high)), (y, (y_low, y_high)) = axes
        colour = _COLOURS[k % len(_COLOURS)]
        plot.add_trace(
            go.Scatter(
                x=x.tolist(),
                y=y.tolist(),
                name=escape(name),
                mode="lines+markers",
                line={"color": colour, "width": 1.5, "shape": "hv"},
                marker={"symbol": _SYMBOLS[k % len(_SYMBOLS)], "size": 9, "color": colour},
                error_x=_bars(x_low.tolist(), x_high.tolist()),
                error_y=_bars(y_low.tolist(), y_high.tolist()),
                text=[f"trial {number}" for number in one.numbers],
                hovertemplate="%{text}: %{x:.4g}, %{y:.4g}",
            )
        )
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return plot.update_layout(legend=legend, height=520)


def _bars(low: list[float], high: list[float]) -> dict[str, object]:
    thin = {"type": "data", "symmetric": False, "thickness": 1, "width": 3}
    return {**thin, "array": high, "arrayminus": low}
