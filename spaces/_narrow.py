"""Narrow a space for one search: `--set KNOB=VALUE`, and the ranges around a point of `--near`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from adv.suggestions import suggest_or_list
from spaces._knob import Choice, Float, Int, Knob, Params
from spaces._space import Space

AROUND = 0.15
"""The ranges around a point reach so far to each side, as a share of the whole range."""


def narrow(space: Space, settings: Iterable[str], first: Params | None = None) -> Space:
    """Return a space with some hyperparameters fixed or narrowed.

    Args:
      space: the space, as its scale searches it.
      settings: texts such as `lr=0.001`, `sigma=0.05:0.1` or `model=basenet,bignet`.
      first: a configuration of the space to try before the known ones.

    Raises:
      ValueError: a text fits no hyperparameter; one line says what is allowed.
    """
    changes: dict[str, Knob] = {}
    for text in settings:
        name, knob = parse_setting(space, text)
        if name in changes:
            raise ValueError(f"--set {name} is given twice: give it one value or range")
        changes[name] = knob
    if not changes and first is None:
        return space
    found = space.replace_knobs(changes)
    for name in changes:
        if name not in found.knobs:
            raise ValueError(f"--set {name}: it exists only with {space.knobs[name].when}")
    return found if first is None else found.try_first(first)


def parse_setting(space: Space, text: str) -> tuple[str, Knob]:
    """Return the hyperparameter that a text such as `lr=0.001` changes, and its narrower form.

    Raises:
      ValueError: it fits none; one line says what is allowed.
    """
    name, sign, value = (part.strip() for part in text.partition("="))
    if not sign or not name or not value:
        raise ValueError(f"--set {text!r}: write KNOB=VALUE, KNOB=LOW:HIGH or KNOB=A,B")
    if name not in space.knobs:
        raise ValueError(
            f"--set {text!r}: no hyperparameter {name!r}" + suggest_or_list(name, space.knobs)
        )
    knob = space.knobs[name]
    try:
        return name, _narrow_choice(knob, value) if isinstance(knob, Choice) else _narrow_number(
            knob, value
        )
    except ValueError as error:
        raise ValueError(f"--set {text!r}: {error}") from None


def settings_near(space: Space, params: Params, but: Iterable[str] = ()) -> list[str]:
    """Return the settings that narrow a space to the surroundings of a configuration.

    Numbers reach `AROUND` of their range to each side; a choice keeps its option.

    Args:
      space: the space, as its scale searches it.
      params: a configuration of it.
      but: names of hyperparameters that are left as they are.
    """
    found = []
    for name, knob in space.active(params):
        if name in but:
            continue
        if isinstance(knob, Choice):
            found.append(f"{name}={params[name]}")
            continue
        value, at = params[name], knob.position(params[name])
        low = knob.low if at <= AROUND else knob.at(at - AROUND)
        high = knob.high if at >= 1 - AROUND else knob.at(at + AROUND)
        ends = sorted({min(low, value), max(high, value)})
        found.append(f"{name}={':'.join(map(repr, ends))}")
    return found


def _narrow_choice(knob: Choice, text: str) -> Choice:
    """Return a choice with the options that a text lists."""
    by_name = {str(option): option for option in knob.options}
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in by_name:
            raise ValueError(f"no option {name!r}{suggest_or_list(name, by_name)}")
    return replace(knob, options=tuple(by_name[name] for name in names))


def _narrow_number(knob: Float | Int, text: str) -> Knob:
    """Return a number with a narrower range, or as a choice of the one value that a text gives."""
    ends = [knob.parse(part.strip()) for part in text.split(":")]
    if len(ends) > 2:
        raise ValueError("a range is LOW:HIGH")
    low, high = ends[0], ends[-1]
    if not isinstance(low, int | float) or not isinstance(high, int | float) or low > high:
        raise ValueError("the first end of a range is the lower one")
    if low == high:
        return Choice((low,), when=knob.when)
    prior = knob.prior and replace(knob.prior, centre=min(high, max(low, knob.prior.centre)))
    if isinstance(knob, Int):
        return replace(knob, low=int(low), high=int(high), prior=prior)
    if math.isclose(low, high, rel_tol=1e-12):
        raise ValueError("the ends of a range differ, or are one value")
    return replace(knob, low=low, high=high, prior=prior)
