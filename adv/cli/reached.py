"""Print how many fooled images reached the class that `--target` names."""

from __future__ import annotations

from adv.cli.aim import ALL, LEAST_LIKELY, find_class
from adv.cli.target import Target
from adv.evaluation.reached_targets import count_reached
from adv.evaluation.score import Score
from adv.terminal.console import print_sentence


def counts_reached(aim: str | None) -> bool:
    """Return whether one class is aimed at; with "all" every wrong class is a target."""
    return aim not in (None, ALL)


def print_reached(score: Score, target: Target, aim: str | None, seed: int) -> None:
    """Print, for each attack, how many of the images that it fooled the net takes for the target.

    Args:
      score: with its adversarial images, unless no single class is aimed at.
      target: the net and the images.
      aim: the value of `--target`.
      seed: of the noise of a random net.
    """
    if aim is None or not counts_reached(aim):
        return
    found = find_class(aim, target.class_names)
    name = LEAST_LIKELY if isinstance(found, str) else repr(target.class_names[found])
    parts = [
        f"{attack} {counts.reached} of {counts.fooled}"
        for attack, counts in zip(
            score.names,
            count_reached(target.net, target.split, score, found, seed),
            strict=True,
        )
    ]
    print_sentence(f"\nfooled images taken for the target class {name}: {', '.join(parts)}")
