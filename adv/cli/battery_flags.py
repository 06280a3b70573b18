"""The flags of `python -m adv` that describe a battery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import rich_click as click

from adv.cli.target_args import EPS, NORM, add_flags, count

if TYPE_CHECKING:
    from adv.evaluation.battery import Battery


@dataclass(frozen=True)
class BatteryArgs:
    """A battery as the command line names it; None: the battery's own."""

    kind: str
    norm: str | None
    eps: float | None
    steps: int | None
    draws: int | None
    votes: int | None

    def build(self, class_names: Sequence[str] | None) -> Battery:
        """Return the battery for a net with these classes; None: not known yet.

        Raises:
          ValueError: there is no such battery, or it does not have one of the flags.
        """
        from adv.cli.flags import build_battery, with_repeats

        classes = None if class_names is None else len(class_names)
        battery = build_battery(self.kind, self.norm, self.eps, self.steps, classes)
        return with_repeats(battery, self.draws, self.votes)


_FLAGS = (
    click.option(
        "--battery",
        "kind",
        default="report",
        show_default=True,
        metavar="NAME",
        help="report: PGD at six radii from eps 0.01 to 0.1. margin: the same with a loss that "
        "does not saturate. quick: PGD at two radii. autoattack: the standard AutoAttack at one "
        "radius. rand: AutoAttack for random nets.",
    ),
    click.option("--norm", metavar=NORM, help="autoattack and rand only. Default: linf."),
    click.option(
        "--eps", type=click.FloatRange(min=0), metavar="R", help=f"autoattack and rand only. {EPS}"
    ),
    count("--steps", help="Steps of each PGD. Default: report and margin 20, quick 10."),
    count(
        "--draws",
        help="Random nets: noise samples averaged in each gradient. Default: 5, margin 2, rand 20.",
    ),
    count(
        "--votes",
        help="Random nets: noise samples averaged in each prediction. Default: 20, quick 10.",
    ),
)


def with_battery(verb: Callable[..., None]) -> Callable[..., None]:
    """Add the flags of `BatteryArgs` to a verb, which gets them as the argument `battery`."""

    @wraps(verb)
    def call(*args: Any, **settings: Any) -> None:
        battery = {field.name: settings.pop(field.name) for field in fields(BatteryArgs)}
        verb(*args, battery=BatteryArgs(**battery), **settings)

    return add_flags(_FLAGS, call)
