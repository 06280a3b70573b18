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
    """Return the section on failed and stopped trials, none if there are none."""
    ended = [trial for state in ("failed", "stopped") for trial in view.in_state(state)]
    if not ended:
        return []
    rows = [[str(t.number), t.state, str(len(t.epochs)), escape(t.reason or "–")] for t in ended]
    heads = ["Trial", "State", "Epochs", "Reason"]
    content = table("Failed and stopped trials", heads, rows)
    return [section("Trials without a result", "", content)]
