"""The sections of the HTML report on early stopping, on trainings, and on failed trials."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from search.finals.finalist import Finalist
from search.record.view import View
from search.reporting.html_template import section, table
from search.stopping.audit import describe_stopping


def what_stopping_cost(view: View, finalists: Sequence[Finalist]) -> list[str]:  # noqa: ARG001 - the signature of a Panel
    """Return the section on early stopping, none if no trial was ever stopped."""
    lines = describe_stopping(view)
    if not lines:
        return []
    return [
        section(
            "Early stopping",
            "Half-trained trials that are significantly worse than others are stopped. Some of "
            "them run to completion as a check: they show how often stopping is wrong.",
            "".join(f"<p>{escape(line)}</p>" for line in lines),
        )
    ]


def training_remarks(view: View, finalists: Sequence[Finalist]) -> list[str]:  # noqa: ARG001 - the signature of a Panel
    """Return the section on unusual trainings, none if there was none."""
    rows = [
        [str(trial.number), escape("; ".join(trial.remarks))]
        for _, trial in sorted(view.trials.items())
        if trial.remarks
    ]
    if not rows:
        return []
    return [
        section(
            "How trainings went",
            "A training ends early when its validation accuracy under attack no longer rises, or "
            "when its curriculum is complete. After catastrophic overfitting a net resists the "
            "single-step attack that it is trained with, but not PGD.",
            table("Remarks on trials", ["Trial", "Remark"], rows),
        )
    ]


def trials_without_result(view: View, finalists: Sequence[Finalist]) -> list[str]:  # noqa: ARG001 - the signature of a Panel
    """Return the section on trials and final trainings without a result, none if all have one.

    Finished ones have none if their net could not be scored under the present battery.
    """
    rows = [
        [f"{label}{trial.number}", trial.state, str(len(trial.epochs)), escape(trial.reason or "–")]
        for label, part in (("", view), ("final ", view.finals))
        for state in ("failed", "stopped", "finished")
        for trial in (part.in_state(state) if part else [])
        if not trial.result
    ]
    if not rows:
        return []
    heads = ["Trial", "State", "Epochs", "Reason"]
    content = table("Trials without a result", heads, rows)
    return [section("Trials without a result", "", content)]
