"""The nouns of a search space: knobs, a scale, and the question they ask.

Nothing here imports torch, so that the command line can list every space at once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adv import Recipe

Value = float | int | str | bool
Params = Mapping[str, Value]


@dataclass(frozen=True)
class Float:
    """A real knob in [low, high]; `log` draws it on a logarithmic scale (low > 0)."""

    low: float
    high: float
    log: bool = False
    when: Mapping[str, Value] = field(default_factory=dict)

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
    when: Mapping[str, Value] = field(default_factory=dict)

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
    when: Mapping[str, Value] = field(default_factory=dict)

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
    exists only at points where the knob `model` has that value; it comes after that knob.
    `scale` changes settings of the `Scale` that is chosen, for a space that needs its own size.
    """

    question: str
    knobs: Mapping[str, Knob]
    build: Callable[..., Recipe]
    known: tuple[Params, ...] = ()
    scale: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for name, knob in self.knobs.items():
            late = set(knob.when) - seen
            if late:
                raise ValueError(f"knob {name!r} depends on {sorted(late)}, which must come first")
            seen.add(name)
        for point in self.known:
            self.check(point)

    def active(self, params: Params) -> Iterator[tuple[str, Knob]]:
        """The knobs that exist at the point `params` (which may still be partly filled)."""
        for name, knob in self.knobs.items():
            if all(params.get(key) == value for key, value in knob.when.items()):
                yield name, knob

    def check(self, params: Params) -> None:
        """Raise ValueError unless `params` is a point of this space."""
        expected = dict(self.active(params))
        for name in params:
            if name not in expected:
                raise ValueError(f"no knob {name!r} here: {', '.join(expected)}")
        for name, knob in expected.items():
            if name not in params:
                raise ValueError(f"knob {name!r} is missing: {knob}")
            if not knob.holds(params[name]):
                raise ValueError(f"{name}={params[name]!r} is outside {knob}")

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


def _when(condition: Mapping[str, Value]) -> str:
    return "".join(f", when {name} = {value}" for name, value in condition.items())
