"""A check of the accuracy itself: is it more than guessing gives?"""

from __future__ import annotations

from torch import Tensor

from adv.auditing.context import AuditContext
from adv.auditing.finding import Finding, exact_interval, share_with_interval

NAME = "better than guessing"


def check_accuracy(context: AuditContext) -> Finding:
    """Compare the accuracy without an attack with that of guessing.

    The figure is what guessing may give: always the most frequent class, or twice the odds of a
    class at random, which untrained nets stay below though their outputs go with the images. The
    limit is the lower end of the interval of the net's accuracy, so unlike in other checks a net
    passes only if the images suffice to say that it is better.
    """
    chance = 1 / context.classes
    most = int(context.split.labels.bincount().max()) / context.n
    guess = max(2 * chance / (1 + chance), most)
    low = share_with_interval(context.natural)[1][0]
    attacked = share_with_interval(context.standing)[1][0]
    nothing = "" if attacked > guess else " Under attack the net is no better than that."
    return Finding(
        NAME,
        guess,
        low,
        exact_interval(guess),
        "%",
        "the limit is the lower end of the 95 % interval of the net's accuracy",
        f"Without an attack {_percent(context.natural)} are correct, under attack "
        f"{_percent(context.standing)}. A class at random is right for {100 * chance:.1f} %, the "
        f"most frequent class for {100 * most:.1f} %, and an untrained net by luck for up to "
        f"{100 * guess:.1f} %.{nothing}",
        "The net is hardly better than guessing, or there are too few images to tell: a net that "
        "has learned nothing cannot be fooled, so its score says nothing about robustness.",
    )


def _percent(row: Tensor) -> str:
    """Return a share with its interval as text."""
    found, (low, high) = share_with_interval(row)
    return f"{100 * found:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"
