"""The sections of the HTML report on the front of the search."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePosixPath

from search.finals.finalist import Finalist
from search.finals.reseeding_study import find_contenders
from search.formatting import format_value
from search.record.trial import Trial
from search.record.view import View
from search.reporting import plots
from search.reporting.front_table import describe_marks, mark_number
from search.reporting.html_template import figure, file_link, section, table
from search.reporting.importance import importance


def front_sections(view: View, finalists: Sequence[Finalist]) -> list[str]:  # noqa: ARG001 - the signature of a Panel
    """Return the sections on the front, its curves, importance and progress."""
    if not view.front():
        nothing = "<p class='none'>No trial has finished, so there is no front.</p>"
        return [section("The front", "", nothing)]
    return [
        _front(view),
        _members(view),
        _robustness_curves(view),
        _importance(view),
        _progress(view),
        _learning_curves(view),
    ]


def _front(view: View) -> str:
    return section(
        "The front of the search, before the finals" if view.finals else "The front",
        "Each point is a finished trial; no other trial is better than a front member in both "
        "objectives. Bars are 95 % intervals. Hover over a trial to see its hyperparameters.",
        figure(plots.front(view), "front", "Scatter: both objectives"),
    )


def _members(view: View) -> str:
    names = list(view.header.knobs)
    heads = [
        "Trial",
        *(_head(view, name) for name in view.header.aims),
        "Masking gap (points)",
        *map(escape, names),
        "Weights",
    ]
    members = view.front()
    numbers = {trial.number for trial in members}
    others = [trial for trial in find_contenders(view) if trial.number not in numbers]
    rows = [
        [
            "? " * (trial.number not in numbers) + mark_number(trial),
            *_objectives(trial),
            _gap(trial),
            *(escape(format_value(trial.params.get(name, "–"))) for name in names),
            _weights(trial),
        ]
        for trial in (*members, *others)
    ]
    why = "Trials marked with ? cannot be told from the front. " * bool(others)
    why += describe_marks(members, view.header)
    caption = "The front, most accurate first"
    return section("Front members", escape(why.strip()), table(caption, heads, rows))


def _head(view: View, name: str) -> str:
    """Return the head of an objective's column."""
    if name == "attacked_score":
        return f"Attacked score ({escape(view.header.score)})"
    return plots.axis_title(view, name)


def _robustness_curves(view: View) -> str:
    return section(
        "Robustness curves",
        "Accuracy of the front members as the attack gets stronger, with 95 % intervals. A curve "
        "that rises, or stays high at the right end, indicates a weak attack rather than a robust "
        "net.",
        figure(plots.curves(view), "curves", "Lines: accuracy against attack strength"),
    )


def _learning_curves(view: View) -> str:
    return section(
        "Learning curves",
        "Validation accuracy under a quick attack during training. The marker is the epoch that "
        "was kept; a fall after it is robust overfitting.",
        figure(plots.learning(view), "learning", "Lines: accuracy under attack by epoch"),
    )


def _importance(view: View) -> str:
    shares = importance(view)
    if isinstance(shares, str):
        content = f"<p class='none'>{escape(shares)}</p>"
    else:
        label = "Bars: share of each hyperparameter"
        content = figure(plots.importance(shares), "importance", label)
    return section(
        "Hyperparameter importance",
        "PED-ANOVA: which hyperparameters separate the best trials from the rest. With few trials "
        "it is only a hint, above all for a conditional hyperparameter.",
        content,
    )


def _progress(view: View) -> str:
    return section(
        "Progress",
        "The hypervolume of the front after each finished trial. If it is flat at the end, more "
        "trials of the same kind will hardly help.",
        figure(plots.progress(view), "progress", "Line: hypervolume after each trial"),
    )


def _objectives(trial: Trial) -> list[str]:
    both = zip(plots.shown_objectives(trial), plots.shown_intervals(trial), strict=True)
    return [
        f"<b>{value:,.1f}</b> <span class='pm'>[{low:,.1f}, {high:,.1f}]</span>"
        for value, (low, high) in both
    ]


def _gap(trial: Trial) -> str:
    gap = trial.result.details.masking_gap if trial.result else None
    if gap is None:
        return "–"
    value, low, high = (100 * v for v in (gap.gap, *gap.interval))
    flag = " <b class='flag'>flagged</b>" if gap.flagged else ""
    return f"{value:.1f} <span class='pm'>[{low:.1f}, {high:.1f}]</span>{flag}"


def _weights(trial: Trial) -> str:
    if trial.lost_net:
        return "<b class='flag'>lost</b>"
    path = (trial.result.details.weights or "") if trial.result else ""
    return file_link(path, PurePosixPath(path).name)
