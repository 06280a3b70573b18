"""The hyperparameters (knobs) of a search space: a real, a whole number, or one of some options.

Nothing here imports torch, so that the command line can list every space at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

Value = float | int | str | bool
Params = Mapping[str, Value]
"""A configuration: the value of each hyperparameter that exists there."""
_LARGEST = 2**63 - 1
When = Mapping[str, Value | tuple[Value, ...]]
"""The condition of a hyperparameter: the value, or one of several, that others must have."""


@dataclass(frozen=True)
class Prior:
    """Where good values of a number are expected, before any trial: a normal distribution.

    Args:
      centre: the value expected to be best, in the range of the number.
      spread: the standard deviation; of a logarithmic number a factor above 1, such as 3 for
        values that are mostly within a third and three times the centre.
    """

    centre: float
    spread: float


@dataclass(frozen=True)
class Float:
    """A real hyperparameter in [low, high]; with `log` on a logarithmic scale (low > 0).

    `high - low`, and `high / low` of a logarithmic range, must be finite. `prior` says where good
    values are expected; a search begins there, and gives it up if its trials contradict.
    """

    low: float
    high: float
    log: bool = False
    when: When = field(default_factory=dict)
    prior: Prior | None = None

    def __post_init__(self) -> None:
        _check_range(self.low, self.high, self.log)
        _check_prior(self)

    def holds(self, value: Value) -> bool:
        """Return whether `value` is a finite number in the range."""
        return _is_number(value) and self.low <= float(value) <= self.high

    def parse(self, text: str) -> Value:
        """Return the number that a text names; raise ValueError if it names none in the range."""
        return _parse(self, float, text)

    def at(self, u: float) -> Value:
        """Return the value at position `u` in [0, 1) of the range."""
        if self.log:
            return float(self.low * (self.high / self.low) ** u)
        return float(self.low + (self.high - self.low) * u)

    def position(self, value: Value) -> float:
        """Return the position in [0, 1] at which `at` gives `value`, up to rounding."""
        return _share(float(value), self.low, self.high, self.log)

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{' (log)' if self.log else ''}{_when(self.when)}"


@dataclass(frozen=True)
class Int:
    """A whole-number hyperparameter in [low, high], both ends included.

    `prior` says where good values are expected, as for `Float`.
    """

    low: int
    high: int
    log: bool = False
    when: When = field(default_factory=dict)
    prior: Prior | None = None

    def __post_init__(self) -> None:
        for end in (self.low, self.high):
            if not isinstance(end, int):
                raise ValueError(f"the ends of an Int are whole numbers, got {end!r}")
        _check_range(self.low, self.high, self.log)
        for end in (self.low, self.high):
            _check_whole(end)
        _check_prior(self)

    def holds(self, value: Value) -> bool:
        """Return whether `value` is a whole number in the range."""
        return isinstance(value, int) and _is_number(value) and self.low <= value <= self.high

    def parse(self, text: str) -> Value:
        """Return the number that a text names; raise ValueError if it names none in the range."""
        return _parse(self, int, text)

    def at(self, u: float) -> Value:
        """Return the value at position `u` in [0, 1) of the range."""
        if self.log:
            ends = math.log(self.low), math.log(self.high + 1)
            return min(self.high, int(math.exp(ends[0] + (ends[1] - ends[0]) * u)))
        return min(self.high, self.low + int((self.high - self.low + 1) * u))

    def position(self, value: Value) -> float:
        """Return the middle of all positions at which `at` gives `value`, in [0, 1]."""
        v = float(value)
        middle = math.sqrt(v * (v + 1)) if self.log else v + 0.5
        return _share(middle, self.low, self.high + 1, self.log)

    def __str__(self) -> str:
        return f"{self.low} to {self.high}{' (log)' if self.log else ''}{_when(self.when)}"


@dataclass(frozen=True)
class Choice:
    """A categorical hyperparameter: one of the given options, in no order.

    Options are strings, finite numbers and booleans, which a ledger keeps as they are.
    """

    options: tuple[Value, ...]
    when: When = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.options, tuple):
            raise ValueError(f"the options of a choice are a tuple, got {self.options!r}")
        for option in self.options:
            _check_option(option)
        names = [str(option) for option in self.options]
        if len(set(names)) != len(names):  # such as 1 and "1": a table could not tell them apart
            raise ValueError(f"a choice needs distinct options, got {self.options}")
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"a choice needs distinct options, got {self.options}")

    def holds(self, value: Value) -> bool:
        """Return whether `value` is one of the options."""
        return value in self.options

    def parse(self, text: str) -> Value:
        """Return the option that a text names; raise ValueError if it names none."""
        return _parse(self, {str(option): option for option in self.options}.__getitem__, text)

    def at(self, u: float) -> Value:
        """Return the option at position `u` in [0, 1)."""
        return self.options[min(len(self.options) - 1, int(len(self.options) * u))]

    def position(self, value: Value) -> float:
        """Return the middle of all positions at which `at` gives `value`, in [0, 1]."""
        return (self.options.index(value) + 0.5) / len(self.options)

    def __str__(self) -> str:
        return " | ".join(str(option) for option in self.options) + _when(self.when)


Knob = Float | Int | Choice


def prior_position(knob: Knob, u: float) -> float:
    """Return the position in [0, 1) that is the quantile `u` of the knob's prior within its range.

    Without a prior it is `u`.
    """
    if isinstance(knob, Choice) or knob.prior is None:
        return u
    spread = knob.prior.spread
    if knob.log:
        sd = math.log(spread) / math.log(knob.high / knob.low)
    else:
        sd = spread / (knob.high - knob.low)
    normal = NormalDist(knob.position(knob.prior.centre), sd)
    below, above = normal.cdf(0.0), normal.cdf(1.0)
    share = min(1 - 1e-12, max(1e-12, below + u * (above - below)))
    return min(1 - 1e-12, max(0.0, normal.inv_cdf(share)))


def exists(knob: Knob, params: Params) -> bool:
    """Return whether `params` has the values that a conditional hyperparameter depends on."""
    return all(params.get(key) in alternatives(wanted) for key, wanted in knob.when.items())


def alternatives(wanted: Value | tuple[Value, ...]) -> tuple[Value, ...]:
    """Return the values that satisfy one entry of a condition."""
    return wanted if isinstance(wanted, tuple) else (wanted,)


def _share(value: float, low: float, high: float, log: bool) -> float:
    """Return where `value` lies between `low` (0) and `high` (1)."""
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def _parse(knob: Knob, read: Callable[[str], Value], text: str) -> Value:
    try:
        value = read(text)
    except (ValueError, KeyError):
        raise ValueError(f"{text!r} is not one of {knob}") from None
    if not knob.holds(value):
        raise ValueError(f"{text} is outside {knob}")
    return value


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_option(option: Value) -> None:
    """Raise ValueError unless JSON gives an option back as it was."""
    if isinstance(option, int):
        _check_whole(option)
    if isinstance(option, float) and not math.isfinite(option):
        raise ValueError(f"a number among the options of a choice must be finite, got {option}")
    if not isinstance(option, str | int | float | bool):
        raise ValueError(
            "the options of a choice are strings, numbers and booleans, which JSON keeps, not "
            f"{option!r}: give it a name, and look the name up in build"
        )
    if isinstance(option, str) and not option.isascii():
        try:
            option.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{option!r} is an option of a choice, but not valid text") from None


def _check_whole(number: int) -> None:
    """Raise ValueError for a whole number that ledgers and other readers of JSON refuse."""
    if not -_LARGEST <= number <= _LARGEST:
        raise ValueError(f"a whole number has 64 bits at most, got one of {number.bit_length()}")


def _check_range(low: float, high: float, log: bool) -> None:
    """Raise ValueError unless numbers can be drawn between the ends."""
    for end in (low, high):
        if not isinstance(end, int | float) or isinstance(end, bool):
            raise ValueError(f"the ends of a range are numbers, got {end!r}")
    if not low < high or not _is_finite(lambda: high - low):
        raise ValueError(f"a range needs finite ends, low < high; got {low} to {high}")
    if log and low <= 0:
        raise ValueError(f"a logarithmic range starts above 0, got {low}")
    if log and not _is_finite(lambda: high / low):
        raise ValueError(f"a logarithmic range needs a finite high / low, got {low} to {high}")


def _check_prior(knob: Float | Int) -> None:
    """Raise ValueError unless a prior's centre is in the range, and its spread is a width."""
    if knob.prior is None:
        return
    low, high = float(knob.low), float(knob.high)
    if not low <= knob.prior.centre <= high:
        raise ValueError(f"the centre of a prior lies in the range, {low:g} to {high:g}")
    if not knob.prior.spread > (1 if knob.log else 0) or not math.isfinite(knob.prior.spread):
        what = "a factor above 1" if knob.log else "above 0"
        raise ValueError(f"the spread of a prior is {what} here, got {knob.prior.spread}")


def _is_finite(compute: Callable[[], float]) -> bool:
    """Return whether a number can be computed and is a finite float."""
    try:
        return math.isfinite(compute())
    except OverflowError:
        return False


def _when(condition: When) -> str:
    texts = (
        f"{name} = {' | '.join(map(str, alternatives(wanted)))}"
        for name, wanted in condition.items()
    )
    return f", when {' and '.join(texts)}" if condition else ""
