"""The HTML report: the search as one page that opens without a network.

To add a panel, write a file with a function that returns sections, and add a line to `SECTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from adv.files import write_atomic
from adv.shape import format_shape
from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.formatting import count, describe_score, format_duration
from search.record.repair import describe_repairs
from search.record.view import View
from search.reporting.csv_tables import hypervolumes
from search.reporting.finals_html import finals_sections
from search.reporting.front_html import front_sections
from search.reporting.html_template import PAGE, plotly_script
from search.reporting.reading_guide import reading_guide
from search.reporting.trials_html import (
    training_remarks,
    trials_without_result,
    what_stopping_cost,
)
from search.reporting.verdict_html import verdict_section

STATES = ("finished", "stopped", "failed", "running")
Panel = Callable[[View, Sequence[Finalist]], list[str]]
"""Given the view and the finalists, the sections of the page as HTML; none if there is no data."""

SECTIONS: tuple[Panel, ...] = (
    verdict_section,
    finals_sections,
    front_sections,
    what_stopping_cost,
    training_remarks,
    trials_without_result,
    reading_guide,
)


def write_html_report(view: View, path: Path, finalists: Sequence[Finalist] | None = None) -> None:
    """Write the page in one step. It loads nothing from outside.

    It can be written at any time: the page says what is not known yet.

    Args:
      view: of the search.
      path: of the page, in the run folder, because its links are relative to it.
      finalists: from `compute_standings`; None computes them.
    """
    if finalists is None:
        finalists = compute_standings(view)
    head = view.header
    space = head.space or "Study"
    title = f"{space}: {head.name or path.parent.name}"
    body = [
        f"<header><p class='kicker'>Robustune</p><h1>{escape(space)}</h1>"
        f"<p class='question'>{escape(head.question)}</p>{_facts(view)}</header>",
        *(html for panel in SECTIONS for html in panel(view, finalists)),
    ]
    page = PAGE.replace("{{plotly}}", plotly_script() if view.front() else "")
    page = page.replace("{{title}}", escape(title))
    # The body comes last: it holds text of the user, in which nothing must be replaced.
    write_atomic(path, page.replace("{{body}}", "\n".join(body)))


def _facts(view: View) -> str:
    head, scale = view.header, view.header.scale
    by_state = [(len(view.in_state(state)), state) for state in STATES]
    counts = ", ".join(f"{n} {state}" for n, state in by_state if n or state == "finished")
    area, best = hypervolumes(view), len(view.front())
    facts = {
        "Study": head.name,
        "Trials": f"{counts}, of {head.trials or '?'} planned",
        "Front": f"{count(best, 'trial')}, hypervolume {area[-1]:.3f}" if area else "none",
        "Data": head.data or scale.get("data", ""),
        "Images": format_shape(head.image_shape) if head.shape else "",
        "Net": head.net,
        "Weights": head.init,
        "Small data": "; ".join(head.shortfalls),
        "Scale": f"{scale.get('name', '')}, {_describe_epochs(scale)} per trial",
        "Score": describe_score(head.attacks, head.threat_model),
        "Elapsed": format_duration(view.elapsed),
        "Seed": "" if head.seed is None else head.seed,
        "Commit": head.commit or "unknown",
        "Hardware": head.hardware or "",
        "Losses": " ".join(describe_repairs(view)),
    }
    items = "".join(
        f"<div><dt>{key}</dt><dd>{escape(_flatten(value))}</dd></div>"
        for key, value in facts.items()
        if value != ""
    )
    return f"<dl class='facts'>{items}</dl>"


def _describe_epochs(scale: Mapping[str, Any]) -> str:
    return count(scale["epochs"], "epoch") if "epochs" in scale else "? epochs"


def _flatten(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {text}" for k, v in value.items() if (text := _flatten(v)))
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
