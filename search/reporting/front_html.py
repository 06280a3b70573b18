"""The section of the HTML report on the front: figure, table, and the net that is chosen."""

from __future__ import annotations

from html import escape

from search.finals.reseeding_study import find_contenders
from search.formatting import count
from search.reporting import plots
from search.reporting.finals_plots import finals_front
from search.reporting.front_rows import (
    button,
    finalist_row,
    flags,
    head_of,
    member_row,
    search_values,
    trial_row,
)
from search.reporting.front_table import describe_marks, mark_number
from search.reporting.html_template import (
    figure,
    fold,
    part,
    section,
    table,
)
from search.reporting.net_details import list_families
from search.reporting.page import Page

MAX_ROWS = 50  # of a table; the table of all trials has the others
MAX_NEAR = 12  # of them that cannot be told from the front
HOW = (
    "Click on a net, in the figure or in a table, to see its robustness curve, images, training "
    "and commands below. With the keyboard: the arrow keys in the figure."
)


def front_section(page: Page) -> list[str]:
    """Return the section on the front."""
    if not page.members:
        nothing = "<p class='none'>No trial has finished, so there is no front.</p>"
        return [section("The front", "", nothing, "front")]
    text = f"{escape(page.outcome.front.describe())} Bars are 95 % intervals. {HOW}"
    plot = finals_front(page.view, page.known) if page.has_finals else plots.front(page.view)
    label = "Scatter: both objectives of each net. Left and right arrow keys choose a net."
    chosen = (
        "<p id='chosen-status' class='unseen' role='status'></p>"
        "<div id='chosen' role='region' aria-label='The chosen net'></div>"
    )
    drawn = figure(plot, "front", label, nets=True)
    content = colour_picker(page, "figure-front") + drawn + _members(page) + chosen
    return [section("The front", text, content + _folds(page), "front")]


def colour_picker(page: Page, name: str) -> str:
    """Return what chooses the colours of a figure's points; "" without a choice to colour by."""
    families = list_families(page)
    if not families:
        return ""
    options = "".join(
        f"<option value='{escape(n, quote=True)}'>{escape(n)}</option>" for n in families
    )
    return (
        "<div class='controls'><label>Colours show <select data-colours='" + name + "'>"
        f"<option value=''>front and flags</option>{options}</select></label></div>"
    )


def _folds(page: Page) -> str:
    """Return what is hidden at first: all curves, and the front as the search saw it."""
    view, saw = page.view, ""
    images = "on the images of the search"
    if page.has_finals:
        images = "of the net with a fresh seed on test images, where there is one"
    curves = part(
        "Robustness curves",
        f"Accuracy as the attack gets stronger, with 95 % intervals, {images}. A "
        "curve that rises, or stays high at the right end, indicates a weak attack rather than a "
        "robust net.",
        figure(
            plots.curves(view, page.outcome.front),
            "curves",
            "Lines: accuracy against attack strength",
        ),
    ) + part(
        "Learning curves",
        "Validation accuracy under a quick attack during training. The marker is the epoch that "
        "was kept; a fall after it is robust overfitting.",
        figure(
            plots.learning(page.outcome.front), "learning", "Lines: accuracy under attack by epoch"
        ),
    )
    if page.has_finals:
        text = (
            "Every trial of the search, once trained and scored on the validation images that "
            "chose it. Only the finals say what its front is worth."
        )
        plot = figure(plots.front(view), "search", "Scatter: trials of the search", nets=True)
        saw = fold("What the search saw", f"<p class='note'>{text}</p>{plot}{_search_table(page)}")
    return fold("Curves of the whole front at once", curves) + saw


def _members(page: Page) -> str:
    """Return the table of the front and of what cannot be told from it."""
    finals = page.has_finals
    names = list(page.view.header.knobs)
    heads = [
        "Net",
        *(head_of(page, name) for name in page.view.header.aims),
        *(("P(on the front)", "Seeds", "Worst seed") if finals else ()),
        "Masking gap (points)",
        *map(escape, names),
        "Weights",
    ]
    by_number = {f.trial.number: f for f in page.known}
    members = page.members[:MAX_ROWS]
    rows = {m.number: member_row(page, m, by_number.get(m.number)) for m in members}
    others = [] if finals else find_contenders(page.view)
    others = [trial for trial in others if trial.number not in page.numbers]
    rows |= {t.number: trial_row(page, t) for t in others[:MAX_NEAR]}
    left = [f for f in page.known if finals and f.trial.number not in page.numbers]
    rows |= {f.trial.number: finalist_row(page, f) for f in left}
    hidden = len(page.members) + len(others) + len(left) - len(rows)
    notes = []
    if others:
        notes.append("Trials marked with ? cannot be told from the front.")
    if hidden > 0:
        notes.append(f"{count(hidden, 'more net')} are in the table of all trials.")
    notes.append(describe_marks([m.trial for m in page.members], page.view.header))
    text = f"<p class='note'>{escape(' '.join(filter(None, notes)))}</p>" if any(notes) else ""
    return table("Nets of the front", heads, list(rows.values()), list(rows)) + text


def _search_table(page: Page) -> str:
    """Return the front as the search saw it, before the finals."""
    heads = ["Net", *(plots.axis_title(page.view, name) for name in page.view.header.aims)]
    members = page.view.front()[:MAX_ROWS]
    rows = [
        [button(t.number, f"trial {mark_number(t)}") + flags(page, t), *search_values(t)]
        for t in members
    ]
    caption = "The front as the search saw it"
    return table(caption, heads, rows, [trial.number for trial in members])
