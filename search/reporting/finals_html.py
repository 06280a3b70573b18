"""The section of the HTML report on whether its numbers can be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

import numpy as np

from adv.shell import join_command
from search.finals.finalist import Finalist
from search.formatting import count, shown
from search.record.trial import Trial
from search.reporting.finals_plots import selection_bias
from search.reporting.finals_remarks import describe_finals
from search.reporting.front_html import MAX_ROWS
from search.reporting.front_rows import flags, gap_cell, search_values
from search.reporting.html_template import command_line, figure, part, section, table
from search.reporting.page import Page
from search.reporting.trials_html import training_remarks
from spaces import find_objective

STEPS = (
    ("search score", "one training, which was selected by it"),
    ("fresh seeds", "other seeds, same images and battery: the winner's curse"),
    ("test images", "other images, same battery"),
    ("final score", "the final battery: stronger attacks"),
)


def trust_section(page: Page) -> list[str]:
    """Return the section on gaps, seeds, and search scores beside final ones; none without nets."""
    if not page.members:
        return []
    parts = [_seeds(page), _steps(page), _gaps(page), training_remarks(page)]
    return [section("Can I trust it?", "", "".join(parts), "trust")]


def _seeds(page: Page) -> str:
    if not page.has_finals:
        waiting = page.view.finals is not None
        text = (
            "Each net was trained once, with one seed. The intervals are over images alone: they "
            f"hold neither the noise between seeds nor that the front was chosen by these scores. "
            f"{_describe_widths(page)}"
            + ("No finalist has been trained again yet." if waiting else "Fresh seeds would tell:")
        )
        words: list[str | Path] = ["--finalists", page.folder, *page.view.header.code_flags]
        command = "" if waiting else command_line(join_command("python", "launch.py", *words))
        return part("Seeds", text, command)
    lines = "".join(f"<p>{escape(line)}</p>" for line in describe_finals(page.view, page.known))
    return part("Fresh seeds", "", f"<div class='notes'>{lines}</div>")


def _describe_widths(page: Page) -> str:
    """Return in words how wide the intervals of the front's nets are, "" if not known."""
    said = []
    for name in page.view.header.aims:
        spans = [m.intervals[name] for m in page.members if name in m.intervals]
        if spans:
            half = find_objective(name).shown * float(np.median([(b - a) / 2 for a, b in spans]))
            said.append(f"±{half:,.1f} of {escape(find_objective(name).title)}")
    return f"Their median on the front is {', '.join(said)}. " if said else ""


def _steps(page: Page) -> str:
    """Return from search score to final score, a row for each step."""
    trained = [f for f in page.known if f.runs]
    if not trained:
        return ""
    heads = ["Net", "Score", *(_head(name) for name in trained[0].aims), "Change", "What is new"]
    rows, numbers = [], []
    for finalist in trained:
        for row in step_rows(finalist):
            rows.append(row)
            numbers.append(finalist.trial.number)
    judged = find_objective(trained[0].aims[trained[0].judged]).title
    return part(
        "From search score to final score",
        "A search keeps what scored best, luck included. From row to row one thing changes. The "
        f"change is that of the {escape(judged)}, with its 95 % interval over seeds where there "
        "are two or more; where that holds zero, the change cannot be told from noise.",
        figure(selection_bias(trained), "curse", "Points: search score and fresh seeds")
        + table("From search score to final score", heads, rows, numbers),
    )


def step_rows(finalist: Finalist) -> list[list[str]]:
    """Return a row for each step from the search score of a finalist to its final one."""
    values = [_points(finalist, read) for read in _READ]
    rows = []
    for i, (name, new) in enumerate(STEPS):
        if not values[i]:
            continue
        mean = np.mean(values[i], axis=0)
        cells = [f"{shown(aim, float(v)):,.1f}" for aim, v in zip(finalist.aims, mean, strict=True)]
        before = values[i - 1] if i else []
        change = _change(finalist, before, values[i], paired=i > 1) if before else "–"
        number = f"trial {finalist.trial.number}"
        seeds = f" ({count(len(values[i]), 'seed')})" if i else ""
        rows.append([number, name + seeds, *cells, change, escape(new)])
    return rows


_Point = tuple[float, float]


