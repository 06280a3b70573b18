"""`python -m adv evaluate`: judge a net by a battery of attacks."""

from __future__ import annotations

import rich_click as click

from adv.cli.source import COUNT, Source, judged


@click.command()
@judged
@click.option("--steps", type=COUNT, default=20, show_default=True, help="Of each PGD.")
@click.option("--draws", type=COUNT, default=5, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
def evaluate(source: Source, steps: int, draws: int, votes: int) -> None:
    """Judge a net by the report's battery: six PGD points from eps 0.01 to 0.1.

    python -m adv evaluate runs/NAME/front/0003.safetensors --split test

    python -m adv evaluate --module theirs.py:Net --weights theirs.pth --data cifar10
    """
    from adv import evaluate as judge
    from adv import report_battery
    from adv.commands import show
    from adv.subject import meet

    subject = meet(source)
    show(judge(subject.net, subject.part, report_battery(steps, draws, votes)), subject)
