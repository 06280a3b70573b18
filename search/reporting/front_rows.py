"""The rows of the front's table in the HTML report: its nets, finalists, and near ones."""

from __future__ import annotations

from html import escape
from pathlib import PurePosixPath

from search.finals.finalist import Finalist
from search.formatting import format_value
from search.outcome.front_member import FrontMember
from search.record.trial import Trial
from search.reporting import plots
from search.reporting.front_table import mark_number
from search.reporting.html_template import file_link, value_cell
from search.reporting.page import Page
from spaces import find_objective


def head_of(page: Page, name: str) -> str:
    """Return the head of an objective's column."""
    if name == "attacked_score":
        battery = "final battery" if page.has_finals else page.view.header.score
        return f"Attacked score ({escape(battery)})"
    return plots.axis_title(page.view, name)


def button(number: int, text: str) -> str:
    """Return what chooses a trial on the page."""
    return f"<button type='button' class='link' data-choose='{number}'>{text}</button>"


def flags(page: Page, trial: Trial) -> str:
    """Return the marks of a trial as HTML, "" for none."""
    marks = page.find_marks(trial)
    return "".join(
        f" <b class='flag' title='{escape(mark.text, quote=True)}'>{mark.name}</b>"
        for mark in marks
    )


def _params(page: Page, trial: Trial) -> list[str]:
    return [escape(format_value(trial.params.get(name, "–"))) for name in page.view.header.knobs]


def member_row(page: Page, member: FrontMember, finalist: Finalist | None) -> list[str]:
    """Return the row of a net of the front."""
    trial = member.trial
    roles = ", ".join(role.name for role in page.outcome.roles_of(member.number))
    said = f" <span class='pm'>{escape(roles)}</span>" if roles else ""
    middle: list[str] = []
    if page.has_finals:
        worst = finalist.worst.result if finalist and finalist.worst else None
        p = "–" if member.p_front is None else f"{member.p_front:.2f}"
        middle = [p, str(len(member.runs)), _both(page, worst.point if worst else None)]
    return [
        button(trial.number, f"trial {mark_number(trial)}") + flags(page, trial) + said,
        *(
            value_cell(name, value, member.intervals.get(name))
            for name, value in member.objectives.items()
        ),
        *middle,
        gap_cell(trial, finalist),
        *_params(page, trial),
        _weights(page, member.net, str(member.file)),
    ]


def finalist_row(page: Page, finalist: Finalist) -> list[str]:
    """Return the row of a finalist that is not reported as a member of the front."""
    trial = finalist.trial
    signs = [find_objective(name).sign for name in finalist.aims]
    values = zip(finalist.aims, signs, finalist.mean, finalist.intervals, strict=True)
    worst = finalist.worst.result if finalist.worst else None
    name = button(trial.number, f"trial {mark_number(trial)}")
    return [
        f"{name}{flags(page, trial)} <span class='pm'>finalist, not reported</span>",
        *(
            value_cell(name, sign * mean, tuple(sorted(sign * end for end in ends)))  # type: ignore[arg-type]
            for name, sign, mean, ends in values
        ),
        f"{finalist.p_front:.2f}",
        str(len(finalist.runs)),
        _both(page, worst.point if worst else None),
        gap_cell(trial, finalist),
        *_params(page, trial),
        " ".join(_weights(page, run, "") for run in finalist.runs) or "–",
    ]


def trial_row(page: Page, trial: Trial) -> list[str]:
    """Return the row of a trial that cannot be told from the front of the search."""
    return [
        f"? {button(trial.number, f'trial {mark_number(trial)}')}{flags(page, trial)}",
        *search_values(trial),
        gap_cell(trial, None),
        *_params(page, trial),
        _weights(page, trial, ""),
    ]


def search_values(trial: Trial) -> list[str]:
    """Return both objectives of a trial as the search measured them; none without a result."""
    result = trial.result
    if result is None:
        return []
    return [value_cell(n, result.objectives[n], result.intervals.get(n)) for n in result.aims]


def _both(page: Page, pair: tuple[float, float] | None) -> str:
    """Return both objectives, larger being better, as they are shown."""
    if pair is None:
        return "–"
    ones = [find_objective(name) for name in page.view.header.aims]
    return " / ".join(f"{o.shown * o.sign * v:,.1f}" for o, v in zip(ones, pair, strict=True))


def gap_cell(trial: Trial, finalist: Finalist | None) -> str:
    """Return a net's masking gap as HTML: of its fresh seeds if it has any, else of the search."""
    if finalist and finalist.gap:
        value, (low, high) = finalist.gap
        flagged = finalist.flagged
    else:
        gap = trial.result.details.masking_gap if trial.result else None
        if gap is None:
            return "–"
        value, (low, high), flagged = gap.gap, gap.interval, bool(gap.flagged)
    flag = " <b class='flag'>flagged</b>" if flagged else ""
    interval = f"<span class='pm'>[{100 * low:.1f}, {100 * high:.1f}]</span>"
    return f"{100 * value:.1f} {interval}{flag}"


def _weights(page: Page, net: Trial, copy: str) -> str:
    """Return a link to a net's weights: their copy in `front/` if there is one, else their own."""
    if net.lost_net:
        return "<b class='flag'>lost</b>"
    own = (net.result.details.weights or "") if net.result else ""
    path = copy if copy and (page.folder / copy).is_file() else own
    return file_link(path, PurePosixPath(path).name)
