"""The configurations of a space that has only so many, and those that were tried."""

from __future__ import annotations

import weakref
from collections.abc import Set
from itertools import islice
from typing import NamedTuple

from search.record.view import View
from spaces import Choice, Float, Params, Space, Value, exists

MAX_LISTED = 5_000  # configurations


def configuration_key(params: Params) -> frozenset[tuple[str, Value]]:
    """Return a key that two configurations share if they have the same values."""
    return frozenset(params.items())


class _Tried(NamedTuple):
    """The keys of the configurations of the first `trials` trials of a view."""

    view: weakref.ref[View]
    trials: int
    keys: set[frozenset[tuple[str, Value]]]


_latest: _Tried | None = None


def tried_keys(view: View) -> Set[frozenset[tuple[str, Value]]]:
    """Return the keys of the configurations of all trials of a view.

    The set of the last view is kept and extended: to make 5,000 keys takes longer than a proposal.
    """
    global _latest  # noqa: PLW0603 - a cache of one result, for the whole process
    known = _latest
    if known is None or known.view() is not view or known.trials > len(view.trials):
        known = _Tried(weakref.ref(view), 0, set())
    fresh = islice(view.trials.values(), known.trials, None)
    known.keys.update(configuration_key(trial.params) for trial in fresh)
    _latest = known._replace(trials=len(view.trials))
    return known.keys


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
