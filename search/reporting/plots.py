"""Plots of a search as Plotly figures, for the HTML report and W&B.

Text that a user wrote is escaped, because Plotly interprets some HTML in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from search.formatting import format_value
from search.outcome.front import RunFront
from search.outcome.marks import SYMBOL, find_marks, list_marks
from search.record.trial import Trial
from search.record.view import View
from spaces import OBJECTIVES, find_objective

MAX_LABELS = 12  # up to so many front members show their number
MAX_CURVES = 8  # drawn at first; the legend switches the others on
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A5C00", "#56B4E9", "#000000", "#E69F00")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon")
GREY, INK, BLUE, ORANGE, GREEN, PURPLE = (
    *("#9aa1a9", "#1c2128", "#0072B2", "#D55E00", "#009E73", "#CC79A7"),
)
MARKED = "marked: its score misleads"
MAX_BARS = 150  # other trials up to which each has its intervals
MAX_HOVER = 300  # other trials up to which each shows its hyperparameters when hovered over


def front(view: View) -> go.Figure:
    """Plot both objectives against each other, with the front as a staircase."""
    best = view.front()
    numbers = {trial.number for trial in best}
    others = [t for t in view.scored() if t.number not in numbers]
    marks = {t.number: list_marks(find_marks(t, view.header)) for t in view.scored()}
    marked = [t for t in others if marks[t.number]]
    plain = [t for t in others if not marks[t.number]]
    figure = empty_figure(*(axis_title(view, name) for name in view.header.aims))
    if plain:
        grey = {"color": GREY, "size": 7}
        figure.add_trace(_points(plain, "other finished trials", grey, marks))
    if marked:
        cross = {"color": ORANGE, "size": 9, "symbol": "x"}
        figure.add_trace(_points(marked, MARKED, cross, marks))
    if best:
        x, y = zip(*(shown_objectives(trial) for trial in best), strict=True)
        figure.add_trace(
            go.Scatter(
                x=x,
                y=y,
                mode="lines",
                line={"color": INK, "width": 1.5, "shape": "hv"},
                hoverinfo="skip",
                showlegend=False,
                name="front line",
            )
        )
        figure.add_trace(_points(best, "front", front_marker(best, marks), marks))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(legend=legend, height=520)


def front_marker(trials: Sequence[Trial], marks: Mapping[int, str]) -> dict[str, Any]:
    """Return the marker of nets of the front: blue, those whose scores mislead with a thick rim.

    Args:
      trials: that are drawn.
      marks: names of the marks of each trial, by number; "" for none.
    """
    some = [bool(marks.get(trial.number)) for trial in trials]
    return {
        "color": BLUE,
        "size": 12,
        "symbol": ["x" if one else "circle" for one in some],
        "line": {"color": [ORANGE if one else INK for one in some], "width": 1.5},
    }


def label(trial: Trial, marks: Mapping[int, str]) -> str:
    """Return the number of a trial, with a "!" if its scores mislead."""
    return f"{trial.number}{SYMBOL if marks.get(trial.number) else ''}"


def curves(view: View, front: RunFront) -> go.Figure:
    """Plot accuracy against attack strength for the nets of the front of a run.

    Args:
      view: of the search.
      front: of the run; of several trainings of a member, that of its net is shown.
    """
    figure = empty_figure("Attack strength eps (0 is no attack)", "Accuracy (%)")
    reach: set[float] = set()
    for n, member in enumerate(front.members):
        result = member.net.result
        rows = sorted(map(tuple, result.details.curve or ())) if result else ()
        eps, accuracy, low, high = zip(*rows, strict=True) if rows else ((), (), (), ())
        reach |= set(eps)
        bars = _bars([100 * v for v in accuracy], list(zip(low, high, strict=True)), 100)
        figure.add_trace(
            go.Scatter(
                x=eps,
                y=[100 * v for v in accuracy],
                error_y=bars,
                **_series(n, front),
                hovertemplate="eps %{x:.4g}: %{y:.1f} %",
            )
        )
    if classes := view.header.classes:
        figure.add_hline(
            100 / classes,
            line={"color": GREY, "dash": "dash", "width": 1},
            annotation={"text": "chance", "font": {"color": "#5b6570"}},
            annotation_position="bottom left",
        )
    if all(abs(255 * e - round(255 * e)) < 1e-3 for e in reach):
        ticks = sorted(reach)
        figure.update_xaxes(
            tickvals=ticks, ticktext=[f"{255 * e:.0f}/255" if e else "0" for e in ticks]
        )
    return figure.update_yaxes(range=_fit(figure))


def _fit(figure: go.Figure) -> list[float]:
    """Return the range of accuracies that the curves and their intervals need, in percent."""
    ends = [
        (value - down, value + up)
        for trace in figure.data
        for value, down, up in zip(
            trace.y, trace.error_y.arrayminus, trace.error_y.array, strict=True
        )
    ]
    if not ends:
        return [0, 100]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    return [max(0.0, low - 2), min(100.0, high + 2)]


def importance(shares: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Plot bars of the hyperparameter importance.

    Args:
      shares: for each objective the share in [0, 1] of each hyperparameter, from
        `search.reporting.importance`.
    """
    figure = empty_figure("Share of the explained variation (%)", "")
    both = list(zip(shares.items(), _COLOURS, strict=False))
    for (objective, share), colour in reversed(both):  # Plotly draws the last one on top
        knobs = list(share)[::-1]
        figure.add_trace(
            go.Bar(
                y=[escape(knob) for knob in knobs],
                x=[100 * share[knob] for knob in knobs],
                orientation="h",
                name=find_objective(objective).title.capitalize(),
                marker={"color": colour},
                hovertemplate="%{y}: %{x:.0f} %",
            )
        )
    height = 130 + 40 * max(map(len, shares.values()), default=0)
    figure.update_yaxes(ticks="", automargin=True)
    return figure.update_layout(height=height, legend={"traceorder": "reversed"})


