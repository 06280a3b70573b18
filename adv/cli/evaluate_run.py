"""Evaluate a net on a battery of attacks and print its score: `python -m adv evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from adv.cli.display import print_score
from adv.cli.reached import counts_reached, print_reached
from adv.cli.target import load_target
from adv.cli.target_args import TargetArgs
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.runtime.random_streams import is_random
from adv.terminal.console import print_sentence, spinner


def evaluate_target(
    args: TargetArgs,
    kind: str,
    make_battery: Callable[[Sequence[str] | None], Battery],
    aim: str | None = None,
) -> None:
    """Evaluate a net and print its score.

    Args:
      args: the net and the images.
      kind: the battery's name on the command line.
      make_battery: from the names of the net's classes to the battery.
      aim: the value of --target.

    Raises:
      ValueError: the standard AutoAttack for a random net.
    """
    target = load_target(args, gradient=True)
    random = is_random(target.net)
    if random and kind == "autoattack":
        raise ValueError("the net is random: --battery rand is AutoAttack for random nets")
    battery = make_battery(target.class_names)
    with spinner("attacking; Ctrl-C stops"):
        images = counts_reached(aim)
        score = evaluate(target.net, target.split, battery, keep_images=images)
    print_score(score, target)
    print_reached(score, target, aim, battery.seed)
    if random and kind != "rand":
        print_sentence("\nthe net is random: --battery rand is a stronger test")
    elif not random and kind == "rand":
        print_sentence("\nthe net is not random: --battery autoattack is a stronger test")
