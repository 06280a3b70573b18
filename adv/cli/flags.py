"""What the names on the command line mean: attacks, norms and batteries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from adv.attacks import APGD, FGSM, L2, NES, PGD, Attack, Ball, Linf, Square, restarts
from adv.evaluation.battery import (
    Battery,
    autoattack,
    autoattack_rand,
    quick_battery,
    report_battery,
)
from adv.suggestions import suggest

_BALLS: Mapping[str, type[Ball]] = {"linf": Linf, "l2": L2}
# Each attack with the flags that it knows, and what they are called in Python.
_ATTACKS: Mapping[str, tuple[Callable[..., Attack], Mapping[str, str]]] = {
    "pgd": (PGD, {"steps": "steps", "step": "step_size", "loss": "loss", "target": "target"}),
    "fgsm": (FGSM, {}),
    "apgd": (APGD, {"steps": "steps", "loss": "loss", "target": "target"}),
    "square": (Square, {"queries": "queries"}),
    "nes": (NES, {"queries": "queries", "samples": "samples", "step": "step_size", "loss": "loss"}),
}
_REPEATED = ("pgd", "apgd")  # others start from one point, or count queries
_BATTERIES = ("report", "quick", "autoattack", "rand")
_RADIUS = 8 / 255


def made_attack(kind: str, norm: str, eps: float | None, settings: Mapping[str, Any]) -> Attack:
    """The attack that the flags describe.

    Args:
      kind: its name.
      norm: "linf" or "l2".
      eps: the radius; None: 8/255, or 0.5 in l2.
      settings: of each flag its value, None where it was not given.

    Raises:
      ValueError: an unknown name, or a flag that the attack does not know.
    """
    make, known = _ATTACKS[one_of("--attack", kind, _ATTACKS)]
    ball = _ball(norm, eps)
    given = {flag: value for flag, value in settings.items() if value is not None}
    times = given.pop("restarts", 1)
    if times > 1 and kind not in _REPEATED:
        raise ValueError(f"--restarts is for {', '.join(_REPEATED)}, not for {kind}")
    for flag in given:
        if flag not in known:
            has = ", ".join(f"--{name}" for name in known) or "none of its own"
            raise ValueError(f"--{flag} is not a flag of {kind}, which has {has}")
    one = make(ball, **{known[flag]: value for flag, value in given.items()})
    return restarts(one, times) if times > 1 else one


def made_battery(
    kind: str, norm: str | None, eps: float | None, steps: int | None, classes: int | None
) -> Battery:
    """The battery that the flags describe, for a net with so many classes.

    Raises:
      ValueError: an unknown name, or a flag that the battery does not know.
    """
    kind = one_of("--battery", kind, _BATTERIES)
    if kind in ("report", "quick"):
        if norm is not None or eps is not None:
            raise ValueError(f"the {kind} battery has radii of its own: leave --norm and --eps out")
        make = report_battery if kind == "report" else quick_battery
        return make() if steps is None else make(steps)
    if steps is not None:
        raise ValueError(f"--steps is not for {kind}: AutoAttack has nothing to choose")
    line_up = autoattack if kind == "autoattack" else autoattack_rand
    return line_up(_ball(norm or "linf", eps), classes)


def doubted_battery(
    kind: str, *, norm: str | None, eps: float | None, steps: int | None
) -> Battery:
    """The battery that an audit doubts: PGD at one radius, or one of `made_battery`'s.

    Of the report's and the quick one `eps` chooses a radius later.

    Raises:
      ValueError: as `made_battery`.
    """
    if one_of("--battery", kind, ("pgd", *_BATTERIES)) == "pgd":
        steps = steps or 20
        return Battery(((f"pgd{steps}", PGD(_ball(norm or "linf", eps), steps)),))
    return made_battery(kind, norm, None if kind in ("report", "quick") else eps, steps, None)


def repeated(battery: Battery, draws: int | None, votes: int | None) -> Battery:
    """The battery with other draws and votes, where they are given."""
    changes = {"draws": draws, "votes": votes}
    return replace(battery, **{k: v for k, v in changes.items() if v is not None})  # type: ignore[arg-type]


def one_of(flag: str, name: str, allowed: Iterable[str]) -> str:
    """`name`; raises ValueError with the nearest one if it is not allowed."""
    allowed = tuple(allowed)
    if name not in allowed:
        near = suggest(name, allowed) or ":"
        raise ValueError(f"{flag} {name!r}{near} There are: {', '.join(allowed)}")
    return name


def _ball(norm: str, eps: float | None) -> Ball:
    make = _BALLS[one_of("--norm", norm, _BALLS)]
    return make((_RADIUS if make is Linf else 0.5) if eps is None else eps)
