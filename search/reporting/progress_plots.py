"""Plots of how a search went: hypervolume against trials and device-hours, and who ran when."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from search.record.trial import Trial
from search.record.view import View
from search.reporting.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, empty_figure
from spaces import OBJECTIVES

_COLOURS = {"finished": BLUE, "stopped": GREY, "failed": ORANGE, "running": GREEN}
_SYMBOLS = {
    "finished": "circle",
    "stopped": "line-ns-open",
    "failed": "x",
    "running": "circle-open",
}


def progress(view: View, area: Sequence[float]) -> go.Figure:
    """Plot the hypervolume after each finished trial.

    Args:
      view: of the search.
      area: from `hypervolumes`.
    """
    return _steps(view, list(range(1, len(area) + 1)), area, "Finished trials")


def progress_by_cost(view: View, area: Sequence[float]) -> go.Figure:
    """Plot the hypervolume against the device-hours that all trials had taken by then.

    Args:
      view: of the search.
      area: from `hypervolumes`.
    """
    every = view.scored()
    done = sorted([t for t in every if view.feasible(t)] or every, key=lambda t: t.ended)
    spent = _running_sum(view, done, device_hours(view))
    title = f"{describe_device(view)}-hours of all trials"
    return _steps(view, [float(f"{h:.4g}") for h in spent], area, title)


def _running_sum(view: View, done: Sequence[Trial], hours: dict[int, float]) -> list[float]:
    """Return the hours of all trials that had ended by the end of each of some trials."""
    ended = iter(sorted((t for t in view.trials.values() if t.ended), key=lambda t: t.ended))
    total, found, ahead = 0.0, list[float](), next(ended, None)
    for one in done:
        while ahead is not None and ahead.ended <= one.ended:
            total += hours[ahead.number]
            ahead = next(ended, None)
        found.append(total)
    return found


def device_hours(view: View) -> dict[int, float]:
    """Return the hours that each trial has held its GPUs, or its cores if it has no GPU."""
    scale = view.header.scale
    share = float(scale.get("gpus") or scale.get("cpus") or 1.0)
    return {number: share * trial.seconds / 3600 for number, trial in view.trials.items()}


def describe_device(view: View) -> str:
    """Return what trials are charged for: a GPU, or a core where they have none."""
    return "GPU" if view.header.scale.get("gpus") else "Core"


def _steps(view: View, x: Sequence[float], y: Sequence[float], title: str) -> go.Figure:
    unit = "1 is a perfect net" if view.header.aims == OBJECTIVES else "share of the last"
    figure = empty_figure(title, f"Hypervolume ({unit})")
    figure.add_scatter(
        x=list(x),
        y=[round(v, 5) for v in y],
        mode="lines+markers" if len(x) <= 100 else "lines",
        name="hypervolume",
        line={"shape": "hv", "color": BLUE},
        marker={"size": 5},
        showlegend=False,
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )
    figure.update_xaxes(rangemode="nonnegative").update_yaxes(rangemode="nonnegative")
    return figure.update_layout(height=340)


def timeline(view: View) -> go.Figure:
    """Plot when each trial ran, those of the same time in rows below each other."""
    figure = empty_figure("Time since the search began", "At the same time")
    parts = (
        [("", view.trials.values()), ("final ", view.finals.trials.values())]
        if view.finals
        else [("", view.trials.values())]
    )
    runs = [(label, t) for label, trials in parts for t in trials if t.started]
    if not runs:
        return figure
    origin = min(t.started for _, t in runs)
    now = max([*(t.ended for _, t in runs), *(s.last or s.time for s in view.sessions)])
    hour = 3600 if now - origin > 5400 else 60
    spans = [(t.started - origin, (t.ended or now) - origin, label, t) for label, t in runs]
    spans.sort(key=lambda span: span[0])
    rows = pack_rows([(begin, end) for begin, end, _, _ in spans])
    for state, own in _COLOURS.items():
        for label, colour in (("", own), ("final ", PURPLE)):
            mine = [
                (row, begin / hour, end / hour, trial)
                for row, (begin, end, of, trial) in zip(rows, spans, strict=True)
                if trial.state == state and of == label
            ]
            if mine:
                figure.add_trace(_bars(mine, f"{label}{state}", colour, _SYMBOLS[state]))
    for session in view.sessions[1:]:
        figure.add_vline((session.time - origin) / hour, line={"color": GREY, "dash": "dot"})
    unit = "Hours" if hour == 3600 else "Minutes"
    figure.update_xaxes(title={"text": f"{unit} since the search began"})
    figure.update_yaxes(range=[max(rows) + 0.6, 0.4], dtick=max(1, -(-max(rows) // 8)))
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    return figure.update_layout(height=min(520, 190 + 16 * max(rows)), legend=legend)


def pack_rows(spans: Sequence[tuple[float, float]]) -> list[int]:
    """Return a row for each span, from 1: the first one that is free at its start.

    Args:
      spans: begin and end, the earliest begin first.
    """
    free: list[float] = []
    rows = []
    for begin, end in spans:
        row = next((i for i, until in enumerate(free) if until <= begin + 1e-6), len(free))
        free[row : row + 1] = [end]
        rows.append(row + 1)
    return rows


def _bars(
    spans: Sequence[tuple[int, float, float, Trial]], name: str, colour: str, symbol: str
) -> go.Scatter:
    x: list[float | None] = []
    y: list[int | None] = []
    numbers: list[int | None] = []
    for row, begin, end, trial in spans:
        number = int(trial.origin) if name.startswith("final") else trial.number
        x += [round(begin, 4), round(end, 4), None]
        y += [row, row, None]
        numbers += [number, number, None]
    return go.Scatter(
        x=x,
        y=y,
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 7 if len(spans) < 300 else 3},
        marker={"color": colour, "symbol": symbol, "size": 6},
        customdata=numbers,
        hovertemplate=f"{name}, trial %{{customdata}}: at %{{x:.4g}}<extra></extra>",
    )
