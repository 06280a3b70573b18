"""The first section of the HTML report: is there a trade-off?"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from search.finals.finalist import Finalist
from search.finals.verdict import reach_verdict
from search.record.view import View
from search.reporting.html_template import section
from search.reporting.verdict_text import describe_verdict


def verdict_section(view: View, finalists: Sequence[Finalist]) -> list[str]:  # noqa: ARG001 - the signature of a Panel
    """Return the section with the verdict, none if there is no result yet."""
    verdict = reach_verdict(view)
    if verdict is None:
        return []
    answer, *rest = describe_verdict(view, verdict)
    notes = "".join(f"<p>{escape(line)}</p>" for line in rest)
    return [section("The verdict", "", f"<p class='verdict'>{escape(answer)}</p>{notes}")]
