"""What `python -m adv audit` does and prints."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from adv.attacks import L2
from adv.auditing import Finding, audit, verdict
from adv.cli.display import waiting
from adv.cli.source import Source
from adv.cli.target import Subject, meet
from adv.evaluation.battery import Battery
from adv.runtime.random_streams import is_random

_FEW = 128  # images: the checks compare shares, whose 95 % intervals are then wider than ten points


def audit_one(source: Source, battery: Battery, eps: float | None, explain: bool) -> bool:
    """Audit the net that the command line named, print what was found.

    Args:
      source: the net and the images.
      battery: the evaluation that is doubted.
      eps: of its radii the nearest to this one is audited; None: to 8/255, in l2 to 0.5.
      explain: print a sentence for each check, not for those alone that failed.

    Returns:
      Whether every check passed.
    """
    subject = meet(source)
    if eps is None:
        eps = 0.5 if isinstance(battery.attacks[0][1].ball, L2) else 8 / 255
    began = time.monotonic()
    with waiting():
        findings = audit(subject.net, subject.part, battery, eps=eps)
    show_findings(findings, subject, battery, explain)
    Console(highlight=False).print(f"{time.monotonic() - began:.0f} s", style="dim")
    return all(finding.passed for finding in findings)


def show_findings(
    findings: Sequence[Finding], subject: Subject, battery: Battery, explain: bool = False
) -> None:
    """Print the table, the sentences, and the verdict last."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(subject.title, markup=False)
    attacks = ", ".join(name for name, _ in battery.attacks)
    draws = f"{battery.draws} draws a gradient, {battery.votes} votes"
    how = draws if is_random(subject.net) else "not random"
    console.print(f"{len(subject.part)} {subject.split} images, {attacks}, {how}\n", markup=False)
    table = Table(box=None)
    for column in ("check", "found", "95 % interval", "at most", ""):
        table.add_column(
            column, justify="left" if column in ("check", "") else "right", no_wrap=True
        )
    for finding in findings:
        passed = "passed" if finding.passed else "FAILED"
        table.add_row(
            finding.name,
            finding.shown(finding.figure),
            _interval(finding),
            finding.shown(finding.limit),
            passed,
            style=None if finding.passed else "bold red",
        )
    console.print(table)
    for finding in findings:
        if explain or not finding.passed:
            console.print(f"\n[bold]{finding.name}[/]")
            console.print(finding.sentence, markup=False)
            console.print(f"At most {finding.shown(finding.limit)}: {finding.reason}.", style="dim")
    console.print(f"\n{verdict(findings)}", markup=False)
    if len(subject.part) < _FEW:
        told = f"On {len(subject.part)} images only gross faults show; 256 are the usual number."
        console.print(told, style="yellow")


def _interval(finding: Finding) -> str:
    low, high = finding.interval
    if low == high:
        return ""
    return f"{100 * low:.1f} to {100 * high:.1f}"
