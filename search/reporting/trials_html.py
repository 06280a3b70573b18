"""The parts of the HTML report on all trials, early stopping, trainings, and failed trials."""

from __future__ import annotations

from html import escape

from search.formatting import count
from search.reporting.html_template import part, section, table
from search.reporting.page import Page
from search.stopping.audit import describe_stopping

STATES = ("finished", "stopped", "failed", "running")
MAX_ROWS = 200  # of the part on trials without a result; the table of all trials has all


def all_trials_section(page: Page) -> list[str]:
    """Return the section with the table of all trials, which the page's script fills."""
    if not page.view.trials:
        return []
    states = [s for s in STATES if page.view.in_state(s)]
    options = [("all", "all"), ("front", "on the front"), ("flagged", "flagged or marked")]
    choices = "".join(
        f"<option value='{value}'>{text}</option>"
        for value, text in (*options, *((state, state) for state in states))
    )
    knobs = page.view.header.knobs
    number = next((name for name in knobs if knobs[name].get("kind") != "Choice"), "seconds")
    controls = (
        "<div class='controls'><label>Filter <input type='search' "
        f"placeholder='{escape(number, quote=True)}&gt;0.1' aria-describedby='filter-help'></label>"
        f"<label>Show <select>{choices}</select></label></div>"
        "<p class='note screen' id='filter-help'>Words are looked for in all columns; "
        "NAME&lt;NUMBER, NAME&gt;NUMBER and NAME=VALUE compare one (of its name, spaces are "
        "dashes). A click on a head sorts, on a number shows that trial. All of it is in "
        "trials.csv and trials.parquet too.</p>"
        "<noscript><p>The table needs JavaScript; trials.csv has the same rows.</p></noscript>"
    )
    text = f"{count(len(page.view.trials), 'trial')}."
    return [section("All trials", text, f"<div id='all-trials'>{controls}</div>", "trials")]


def what_stopping_cost(page: Page) -> str:
    """Return the part on early stopping, "" if no trial was ever stopped."""
    lines = describe_stopping(page.view)
    if not lines:
        return ""
    content = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return part(
        "Early stopping",
        "Half-trained trials that are significantly worse than others are stopped. Some of "
        "them run to completion as a check: they show how often stopping is wrong.",
        content,
    )


def training_remarks(page: Page) -> str:
    """Return the part on unusual trainings, "" if there was none."""
    rows = [
        [str(trial.number), escape("; ".join(trial.remarks))]
        for _, trial in sorted(page.view.trials.items())
        if trial.remarks
    ]
    if not rows:
        return ""
    left = f" The first {MAX_ROWS} of {len(rows)}." if len(rows) > MAX_ROWS else ""
    return part(
        "How trainings went",
        "A training ends early when its validation accuracy under attack no longer rises, or "
        "when its curriculum is complete. After catastrophic overfitting a net resists the "
        "single-step attack that it is trained with, but not PGD." + left,
        table("Remarks on trials", ["Trial", "Remark"], rows[:MAX_ROWS]),
    )


def trials_without_result(page: Page) -> str:
    """Return the part on trials and final trainings without a result, "" if all have one.

    Finished ones have none if their net could not be scored under the present battery.
    """
    view = page.view
    rows = [
        [f"{label}{trial.number}", trial.state, str(len(trial.epochs)), escape(trial.reason or "–")]
        for label, part_ in (("", view), ("final ", view.finals))
        for state in ("failed", "stopped", "finished")
        for trial in (part_.in_state(state) if part_ else [])
        if not trial.result
    ]
    if not rows:
        return ""
    heads = ["Trial", "State", "Epochs", "Reason"]
    left = f"The first {MAX_ROWS} of {len(rows)}." if len(rows) > MAX_ROWS else ""
    content = table("Trials without a result", heads, rows[:MAX_ROWS])
    return part("Failed, stopped, and without a result", left, content)