def learning(front: RunFront) -> go.Figure:
    """Plot the validation accuracy under attack of each net of a front after each epoch."""
    figure = empty_figure("Epoch", "Validation accuracy under attack (%)")
    for n, trial in enumerate(member.net for member in front.members):
        known = [
            (e, 100 * v.metrics["watched_robust"])
            for e, v in sorted(trial.epochs.items())
            if "watched_robust" in v.metrics
        ]
        x, y = zip(*known, strict=True) if known else ((), ())
        kept = trial.result.details.best_epoch if trial.result else None
        style = _series(n, front)
        style["marker"] |= {"size": [11 if epoch == kept else 0 for epoch in x], "opacity": 1}
        figure.add_trace(go.Scatter(x=x, y=y, **style, hovertemplate="epoch %{x}: %{y:.1f} %"))
    return figure.update_yaxes(rangemode="tozero")


def axis_title(view: View, name: str) -> str:
    """Return the title of an objective's axis, with its unit."""
    one = find_objective(name)
    title = one.title.capitalize()
    if name == "attacked_score":
        top = 100 * len(view.header.battery) or 100
        return f"{title}, {escape(view.header.score)} (percent points, of {top})"
    return f"{title} ({one.unit})" if one.unit else title


def shown_objectives(trial: Trial) -> tuple[float, float]:
    """Return both objectives in the units in which they are shown: accuracies in percent."""
    if trial.result is None:
        return 0.0, 0.0
    first, second = (
        find_objective(name).shown * trial.result.objectives[name] for name in trial.result.aims
    )
    return first, second


def shown_intervals(trial: Trial) -> list[tuple[float, float]]:
    """Return the 95 % intervals of both objectives in these units; the value if unknown."""
    if trial.result is None:
        return [(0.0, 0.0)] * 2
    found = []
    for name, value in zip(trial.result.aims, shown_objectives(trial), strict=True):
        low, high = trial.result.intervals.get(name, (None, None))
        k = find_objective(name).shown
        found.append((value, value) if low is None or high is None else (k * low, k * high))
    return found


