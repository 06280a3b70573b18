"""`python -m adv attack`: one attack against a net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from adv.cli.source import COUNT, Source, judged


@click.command()
@judged
@click.option("--attack", default="pgd", show_default=True, metavar="pgd|fgsm")
@click.option("--norm", default="linf", show_default=True, metavar="linf|l2")
@click.option(
    "--eps", type=click.FloatRange(min=0), default=8 / 255, help="Radius. Default: 8/255."
)
@click.option("--steps", type=COUNT, default=20, show_default=True)
@click.option("--step", type=click.FloatRange(min=0, min_open=True), help="Default: eps / 4.")
@click.option("--restarts", type=COUNT, default=1, show_default=True)
@click.option("--draws", type=COUNT, default=20, show_default=True, help="A gradient, random nets.")
@click.option("--votes", type=COUNT, default=20, show_default=True, help="A verdict, random nets.")
@click.option(
    "--save", type=click.Path(path_type=Path), help="Write clean and adversarial images, .npz."
)
def attack(source: Source, save: Path | None, **settings: Any) -> None:
    """Attack a net with one attack.

    python -m adv attack runs/NAME/front/0003.safetensors --norm l2 --eps 0.5 --restarts 5

    python -m adv attack --module theirs.py:Net --weights theirs.pth --data cifar10
    """
    from adv import Battery
    from adv import evaluate as judge
    from adv.commands import made_attack, save_images, show
    from adv.subject import meet

    made = made_attack(settings)
    if save is not None and save.exists():
        raise ValueError(f"{save} exists: name another file")
    subject = meet(source)
    name = f"{settings['attack']}-{settings['norm']}-{settings['eps']:.4g}"
    battery = Battery(((name, made),), draws=settings["draws"], votes=settings["votes"])
    show(judge(subject.net, subject.part, battery), subject)
    if save is not None:
        save_images(save, subject.net, subject.part, made, settings["draws"])
