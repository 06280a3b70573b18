"""The configurations of a space that has only so many."""

from __future__ import annotations

from spaces import Choice, Float, Params, Space, Value, exists

MAX_LISTED = 5_000  # configurations


def configuration_key(params: Params) -> frozenset[tuple[str, Value]]:
    """Return a key that two configurations share if they have the same values."""
    return frozenset(params.items())


def list_configurations(space: Space, limit: int = MAX_LISTED) -> list[Params] | None:
    """Return every configuration of a space; None if there are more than `limit`.

    A space of a real hyperparameter has infinitely many, also if that is conditional.
    """
    found: list[dict[str, Value]] = [{}]
    for name, knob in space.knobs.items():
        if isinstance(knob, Float):
            return None
        values = knob.options if isinstance(knob, Choice) else range(knob.low, knob.high + 1)
        if len(values) > limit:
            return None
        grown: list[dict[str, Value]] = []
        for params in found:
            grown += [{**params, name: v} for v in values] if exists(knob, params) else [params]
            if len(grown) > limit:
                return None
        found = grown
    return list(found)
