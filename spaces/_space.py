"""The nouns of a search space: knobs, and the question they ask.

Nothing here imports torch, so that the command line can list every space at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adv import Recipe

Value = float | int | str | bool
Params = Mapping[str, Value]
When = Mapping[str, Value | tuple[Value, ...]]
"""Values, or one of several, that other knobs must have."""


@dataclass(frozen=True)
class Float:
    """A real knob in [low, high]; `log` draws it on a logarithmic scale (low > 0)."""

    low: float
    high: float
    log: bool = False
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)

    def holds(self, value: Value) -> bool:
        """Whether `value` is one this knob can take."""
        return _is_number(value) and self.low <= float(value) <= self.high

    def parse(self, text: str) -> Value:
        """The value that a text names; raises ValueError where it names none."""
        return _parsed(self, float, text)

    def at(self, u: float) -> Value:
        """The value at position `u` in [0, 1) of the range."""
        if self.log:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + (self.high - self.low) * u)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}{_when(self.when)}"


@dataclass(frozen=True)
class Int:
    """A whole-number knob in [low, high], both ends included."""

    low: int
    high: int
    log: bool = False
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)

    def holds(self, value: Value) -> bool:
        """Whether `value` is one this knob can take."""
        return isinstance(value, int) and _is_number(value) and self.low <= value <= self.high

    def parse(self, text: str) -> Value:
        """The value that a text names; raises ValueError where it names none."""
        return _parsed(self, int, text)

    def at(self, u: float) -> Value:
        """The value at position `u` in [0, 1) of the range."""
        if self.log:
            ends = math.log(self.low), math.log(self.high + 1)
            return min(self.high, int(math.exp(ends[0] + (ends[1] - ends[0]) * u)))
        return min(self.high, self.low + int((self.high - self.low + 1) * u))

    def __str__(self) -> str:
        return f"{self.low} to {self.high}{' (log)' if self.log else ''}{_when(self.when)}"


@dataclass(frozen=True)
class Choice:
    """A knob that takes one of the given options, in no order."""

    options: tuple[Value, ...]
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"a choice needs different options, got {self.options}")

    def holds(self, value: Value) -> bool:
        """Whether `value` is one of the options."""
        return value in self.options

    def parse(self, text: str) -> Value:
        """The option that a text names; raises ValueError where it names none."""
        return _parsed(self, {str(option): option for option in self.options}.__getitem__, text)

    def at(self, u: float) -> Value:
        """The value at position `u` in [0, 1) of the options."""
        return self.options[min(len(self.options) - 1, int(len(self.options) * u))]

    def __str__(self) -> str:
        return " | ".join(str(option) for option in self.options) + _when(self.when)


Knob = Float | Int | Choice
OBJECTIVES = ("natural_accuracy", "attacked_score")


@dataclass(frozen=True)
class Space:
    """What a search varies, and how a point of it becomes a recipe.

    `question` is one line. `build(**params)` makes the `adv.Recipe` of a point. `known` are the
    points to try first, such as a published setting. A knob with `when={"model": "bignet"}`
    exists only at points where the knob `model` has that value (or one of a tuple of values); it
    comes after that knob. `scale` changes settings of the `Scale` that is chosen, for a space that
    needs its own size. `laptop` holds narrower ranges of some knobs for the laptop scale, where the
    whole ones would take hours. A `grid` has nothing but choices: their combinations are its known
    points, and a search tries each of them once and nothing else.

    Raises:
      ValueError: a knob or a known point that does not fit the others.
    """

    question: str
    knobs: Mapping[str, Knob]
    build: Callable[..., Recipe]
    known: tuple[Params, ...] = ()
    scale: Mapping[str, Any] = field(default_factory=dict)
    laptop: Mapping[str, Knob] = field(default_factory=dict)
    grid: bool = False

    def __post_init__(self) -> None:
        for i, (name, knob) in enumerate(self.knobs.items()):
            self._check_when(name, knob, list(self.knobs)[:i])
        for name in self.laptop:
            if name not in self.knobs:
                raise ValueError(f"no knob {name!r} to narrow: {', '.join(self.knobs)}")
        if self.grid:
            all_ = tuple(_combinations(self.knobs))
            if self.known not in ((), all_):
                raise ValueError("the known points of a grid are its combinations: leave them out")
            object.__setattr__(self, "known", all_)
        for point in self.known:
            self.check(point)

    def _check_when(self, name: str, knob: Knob, seen: list[str]) -> None:
        for other, wanted in knob.when.items():
            if other not in seen:
                raise ValueError(f"knob {name!r} depends on {other!r}, which must come first")
            for value in _values(wanted):
                if not self.knobs[other].holds(value):
                    raise ValueError(f"knob {name!r} waits for {other} = {value}, which never is")

    def at(self, scale: str) -> Space:
        """The space as the scale of that name searches it.

        On the laptop scale a known number outside its narrower range is the nearest one inside; a
        known point whose choice is not there falls away.
        """
        if scale != "laptop" or not self.laptop:
            return self
        narrow: dict[str, Knob] = {}
        for name, knob in self.knobs.items():
            narrow[name] = replace(self.laptop.get(name, knob), when=_left(knob.when, narrow))
        small = replace(self, knobs=narrow, known=(), laptop={})
        if self.grid:
            return small
        near = ({k: _nearest(narrow[k], v) for k, v in point.items()} for point in self.known)
        points = [point for point in near if small.holds(point)]
        alone = tuple(point for i, point in enumerate(points) if point not in points[:i])
        return replace(small, known=alone)

    def holds(self, params: Params) -> bool:
        """Whether `params` is a point of this space."""
        try:
            self.check(params)
        except ValueError:
            return False
        return True

    def active(self, params: Params) -> Iterator[tuple[str, Knob]]:
        """The knobs that exist at the point `params` (which may still be partly filled)."""
        for name, knob in self.knobs.items():
            if exists(knob, params):
                yield name, knob

    def check(self, params: Params) -> None:
        """Raise ValueError unless `params` is a point of this space."""
        expected = dict(self.active(params))
        for name, knob in expected.items():  # first: a wrong value may make others superfluous
            if name in params and not knob.holds(params[name]):
                raise ValueError(f"{name}={params[name]!r} is outside {knob}")
        for name in params:
            if name not in expected:
                raise ValueError(f"no knob {name!r} here: {', '.join(expected)}")
        for name, knob in expected.items():
            if name not in params:
                raise ValueError(f"knob {name!r} is missing: {knob}")

    def describe(self) -> dict[str, dict[str, Any]]:
        """The knobs as plain data, for a record."""
        return {
            name: {"kind": type(knob).__name__, **asdict(knob)} for name, knob in self.knobs.items()
        }

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change whenever a knob does."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _left(when: When, narrow: Mapping[str, Knob]) -> When:
    """What a knob waits for, of several values those that a narrower knob still has."""
    left = {
        name: tuple(value for value in wanted if narrow[name].holds(value))
        for name, wanted in when.items()
        if isinstance(wanted, tuple)
    }
    return {name: left.get(name) or wanted for name, wanted in when.items()}


def _nearest(knob: Knob, value: Value) -> Value:
    """The value of the knob's range that is nearest to a number; an option as it is."""
    if isinstance(knob, Choice) or isinstance(value, str):
        return value
    return min(knob.high, max(knob.low, value))


