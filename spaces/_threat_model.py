"""Threat models by name: which attacks score a trial, `--battery linf-8/255`.

Nothing here imports torch before a battery is made, so that the command line can check a name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adv.suggestions import suggest_or_list
from adv.user_code import PYTHON, UserCodeError, describe_failure, load_object, split_reference

if TYPE_CHECKING:
    from adv import Ball, Battery

REPORT = "report"
THREAT_MODELS: Mapping[str, str] = {
    "report": "the report's six Linf radii, by the attacks of --score",
    "linf-8/255": "one radius, also l2-0.5 or l1-12, by the attack of --score",
    "autoattack": "AutoAttack at Linf 8/255, or another radius as in autoattack-l2-0.5",
    "rand": "AutoAttack's version for random nets",
    "FILE.py:NAME": "a battery of your own",
}
"""The threat models that the command line takes, and each in words."""

_ONE = re.compile(r"(?:(autoattack|rand)-)?(linf|l2|l1)-([0-9.eE+-]+)(?:/([0-9.]+))?")
_EXAMPLES = ("report", "linf-8/255", "l2-0.5", "l1-12", "autoattack", "rand")


@dataclass(frozen=True)
class ThreatModel:
    """A threat model: the report's, attacks at one radius, or a battery of the user's.

    Args:
      text: as the user wrote it.
      kind: "report", "ball", "autoattack", "rand" or "own".
      norm: "linf", "l2" or "l1", if the kind has one radius.
      eps: that radius, in units of the pixel range [0, 1].
    """

    text: str
    kind: str
    norm: str = "linf"
    eps: float = 8 / 255

    @property
    def takes_score(self) -> bool:
        """Whether `--score` and `--battery-steps` choose its attacks."""
        return self.kind in ("report", "ball")

    @property
    def is_code(self) -> bool:
        """Whether code of the user's makes it, from a file or an installed package."""
        return self.kind == "own" and not self.text.startswith(PYTHON)

    @property
    def file(self) -> str | None:
        """The file of code that holds it, None if there is none."""
        place = split_reference(self.text)[0] if self.kind == "own" else ""
        return place if place.endswith(".py") else None


def parse_threat_model(text: str) -> ThreatModel:
    """Return the threat model that a text names.

    Raises:
      ValueError: it names none; the message says what is allowed.
    """
    if text in ("report", "autoattack", "rand"):
        return ThreatModel(text, text)
    if match := _ONE.fullmatch(text):
        kind, norm, number, divisor = match.groups()
        try:
            eps = float(number) / float(divisor or 1)
        except (ValueError, ZeroDivisionError):
            eps = math.nan
        if not (math.isfinite(eps) and eps > 0):
            raise ValueError(f"--battery {text!r}: a radius is a number above 0, such as 8/255")
        if norm == "linf" and eps > 1:
            raise ValueError(
                f"--battery {text!r}: pixels lie in [0, 1], so a radius of Linf is 1 at most; "
                f"of 255 levels: linf-{number}/255"
            )
        return ThreatModel(text, kind or "ball", norm, eps)
    if ":" in text:
        split_reference(text)
        return ThreatModel(text, "own")
    names = f"{suggest_or_list(text, _EXAMPLES)}, or FILE.py:NAME"
    raise ValueError(f"--battery {text!r}: no such battery{names}")


def make_battery(text: str, score: str, steps: int, draws: int, votes: int) -> Battery:
    """Return the battery of a threat model.

    Args:
      text: names it.
      score: "margin" or "report": the attacks of those that leave the choice.
      steps: of these attacks.
      draws: noise samples of a random net in each gradient; the margin score has its own.
      votes: noise samples of a random net in each prediction.

    Raises:
      ValueError: there is none of that name, or the user's file has none.
    """
    import adv

    model = parse_threat_model(text)
    if model.kind == "report":
        if score == "margin":
            return adv.margin_battery(steps, votes=votes)
        return adv.report_battery(steps, draws=draws, votes=votes)
    if model.kind == "own":
        return _own_battery(text)
    if model.kind == "ball":
        return adv.ball_battery(make_ball(model), score, steps, draws=draws, votes=votes)
    ball = make_ball(model)
    whole = adv.autoattack(ball) if model.kind == "autoattack" else adv.autoattack_rand(ball)
    members = adv.Worst(tuple(attack for _, attack in whole.attacks))
    name = f"{model.kind}-{model.norm}-{model.eps:.4g}"
    return adv.Battery(((name, members),), draws=whole.draws, votes=votes)


def score_label(score: str, threat_model: str) -> str:
    """Return how an attacked score is called: "margin", "margin, l2-0.5" or "autoattack"."""
    model = parse_threat_model(threat_model)
    if model.kind == "report":
        return score
    return f"{score}, {threat_model}" if model.takes_score else threat_model


def make_ball(model: ThreatModel) -> Ball:
    """Return the ball of a threat model with one radius."""
    import adv

    kinds: dict[str, Any] = {"linf": adv.Linf, "l2": adv.L2, "l1": adv.L1}
    ball: Ball = kinds[model.norm](model.eps)
    return ball


def _own_battery(reference: str) -> Battery:
    """Return the battery that a reference such as `mine.py:battery` names."""
    from adv import Battery

    found = load_object(reference)
    if callable(found) and not isinstance(found, Battery):
        try:
            found = found()
        except Exception as error:  # a user's function may raise anything
            raise UserCodeError(f"--battery {reference}: {describe_failure(error)}") from error
    if not isinstance(found, Battery):
        raise UserCodeError(
            f"--battery {reference}: it is a {type(found).__name__}, not an adv.Battery, nor a "
            "function that returns one"
        )
    return found
