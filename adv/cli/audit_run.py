"""Audit an evaluation and print the findings: `python -m adv audit`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.table import Table

from adv.auditing import Finding, audit, verdict
from adv.auditing.accuracy_checks import NAME
from adv.cli.flags import USUAL_RADII
from adv.cli.target import Target, load_target
from adv.cli.target_args import TargetArgs
from adv.evaluation.battery import Battery
from adv.intervals import smallest_visible_share
from adv.runtime.random_streams import is_random
from adv.terminal.console import open_console, print_table, spinner

_FEW = 128  # with fewer images the 95 % intervals are wider than ten points


def audit_target(args: TargetArgs, battery: Battery, eps: float | None, explain: bool) -> bool:
    """Audit the net that the command line names and print the findings.

    Args:
      args: the net and the images.
      battery: the evaluation to check.
      eps: audit at the battery's radius nearest to this one; None: to 8/255, in l2 0.5, in
        l1 12.
      explain: print a sentence for every check, not only for those that failed.

    Returns:
      True if every check passed.
    """
    target = load_target(args)
    if eps is None:
        eps = USUAL_RADII[type(battery.attacks[0][1].ball)]
    began = time.monotonic()
    with spinner("attacking; Ctrl-C stops"):
        findings = audit(target.net, target.split, battery, eps=eps)
    print_findings(findings, target, battery, explain)
    open_console().print(f"{time.monotonic() - began:.0f} s", style="dim")
    return all(finding.passed for finding in findings)


def print_findings(
    findings: Sequence[Finding], target: Target, battery: Battery, explain: bool = False
) -> None:
    """Print the table of the checks, their sentences, and the verdict last."""
    console = open_console()
    console.print(target.title, markup=False)
    random = is_random(target.net)
    attacks = battery.describe_attacks(random=random)
    how = f"{battery.draws} draws per gradient, {battery.votes} votes" if random else "not random"
    images = len(target.split)
    console.print(f"{images} {target.split_name} images, {attacks}, {how}", markup=False)
    for finding in findings:
        if finding.name == NAME:
            console.print(finding.observation, markup=False)
    console.print()
    print_table(console, _table(findings))
    for finding in findings:
        if explain or not finding.passed:
            console.print(f"\n[bold]{finding.name}[/]")
            console.print(finding.sentence, markup=False)
            console.print(
                f"At most {finding.format_value(finding.limit)}: {finding.reason}.", style="dim"
            )
    console.print(f"\n{verdict(findings)}", markup=False)
    console.print(
        describe_power(findings, images), markup=False, style="yellow" if images < _FEW else "dim"
    )


def describe_power(findings: Sequence[Finding], images: int) -> str:
    """Return in words what an audit with so many images cannot see."""
    loss = 100 * smallest_visible_share(0.01, images)
    text = (
        f"With {images} images a check with a limit of 1 point cannot see a difference under "
        f"{loss:.1f} points."
    )
    for finding in findings:
        if finding.name in ("masking gap", "margin against stronger attacks"):
            gap = 100 * smallest_visible_share(finding.limit, images)
            text += f" In {finding.name!r} one under {gap:.1f} cannot be told from its limit."
    return f"{text} 256 images are the default." if images < _FEW else text


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(box=None)
    for column in ("check", "found", "95 % interval", "at most", ""):
        table.add_column(column, justify="left" if column in ("check", "") else "right")
    for finding in findings:
        table.add_row(
            finding.name,
            finding.format_value(finding.figure),
            _format_interval(finding),
            finding.format_value(finding.limit),
            "passed" if finding.passed else "FAILED",
            style=None if finding.passed else "bold red",
        )
    return table


def _format_interval(finding: Finding) -> str:
    low, high = finding.interval
    return "" if low == high else f"{100 * low:.1f} to {100 * high:.1f}"
