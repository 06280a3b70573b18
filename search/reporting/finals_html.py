"""The finals' part of the report's page."""

from __future__ import annotations

from html import escape
from pathlib import PurePosixPath
from urllib.parse import quote

from search.finals.finalist import Finalist, Pair
from search.finals.standings import compute_standings
from search.record.view import View
from search.reporting.finals_plots import curse, finals_front
from search.reporting.finals_remarks import flattery, remarks
from search.reporting.html_template import figure, section, table

HEADS = ("Trial", "P(on the front)", "Seeds", "Natural accuracy (%)", "Attacked score",
         "Worst seed", "Search score", "Again, same images", "Test, same battery",
         "Masking gap (points)", "Weights")  # fmt: skip


def finals(view: View) -> list[str]:
    """The sections on the finalists; none where there are no finals."""
    field = [f for f in compute_standings(view) if f.runs]
    if view.finals is None:
        return []
    if not field:
        waiting = "<p class='none'>Nobody has been trained again yet.</p>"
        return [section("The front, with honest error bars", "", waiting)]
    said = "".join(f"<p>{escape(line)}</p>" for line in remarks(view, field))
    return [
        section(
            "The front, with honest error bars",
            "The front's candidates, trained again with fresh seeds and attacked on test images "
            "that chose nothing. Large points are means with 95 % intervals, small ones single "
            "seeds.",
            figure(finals_front(view), "finals", "Scatter: means of fresh seeds with intervals")
            + table("Finalists, most accurate first", HEADS, [_row(f) for f in field])
            + f"<div class='notes'>{said}</div>",
        ),
        section(
            "What the choice had flattered",
            "A search keeps what scored best, luck included; the first two marks of a trial differ "
            "by the luck of its seed, the next by the images, the last by the battery. "
            + escape(flattery(field)),
            figure(curse(view), "curse", "Points: search score beside fresh seeds' scores"),
        ),
    ]


def _row(f: Finalist) -> list[str]:
    natural, attacked = (
        f"<b>{scale * mean:.1f}</b> <span class='pm'>[{scale * low:.1f}, {scale * high:.1f}]</span>"
        for scale, mean, (low, high) in zip((100, 1), f.mean, f.intervals, strict=True)
    )
    chance = f"{f.p_front:.2f}"
    return [
        str(f.trial.number),
        f"<b>{chance}, reported</b>" if f.on_front else chance,
        str(len(f.runs)),
        natural,
        attacked,
        _pair(f.worst.result.point if f.worst and f.worst.result else None),
        _pair(f.trial.result.point if f.trial.result else None),
        _pair(f.validation_mean),
        _pair(f.claimed_mean),
        _gap(f),
        _weights(f),
    ]


def _pair(pair: Pair | None) -> str:
    return "–" if pair is None else f"{100 * pair[0]:.1f} / {pair[1]:.1f}"


def _gap(f: Finalist) -> str:
    if f.gap is None:
        return "–"
    value, (low, high) = f.gap
    flag = " <b class='flag'>flagged</b>" if f.flagged else ""
    interval = f"<span class='pm'>[{100 * low:.1f}, {100 * high:.1f}]</span>"
    return f"{100 * value:.1f} {interval}{flag}"


def _weights(f: Finalist) -> str:
    paths = [run.result.details.weights or "" for run in f.runs if run.result]
    links = (
        f"<a href='./{quote(path)}'>{escape(PurePosixPath(path).parent.name)}</a>"
        for path in paths
        if path
    )
    return " ".join(links) or "–"
