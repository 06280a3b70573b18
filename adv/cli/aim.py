"""Aim attacks at the wrong class that the command line names: `--target` and `--rank`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adv.attacks import APGD, PGD, Attack, Square, Worst
from adv.attacks.losses import TARGETED_FORMS, TargetClass, is_targeted
from adv.suggestions import suggest

ALL, LEAST_LIKELY = "all", "least-likely"


def aim(
    attack: Attack, target: str | None, rank: int | None, names: Sequence[str] | None
) -> Attack:
    """Return the attack with the targeted form of its loss and a target.

    Args:
      attack: PGD, APGD, Square, or a cascade of them.
      target: "all" for every wrong class in turn, the likeliest first, each on what stands;
        "least-likely"; or a class, by its name or else its index. None: see `rank`.
      rank: k for the k-th most likely wrong class.
      names: the names of the net's classes; None: not known yet, so the class is not looked up.

    Raises:
      ValueError: the loss has no targeted form, there is no such class, or both are given.
    """
    if target is not None and rank is not None:
        raise ValueError("--target and --rank exclude each other: give one of them")
    if isinstance(attack, Worst):
        return Worst(tuple(aim(member, target, rank, names) for member in attack.attacks))
    assert isinstance(attack, PGD | APGD | Square), f"{attack} has no target"
    loss = attack.loss if is_targeted(attack.loss) else TARGETED_FORMS.get(attack.loss)
    if loss is None:
        allowed = ", ".join(TARGETED_FORMS)
        raise ValueError(f"the loss {attack.loss!r} has no target: take one of {allowed}")
    aimed: PGD | APGD | Square = replace(attack, loss=loss, target=rank)
    if target is not None and target != ALL:
        return replace(aimed, target_class=find_class(target, names))
    if target is None or names is None:
        return aimed
    return Worst(tuple(replace(aimed, target=k) for k in range(1, len(names))))


def find_class(target: str, names: Sequence[str] | None) -> TargetClass:
    """Return the class that `--target` names, by its name or else its index, or "least-likely".

    Without `names` no class is looked up, and "least-likely" stands for any.

    Raises:
      ValueError: there is no such class; the message lists some and suggests the nearest.
    """
    if target == LEAST_LIKELY or names is None:
        return "least-likely"
    if target in names:
        return names.index(target)
    if target.isascii() and target.isdigit() and int(target) < len(names):
        return int(target)
    near = suggest(target, (*names, ALL, LEAST_LIKELY)) or ":"
    some = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    raise ValueError(
        f"--target {target!r}{near} A target is a class by name ({some}) or index "
        f"(0 to {len(names) - 1}), {LEAST_LIKELY} or {ALL}"
    )
