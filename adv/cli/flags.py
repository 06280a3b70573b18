"""Build attacks and batteries from the names and numbers on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pkgutil import resolve_name
from typing import Any

from adv.attacks import DDN, FMN, L1, L2, PGD, Attack, Ball, Linf, MinimumNorm, restarts
from adv.cli.aim import aim
from adv.cli.attack_table import ATTACKS
from adv.evaluation.battery import (
    Battery,
    autoattack,
    autoattack_rand,
    margin_battery,
    quick_battery,
    report_battery,
)
from adv.suggestions import suggest_or_list

_BALLS: Mapping[str, type[Ball]] = {"linf": Linf, "l2": L2, "l1": L1}
_RESTARTABLE = ("pgd", "apgd", "pma")  # fgsm has no random start, and the others count queries
_WITH_RADII: Mapping[str, Callable[..., Battery]] = {  # which have radii of their own
    "report": report_battery,
    "margin": margin_battery,
    "quick": quick_battery,
}
_BATTERIES = (*_WITH_RADII, "autoattack", "rand")
USUAL_RADII: Mapping[type[Ball], float] = {Linf: 8 / 255, L2: 0.5, L1: 12.0}
_LARGEST: Mapping[str, float] = {"linf": 0.1, "l2": 2.0}  # that a minimum-norm attack searches


def build_attack(
    kind: str,
    norm: str,
    eps: float | None,
    settings: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
) -> Attack:
    """Build the attack that the flags describe.

    Args:
      kind: the attack's name.
      norm: "linf", "l2" or "l1".
      eps: the radius; None: 8/255, 0.5 in l2, 12 in l1.
      settings: the value of each flag, None if it was not given.
      class_names: those of the net; None: not known yet.

    Raises:
      ValueError: an unknown name, or a flag that the attack does not have.
    """
    place, known = ATTACKS[check_choice("--attack", kind, ATTACKS)]
    make: Callable[..., Attack] = resolve_name(place)
    ball = _ball(norm, eps)
    given = {flag: value for flag, value in settings.items() if value is not None}
    times = given.pop("restarts", 1)
    if times > 1 and kind not in _RESTARTABLE:
        raise ValueError(f"--restarts is for {', '.join(_RESTARTABLE)}, not for {kind}")
    for flag in given:
        if flag not in known:
            has = ", ".join(f"--{name}" for name in known) or "none of its own"
            raise ValueError(f"--{flag} is not a flag of {kind}, which has {has}")
    target, rank = given.pop("target", None), given.pop("rank", None)
    attack = make(ball, **{known[flag]: value for flag, value in given.items()})
    if target is not None or rank is not None:
        attack = aim(attack, target, rank, class_names)
    return restarts(attack, times) if times > 1 else attack


def build_search(kind: str, norm: str, eps: float | None, steps: int) -> MinimumNorm:
    """Build the minimum-norm attack that the flags describe.

    Args:
      kind: "fmn" or "ddn".
      norm: "linf" or "l2".
      eps: the largest radius; None: 0.1, or 2 in l2.
      steps: gradient steps.

    Raises:
      ValueError: an unknown name, or an attack that does not search this norm.
    """
    make: Callable[..., MinimumNorm] = {"fmn": FMN, "ddn": DDN}[
        check_choice("--attack", kind, ("fmn", "ddn"))
    ]
    largest = _LARGEST[check_choice("--norm", norm, _LARGEST)]
    return make(_BALLS[norm](largest if eps is None else eps), steps)


def build_battery(
    kind: str, norm: str | None, eps: float | None, steps: int | None, classes: int | None
) -> Battery:
    """Build the battery that the flags describe.

    Args:
      kind: the battery's name.
      norm: "linf", "l2" or "l1"; None: linf.
      eps: the radius; None: 8/255, 0.5 in l2, 12 in l1.
      steps: of each PGD; None: the battery's own.
      classes: of the net; None: not known yet.

    Raises:
      ValueError: an unknown name, or a flag that the battery does not have.
    """
    kind = check_choice("--battery", kind, _BATTERIES)
    if make := _WITH_RADII.get(kind):
        if norm is not None or eps is not None:
            raise ValueError(f"the {kind} battery has radii of its own: leave --norm and --eps out")
        return make() if steps is None else make(steps)
    if steps is not None:
        raise ValueError(f"--steps is not for {kind}: AutoAttack has nothing to choose")
    make_autoattack = autoattack if kind == "autoattack" else autoattack_rand
    return make_autoattack(_ball(norm or "linf", eps), classes)


def aim_battery(
    battery: Battery, kind: str, target: str, class_names: Sequence[str] | None
) -> Battery:
    """Return the battery with its attacks aimed at the class that `--target` names.

    Raises:
      ValueError: the battery cannot be aimed, or there is no such class.
    """
    if kind not in ("report", "quick"):
        why = (
            "its losses have no target" if kind == "margin" else "AutoAttack has nothing to choose"
        )
        raise ValueError(f"--target is not for {kind}: {why}")
    aimed = ((name, aim(attack, target, None, class_names)) for name, attack in battery.attacks)
    return replace(battery, attacks=tuple(aimed))


def build_audited_battery(
    kind: str, *, norm: str | None, eps: float | None, steps: int | None
) -> Battery:
    """Build the battery of an audit: PGD at one radius, or a battery of `build_battery`.

    Where a battery has several radii `eps` is left to the audit, which picks the nearest one.

    Raises:
      ValueError: as for `build_battery`.
    """
    if check_choice("--battery", kind, ("pgd", *_BATTERIES)) == "pgd":
        steps = steps or PGD.steps
        return Battery(((f"pgd{steps}", PGD(_ball(norm or "linf", eps), steps)),))
    return build_battery(kind, norm, None if kind in _WITH_RADII else eps, steps, None)


def with_repeats(battery: Battery, draws: int | None, votes: int | None) -> Battery:
    """Return the battery with other numbers of draws and votes, where they are given."""
    return replace(
        battery,
        draws=battery.draws if draws is None else draws,
        votes=battery.votes if votes is None else votes,
    )


def check_choice(flag: str, name: str, allowed: Iterable[str]) -> str:
    """Return `name` if it is allowed.

    Raises:
      ValueError: it is not; the message lists all names and suggests the nearest.
    """
    allowed = tuple(allowed)
    if name not in allowed:
        raise ValueError(f"{flag} {name!r}{suggest_or_list(name, allowed)}")
    return name


def _ball(norm: str, eps: float | None) -> Ball:
    make = _BALLS[check_choice("--norm", norm, _BALLS)]
    return make(USUAL_RADII[make] if eps is None else eps)