def _points(finalist: Finalist, read: Callable[[Finalist], list[_Point]]) -> list[_Point]:
    return read(finalist)


def _of_search(finalist: Finalist) -> list[_Point]:
    return [finalist.trial.result.point] if finalist.trial.result else []


def _of_runs(name: str) -> Callable[[Finalist], list[_Point]]:
    """Return a reader of the scores of the fresh seeds that `ResultDetails` has under a name."""

    def read(finalist: Finalist) -> list[_Point]:
        found = []
        for run in finalist.runs:
            known = getattr(run.result.details, name) if run.result else None
            if known and all(aim in known for aim in finalist.aims):
                first, second = (find_objective(a).sign * known[a] for a in finalist.aims)
                found.append((first, second))
        return found

    return read


_READ = (_of_search, _of_runs("validation"), _of_runs("claimed"), lambda f: list(f.points))


def _change(
    finalist: Finalist, before: Sequence[_Point], after: Sequence[_Point], *, paired: bool
) -> str:
    """Return the change of the judged objective with its interval, in words where it is noise."""
    m, name = finalist.judged, finalist.aims[finalist.judged]
    one = np.array([shown(name, p[m]) for p in before])
    two = np.array([shown(name, p[m]) for p in after])
    by, n = float(two.mean() - one.mean()), len(two)
    if n < 2 or (paired and len(one) != n):
        return f"{by:+.1f} <span class='pm'>(one seed: no interval)</span>"
    from scipy.stats import t

    spread = float((two - one).std(ddof=1)) if paired else float(two.std(ddof=1))
    error = spread / math.sqrt(n) if paired else spread * math.sqrt(1 + 1 / n)
    half = float(t.ppf(0.975, n - 1)) * error
    text = f"{by:+.1f} <span class='pm'>[{by - half:+.1f}, {by + half:+.1f}]</span>"
    return text if abs(by) > half else f"{text} <span class='pm'>not told from 0</span>"


def _gaps(page: Page) -> str:
    """Return the masking gap of each net of the front, and how to audit one."""
    by_number = {f.trial.number: f for f in page.known}
    trials = [member.trial for member in page.members[:MAX_ROWS]]
    rows = [
        [
            f"trial {trial.number}{flags(page, trial)}",
            gap_cell(trial, by_number.get(trial.number)),
            _limit(trial, by_number.get(trial.number)),
            *search_values(trial),
        ]
        for trial in trials
    ]
    heads = [
        "Net",
        "Masking gap (points)",
        "Limit, images",
        *map(_search_head, page.view.header.aims),
    ]
    flagged = [t.number for t in page.view.scored() if _is_flagged(t)]
    said = (
        f"{count(len(flagged), 'finished trial')} of {len(page.view.scored())} "
        f"{'is' if len(flagged) == 1 else 'are'} flagged. "
    )
    first = page.members[0]
    trust = ["--trust-code"] if page.view.header.names_code else []
    audit = join_command("python", "-m", "adv", "audit", page.folder / first.file, *trust)
    return part(
        "Masking gaps and audit",
        f"{said}By how much a stronger attack lowers the accuracy of a net: a gap whose whole "
        "interval lies above the limit says that its score is due to a weak attack. A full audit "
        "of a net tests its gradients, its noise and its labels too:",
        command_line(audit)
        + table("Masking gaps of the front", heads, rows, [t.number for t in trials]),
    )


def _limit(trial: Trial, finalist: Finalist | None) -> str:
    runs = [run.result for run in finalist.runs if run.result] if finalist else []
    result = runs[0] if runs else trial.result
    gap = result.details.masking_gap if result else None
    if gap is None or gap.limit is None:
        return "–"
    images = f", {count(gap.images, 'image')}" if gap.images else ""
    return f"{100 * gap.limit:.1f}{images}"


def _is_flagged(trial: Trial) -> bool:
    gap = trial.result.details.masking_gap if trial.result else None
    return bool(gap and gap.flagged)


def _head(name: str) -> str:
    one = find_objective(name)
    unit = "" if one.unit in ("", "points") else f" ({one.unit})"
    return f"{one.title.capitalize()}{unit}"


def _search_head(name: str) -> str:
    return f"{_head(name)}, search"