def exists(knob: Knob, params: Params) -> bool:
    """Whether the knobs that `knob` depends on have the values in `params` that it waits for."""
    return all(params.get(key) in _values(wanted) for key, wanted in knob.when.items())


def _values(wanted: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    return wanted if isinstance(wanted, tuple) else (wanted,)


def _combinations(knobs: Mapping[str, Knob]) -> Iterator[Params]:
    options = [knob.options for knob in knobs.values() if isinstance(knob, Choice)]
    if len(options) < len(knobs) or any(knob.when for knob in knobs.values()):
        raise ValueError("a grid has nothing but choices, none of which depends on another")
    for values in itertools.product(*options):
        yield dict(zip(knobs, values, strict=True))


def _parsed(knob: Knob, read: Callable[[str], Value], text: str) -> Value:
    try:
        value = read(text)
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is not one of {knob}") from None
    if not knob.holds(value):
        raise ValueError(f"{text} is outside {knob}")
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_range(low: float, high: float, log: bool) -> None:
    if not low < high or not math.isfinite(high - low):
        raise ValueError(f"a range goes up, got {low} to {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range starts above 0, got {low}")


def _when(condition: When) -> str:
    texts = (
        f"{name} = {' | '.join(map(str, _values(wanted)))}" for name, wanted in condition.items()
    )
    return f", when {' and '.join(texts)}" if condition else ""
