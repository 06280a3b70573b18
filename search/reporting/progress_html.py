"""The section of the HTML report on how the search went."""

from __future__ import annotations

from html import escape

from search.formatting import format_duration
from search.record.repair import describe_repairs
from search.reporting.html_template import figure, part, section
from search.reporting.page import Page
from search.reporting.progress_plots import (
    describe_device,
    device_hours,
    progress,
    progress_by_cost,
    timeline,
)
from search.reporting.trials_html import trials_without_result, what_stopping_cost


def progress_section(page: Page) -> list[str]:
    """Return the section on hypervolume, timeline, early stopping and failures; none if empty."""
    if not page.view.trials:
        return []
    parts = [_hypervolume(page), _timeline(page), what_stopping_cost(page)]
    parts += [trials_without_result(page), _losses(page)]
    return [section("How the search went", "", "".join(parts), "search")]


def _hypervolume(page: Page) -> str:
    if not page.view.scored():
        return ""
    hours = sum(device_hours(page.view).values())
    unit = describe_device(page.view)
    return part(
        "Hypervolume",
        "How much both objectives are covered by the front, after each finished trial. If it is "
        "flat at the end, more trials of the same kind will hardly help. All trials took "
        f"{hours:.3g} "
        f"{unit.lower() if unit == 'Core' else unit}-hours.",
        "<div class='columns'>"
        + figure(
            progress(page.view, page.hypervolumes), "progress", "Line: hypervolume after each trial"
        )
        + figure(
            progress_by_cost(page.view, page.hypervolumes),
            "cost",
            "Line: hypervolume against device-hours",
        )
        + "</div>",
    )


def _timeline(page: Page) -> str:
    sessions = len(page.view.sessions)
    resumed = f", in {sessions} sessions (dotted lines)" if sessions > 1 else ""
    return part(
        "Timeline",
        "When each trial ran, from its proposal to its end; what ran at the same time "
        "stands in rows "
        f"below each other. {format_duration(page.view.elapsed)} in all{resumed}.",
        figure(timeline(page.view), "timeline", "Bars: when each trial ran"),
    )


def _losses(page: Page) -> str:
    lines = describe_repairs(page.view)
    return part("Repairs", "", "".join(f"<p>{escape(line)}</p>" for line in lines)) if lines else ""
