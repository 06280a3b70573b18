"""Evaluate nets on the same images and print how they differ: `python -m adv compare`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.markup import escape
from rich.table import Table

from adv.cli.battery_flags import BatteryArgs
from adv.cli.target import Target, load_target
from adv.cli.target_args import TargetArgs
from adv.evaluation.comparison import AGGREGATE, NATURAL, PairedDifference, compare
from adv.evaluation.evaluator import evaluate
from adv.evaluation.score import Score
from adv.runtime.random_streams import is_random
from adv.terminal.console import open_console, print_line, print_sentence, print_table, spinner

NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compare_checkpoints(nets: Sequence[TargetArgs], battery: BatteryArgs) -> None:
    """Evaluate nets and print how each differs from the first.

    Raises:
      ValueError: there are too many nets, one cannot be read, their images or classes differ, or
        the standard AutoAttack is asked for a random one.
    """
    if len(nets) > len(NAMES):
        raise ValueError(f"{len(nets)} nets at a time are too many: at most {len(NAMES)}")
    targets = [load_target(args, gradient=True) for args in nets]
    for args, target in zip(nets[1:], targets[1:], strict=True):
        _check_same_images(f"{nets[0].checkpoint} and {args.checkpoint}", targets[0], target)
    random = [is_random(target.net) for target in targets]
    if battery.kind == "autoattack" and any(random):
        name = nets[random.index(True)].checkpoint
        raise ValueError(f"{name} is random: --battery rand is AutoAttack for random nets")
    built = battery.build(targets[0].class_names)
    scores: list[Score] = []
    with spinner("attacking; Ctrl-C stops") as status:
        for target in targets:
            status.update(f"attacking net {len(scores) + 1} of {len(targets)}; Ctrl-C stops")
            scores.append(evaluate(target.net, target.split, built))
    _print_nets(targets, scores, any(random))
    for k, score in enumerate(scores[1:], 1):
        print_difference(compare(scores[0], score), NAMES[0], NAMES[k])


def _check_same_images(nets: str, first: Target, other: Target) -> None:
    """Raise ValueError unless two nets are asked about the same images of the same classes."""
    same = first.class_names == other.class_names and len(first.split) == len(other.split)
    if not (
        same
        and torch.equal(first.split.images, other.split.images)
        and torch.equal(first.split.labels, other.split.labels)
    ):
        raise ValueError(f"{nets} have other images: --data NAME names the same for both")


def _print_nets(targets: Sequence[Target], scores: Sequence[Score], random: bool) -> None:
    console = open_console()
    for name, target in zip(NAMES, targets, strict=False):
        console.print(f"{name}  {target.title}", markup=False)
    names = ", ".join(scores[0].names)
    console.print(
        f"{scores[0].images} {targets[0].split_name} images, the same for all; {names}; "
        "paired 95 % intervals (Bonett and Price), McNemar's exact test",
        markup=False,
    )
    if random:
        console.print("random nets: how their noise falls in the votes is not in the intervals")


def print_difference(rows: Sequence[PairedDifference], first: str, second: str) -> None:
    """Print how far one net is ahead of another, and in words what the intervals tell."""
    console = open_console()
    table = Table(box=None)
    for column in ("", "eps", first, second, f"{second} - {first}", "interval", "McNemar p"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        low, high = (f"{_shown(row, end):+.1f}" for end in row.interval)
        p = row.p_value
        table.add_row(
            escape(row.name),
            "" if row.eps is None else f"{row.eps:.4g}",
            *(f"{_shown(row, value):.1f}" for value in (row.first, row.second)),
            f"{_shown(row, row.difference):+.1f}",
            f"{low} to {high}",
            "" if p is None else "< .001" if p < 0.001 else f"{p:.3f}",
        )
    print_line()
    print_table(console, table)
    print_line()
    for sentence in describe(rows, first, second):
        print_sentence(sentence)


def describe(rows: Sequence[PairedDifference], first: str, second: str) -> list[str]:
    """Return a sentence on natural accuracy and one on robustness; only told differences have one.

    Robustness is the last row: the aggregated attacked score, or the accuracy under the one attack.
    """
    found = []
    for row, what in ((rows[0], "more accurate without an attack"), (rows[-1], "more robust")):
        low, high = sorted(_shown(row, end) for end in row.interval)
        unit = "points"
        if row.name == AGGREGATE:
            unit = "points of the attacked score"
        if row.told_apart:
            ahead, sign = (second, 1) if row.difference > 0 else (first, -1)
            low, high = sorted((sign * low, sign * high))
            by = sign * _shown(row, row.difference)
            found.append(f"{ahead} is {what}: by {by:.1f} {unit} ({low:.1f} to {high:.1f}).")
        else:
            kind = "without an attack" if row.name == NATURAL else "in robustness"
            found.append(
                f"{first} and {second} cannot be told apart {kind}: the interval of the "
                f"difference, {low:+.1f} to {high:+.1f} {unit}, holds zero."
            )
    return found


def _shown(row: PairedDifference, value: float) -> float:
    return value if row.name == AGGREGATE else 100 * value
