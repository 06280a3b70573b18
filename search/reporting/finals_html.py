"""The sections of the HTML report on the finals."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import PurePosixPath

from search.finals.finalist import Finalist, Pair
from search.formatting import shown
from search.record.view import View
from search.reporting.finals_plots import finals_front, selection_bias
from search.reporting.finals_remarks import describe_finals, describe_selection_bias
from search.reporting.finals_terminal import mark_finalist
from search.reporting.html_template import figure, file_link, section, table
from spaces import find_objective

TITLE = "The front, with unbiased error bars from fresh training runs"
HEADS = (  # {score} is the name of the score of the search, {first} and {second} its objectives
    "Trial",
    "P(on the front)",
    "Seeds",
    "{first}",
    "{second}",
    "Worst seed",
    "Search score ({score})",
    "Fresh seeds, search images",
    "Fresh seeds, test images",
    "Masking gap (points)",
    "Weights",
)


def finals_sections(view: View, finalists: Sequence[Finalist]) -> list[str]:
    """Return the sections on the finalists, none if there are no finals."""
    if view.finals is None:
        return []
    known = [f for f in finalists if f.known]
    trained = [f for f in known if f.runs]
    if not trained:
        waiting = "<p class='none'>No finalist has been trained again yet.</p>"
        return [section(TITLE, "", waiting)]
    score = escape(view.header.score)
    titles = dict(zip(("first", "second"), map(_head, view.header.aims), strict=True))
    heads = [head.format(score=score, **titles) for head in HEADS]
    notes = "".join(f"<p>{escape(line)}</p>" for line in describe_finals(view, known))
    return [
        section(
            TITLE,
            "The candidates of the front, trained again with fresh seeds and attacked on test "
            "images, which selected nothing. Large points are means with 95 % intervals, small "
            "ones single seeds; rings are reported trials without a fresh seed.",
            figure(finals_front(view, known), "finals", "Scatter: means of fresh seeds")
            + table("Finalists, most accurate first", heads, [_row(f) for f in known])
            + f"<div class='notes'>{notes}</div>",
        ),
        section(
            "How optimistic the search scores were",
            "A search keeps what scored best, luck included. From mark to mark one thing changes: "
            "first the seeds (the difference is selection bias), then the images, then the "
            f"battery, from that of the {score} score to the final one. "
            + escape(describe_selection_bias(trained)),
            figure(selection_bias(trained), "curse", "Points: search score and fresh seeds"),
        ),
    ]


def _head(name: str) -> str:
    one = find_objective(name)
    unit = "" if one.unit in ("", "points") else f" ({one.unit})"
    return f"{one.title.capitalize()}{unit}"


def _row(f: Finalist) -> list[str]:
    first, second = (
        _mean(name, mean, interval)
        for name, mean, interval in zip(f.aims, f.mean, f.intervals, strict=True)
    )
    p_front = f"{f.p_front:.2f}"
    marks = {"*": f"<b>{p_front}, reported</b>", "?": f"{p_front}, cannot be told from the front"}
    return [
        str(f.trial.number),
        marks.get(mark_finalist(f), p_front),
        str(len(f.runs)),
        first,
        second,
        _pair(f, f.worst.result.point if f.worst and f.worst.result else None),
        _pair(f, f.trial.result.point if f.trial.result else None),
        _pair(f, f.validation_mean),
        _pair(f, f.claimed_mean),
        _gap(f),
        _weights(f),
    ]


def _mean(name: str, mean: float, interval: tuple[float, float]) -> str:
    low, high = sorted(shown(name, end) for end in interval)
    return f"<b>{shown(name, mean):,.1f}</b> <span class='pm'>[{low:,.1f}, {high:,.1f}]</span>"


def _pair(f: Finalist, pair: Pair | None) -> str:
    if pair is None:
        return "–"
    return " / ".join(f"{shown(n, v):,.1f}" for n, v in zip(f.aims, pair, strict=True))


def _gap(f: Finalist) -> str:
    if f.gap is None:
        return "–"
    value, (low, high) = f.gap
    flag = " <b class='flag'>flagged</b>" if f.flagged else ""
    interval = f"<span class='pm'>[{100 * low:.1f}, {100 * high:.1f}]</span>"
    return f"{100 * value:.1f} {interval}{flag}"


def _weights(f: Finalist) -> str:
    paths = [run.result.details.weights or "" for run in f.runs if run.result]
    links = (file_link(path, PurePosixPath(path).parent.name) for path in paths if path)
    return " ".join(links) or "–"