def _points(
    trials: list[Trial], name: str, marker: Mapping[str, Any], marks: Mapping[int, str]
) -> go.Scatter:
    front = name == "front"
    labels = front and len(trials) <= MAX_LABELS
    x, y = zip(*(shown_objectives(trial) for trial in trials), strict=True)
    spans = [shown_intervals(trial) for trial in trials]
    thin = {"color": "#5b6570" if front else "#d5d9de", "thickness": 1, "width": 3}
    bars = {}
    if front or len(trials) <= MAX_BARS:
        bars = {
            "error_x": _bars(list(x), [span[0] for span in spans]) | thin,
            "error_y": _bars(list(y), [span[1] for span in spans]) | thin,
        }
    whole = front or len(trials) <= MAX_HOVER
    return go.Scatter(
        x=[round(v, 4) for v in x],
        y=[round(v, 4) for v in y],
        name=name,
        mode="markers+text" if labels else "markers",
        marker=marker,
        text=[label(trial, marks) for trial in trials] if labels else None,
        textposition="top right",
        customdata=[trial.number for trial in trials],
        hovertext=[hover_text(t, marks.get(t.number, "")) for t in trials] if whole else None,
        hoverinfo="text" if whole else None,
        hovertemplate=None if whole else "trial %{customdata}: %{x:.1f} / %{y:.1f}<extra></extra>",
        **bars,
    )


def hover_text(trial: Trial, marks: str = "") -> str:
    """Return objectives, masking gap and hyperparameters of a trial, in Plotly's own HTML.

    Args:
      trial: with a result.
      marks: names of its marks; "" for none.
    """
    lines = [f"<b>trial {trial.number}</b>{f' {SYMBOL} {marks}' if marks else ''}"]
    aims = trial.result.aims if trial.result else OBJECTIVES
    for name, value, (low, high) in zip(
        aims, shown_objectives(trial), shown_intervals(trial), strict=True
    ):
        title = find_objective(name).title.capitalize()
        lines.append(f"{title} {value:,.1f} [{low:,.1f}, {high:,.1f}]")
    if gap := trial.result.details.masking_gap if trial.result else None:
        lines.append(f"Masking gap {100 * gap.gap:.1f}{' (flagged)' if gap.flagged else ''}")
    lines += [f"{escape(k)} = {escape(format_value(v))}" for k, v in trial.params.items()]
    return "<br>".join(lines)


def _bars(
    values: list[float], intervals: list[tuple[float, float]], scale: float = 1
) -> dict[str, Any]:
    """Return Plotly's error bars: distances up and down, never negative."""
    spans = list(zip(values, intervals, strict=True))
    return {
        "type": "data",
        "symmetric": False,
        "thickness": 1,
        "width": 3,
        "array": [max(0.0, scale * high - value) for value, (_, high) in spans],
        "arrayminus": [max(0.0, value - scale * low) for value, (low, _) in spans],
    }


def _series(n: int, front: RunFront) -> dict[str, Any]:
    """Return the style of front member n; of many, some spread over the front are visible."""
    member = front.members[n]
    once = " (search)" if front.source == "finals" and not member.is_final else ""
    step = max(1, (len(front.members) - 1) / (MAX_CURVES - 1))
    drawn = {round(step * k) for k in range(MAX_CURVES)}
    return {
        "name": f"trial {member.number}{once}",
        "mode": "lines+markers",
        "line": {"color": _COLOURS[n % 8], "width": 2, "dash": "dot" if n // 8 % 2 else "solid"},
        "marker": {"symbol": _SYMBOLS[n % 8], "size": 7},
        "visible": True if n in drawn else "legendonly",
    }


def empty_figure(x: str, y: str) -> go.Figure:
    """Return a figure without data in the common style, with the titles of its axes."""
    axis = {"gridcolor": "#e8eaed", "linecolor": "#9aa1a9", "zeroline": False, "ticks": "outside"}
    return go.Figure(
        layout={
            "template": "none",
            "height": 440,
            "margin": {"l": 70, "r": 20, "t": 30, "b": 55},
            "font": {"family": "system-ui, sans-serif", "size": 14, "color": INK},
            "xaxis": {"title": {"text": x}, **axis},
            "yaxis": {"title": {"text": y}, **axis},
            "hoverlabel": {"bgcolor": "white", "font": {"color": INK}, "align": "left"},
            "showlegend": True,
        }
    )
