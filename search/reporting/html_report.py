"""The HTML report: the search as one page that opens without a network.

To add a panel, write a file with a function that returns sections, and add a line to `SECTIONS`.
The page holds the figures and the trials as data, which its script (`assets/`) draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path

from adv.files import write_atomic
from adv.shape import format_shape
from search.finals.finalist import Finalist
from search.finals.standings import compute_standings
from search.formatting import count, describe_score, format_duration
from search.record.view import View
from search.reporting.finals_html import trust_section
from search.reporting.front_html import front_section
from search.reporting.html_template import render_page
from search.reporting.importance_html import importance_section
from search.reporting.net_details import page_data
from search.reporting.page import Page
from search.reporting.progress_html import progress_section
from search.reporting.reproduce_html import flatten, reproduce_section
from search.reporting.trials_html import STATES, all_trials_section
from search.reporting.verdict_html import verdict_section

Panel = Callable[[Page], list[str]]
"""Given the page, its sections as HTML; none if there is no data."""

SECTIONS: tuple[Panel, ...] = (
    verdict_section,
    front_section,
    trust_section,
    importance_section,
    progress_section,
    all_trials_section,
    reproduce_section,
)
LINKS = {
    "result": "Result",
    "front": "The front",
    "trust": "Can I trust it?",
    "mattered": "What mattered",
    "search": "How it went",
    "trials": "All trials",
    "reproduce": "Reproduce",
}


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
    page = Page(view, finalists, path.parent)
    head = view.header
    space = head.space or "Study"
    sections = [html for panel in SECTIONS for html in panel(page)]
    body = (
        f"<header class='bar'><p class='kicker'>Robustune</p><h1>{escape(space)}</h1>"
        f"<p class='question'>{escape(head.question)}</p>{_facts(page)}</header>"
        f"{_links(sections)}<main>{''.join(sections)}</main>"
    )
    title = f"{space}: {head.name or path.parent.name}"
    write_atomic(path, render_page(title, body, page_data(page), figures=bool(view.trials)))


def _links(sections: Sequence[str]) -> str:
    """Return links to the sections that the page has."""
    some = [name for name in LINKS if any(f"<section id='{name}'" in html for html in sections)]
    links = "".join(f"<a href='#{name}'>{LINKS[name]}</a>" for name in some)
    return f"<nav aria-label='Sections'><div class='bar'>{links}</div></nav>" if links else ""


def _facts(page: Page) -> str:
    view, head, scale = page.view, page.view.header, page.view.header.scale
    by_state = [(len(view.in_state(state)), state) for state in STATES]
    counts = ", ".join(f"{n} {state}" for n, state in by_state if n or state == "finished")
    area = page.hypervolumes
    epochs = count(scale["epochs"], "epoch") if "epochs" in scale else "? epochs"
    facts = {
        "Study": head.name,
        "Trials": f"{counts}, of {head.trials or '?'} planned",
        "Front": f"{count(len(page.members), 'net')}, hypervolume of the search {area[-1]:.3f}"
        if area
        else "none",
        "Data": head.data or scale.get("data", ""),
        "Images": format_shape(head.image_shape) if head.shape else "",
        "Net": head.net,
        "Weights": head.init,
        "Small data": "; ".join(head.shortfalls),
        "Scale": f"{scale.get('name', '')}, {epochs} per trial",
        "Score": describe_score(head.attacks, head.threat_model),
        "Elapsed": format_duration(view.elapsed),
    }
    items = "".join(
        f"<div><dt>{key}</dt><dd>{escape(flatten(value))}</dd></div>"
        for key, value in facts.items()
        if value != ""
    )
    return f"<dl class='facts'>{items}</dl>"
