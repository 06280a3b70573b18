"""The main figures as PNG and SVG, for papers and slides, in the folder `figures/` of a run.

They are drawn by matplotlib, because Plotly needs a browser to write a file. Width and font fit a
column of a paper; the text of an SVG stays text.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from textwrap import fill
from typing import Any

from adv.files import write_atomic
from search.finals.finalist import Finalist
from search.outcome.front import RunFront, find_front
from search.outcome.front_member import FrontMember
from search.outcome.marks import find_marks
from search.record.view import View
from search.reporting.csv_tables import hypervolumes
from search.reporting.importance import importance
from search.reporting.plots import (
    BLUE,
    GREY,
    INK,
    MARKED,
    ORANGE,
    axis_title,
    shown_objectives,
)
from spaces import find_objective

SIZE = (4.2, 3.2)  # inches
DPI = 300
MAX_CURVES = 6
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#7A5C00", "#56B4E9")
_RC: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e8eaed",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,  # a name of the user's may hold dollars
    "svg.fonttype": "none",
    "svg.hashsalt": "robustune",  # the same file from the same run
}


def write_static_figures(
    view: View, folder: Path, finalists: Sequence[Finalist] | None = None
) -> list[Path]:
    """Write each figure as PNG and SVG, and return their paths; none without a result.

    Args:
      view: of the search.
      folder: in which they lie; it is made.
      finalists: from `compute_standings`; None computes them.
    """
    if not view.scored():
        return []
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its cache of fonts
    import matplotlib as mpl
    from matplotlib.figure import Figure

    front = find_front(view, finalists)
    found: list[Path] = []
    with mpl.rc_context(_RC), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that the font does not have
        for name, draw in _FIGURES.items():
            figure = Figure(figsize=SIZE, layout="constrained")
            if not draw(figure.subplots(), view, front):
                continue
            for kind, options in _KINDS.items():
                buffer = io.BytesIO()
                figure.savefig(buffer, format=kind, **options)
                found.append(folder / f"{name}.{kind}")
                write_atomic(found[-1], buffer.getvalue())
    return found


_KINDS: dict[str, dict[str, Any]] = {"png": {"dpi": DPI}, "svg": {"metadata": {"Date": None}}}


def _draw_front(axes: Any, view: View, front: RunFront) -> bool:
    """Draw the front of the run; without finals also the other trials of the search."""
    if not front.members:
        return False
    others = view.scored() if front.source == "search" else []
    others = [trial for trial in others if trial.number not in front.numbers]
    points = [shown_objectives(trial) for trial in others]
    if points:
        axes.scatter(*zip(*points, strict=True), s=9, color=GREY, label="other trials", lw=0)
    spots = [_shown(member) for member in front.members]
    x, y = ([spot[m][0] for spot in spots] for m in range(2))
    ends = [[(spot[m][1], spot[m][2]) for spot in spots] for m in range(2)]
    axes.errorbar(
        x,
        y,
        xerr=_bars(x, ends[0]),
        yerr=_bars(y, ends[1]),
        fmt="o",
        color=BLUE,
        ecolor="#5b6570",
        elinewidth=0.8,
        markersize=5,
        markeredgecolor=INK,
        label="front, 95 % intervals",
    )
    marked = [p for t, p in zip(others, points, strict=True) if find_marks(t, view.header)]
    members = zip(front.members, zip(x, y, strict=True), strict=True)
    marked += [place for member, place in members if member.marks]
    if marked:
        crosses = {"marker": "x", "color": ORANGE, "s": 30, "zorder": 4, "label": MARKED}
        axes.scatter(*zip(*marked, strict=True), **crosses)
    if len(spots) <= 12:
        for member, a, b in zip(front.members, x, y, strict=True):
            axes.annotate(str(member.number), (a, b), (3, 3), textcoords="offset points")
    titles = [fill(unescape(axis_title(view, name)), 34) for name in front.aims]
    axes.set(xlabel=titles[0], ylabel=titles[1])
    axes.legend(loc="best", fontsize=8)
    return True


def _draw_curves(axes: Any, view: View, front: RunFront) -> bool:
    """Draw the robustness curves of some nets, spread over the front."""
    known = [m for m in front.members if m.net.result and m.net.result.details.curve]
    if not known:
        return False
    step = max(1, (len(known) - 1) / max(1, MAX_CURVES - 1))
    some = [
        known[i] for i in sorted({round(step * k) for k in range(MAX_CURVES)}) if i < len(known)
    ]
    for member, colour in zip(some, _COLOURS, strict=False):
        curve = member.net.result.details.curve if member.net.result else None
        rows = sorted(map(tuple, curve or ()))
        eps, accuracy, low, high = ([100 * v for v in column] for column in zip(*rows, strict=True))
        radii = [value / 100 for value in eps]
        axes.fill_between(radii, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(radii, accuracy, "o-", color=colour, markersize=3, label=f"trial {member.number}")
    if view.header.classes:
        axes.axhline(100 / view.header.classes, color=GREY, linestyle="--", linewidth=0.8)
    axes.set(xlabel="Attack strength eps (0: no attack)", ylabel="Accuracy (%)")
    axes.legend(loc="best", fontsize=8)
    return True


def _draw_hypervolume(axes: Any, view: View, front: RunFront) -> bool:  # noqa: ARG001 - one of many
    area = hypervolumes(view)
    axes.step(range(1, len(area) + 1), area, where="post", color=BLUE)
    axes.set(xlabel="Finished trials", ylabel="Hypervolume of the search")
    return True


def _draw_importance(axes: Any, view: View, front: RunFront) -> bool:  # noqa: ARG001 - one of many
    shares = importance(view)
    if isinstance(shares, str):
        return False
    knobs = list(view.header.knobs)[::-1]
    for k, (objective, share) in enumerate(shares.items()):
        places = [i + 0.2 - 0.4 * k for i in range(len(knobs))]
        title = find_objective(objective).title
        values = [100 * share[knob] for knob in knobs]
        axes.barh(places, values, 0.38, color=(BLUE, ORANGE)[k], label=title)
    axes.set_yticks(range(len(knobs)), knobs)
    axes.set_xlabel("Share of the explained variation (%)")
    axes.legend(loc="best", fontsize=8)
    return True


_FIGURES: dict[str, Callable[[Any, View, RunFront], bool]] = {
    "front": _draw_front,
    "robustness": _draw_curves,
    "hypervolume": _draw_hypervolume,
    "importance": _draw_importance,
}


def _shown(member: FrontMember) -> list[tuple[float, float, float]]:
    """Return of both objectives the value and the ends of its interval, as they are shown."""
    found = []
    for name, value in member.objectives.items():
        unit = find_objective(name).shown
        low, high = member.intervals.get(name, (value, value))
        found.append((unit * value, unit * low, unit * high))
    return found


def _bars(values: Sequence[float], ends: Sequence[tuple[float, float]]) -> list[list[float]]:
    """Return matplotlib's error bars: distances down, then up, never negative."""
    pairs = list(zip(values, ends, strict=True))
    down = [max(0.0, v - low) for v, (low, _) in pairs]
    return [down, [max(0.0, high - v) for v, (_, high) in pairs]]
