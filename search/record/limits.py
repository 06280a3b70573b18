"""Limits of what a ledger may hold, whoever wrote it: ranges of numbers, depth, finite values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

MAX_TRIALS = 10_000_000
MAX_EPOCHS = 100_000
_TOLERANCE = 1e-6  # of the ends of a range: sums of accuracies are rounded
_MAX_DEPTH = 32  # of objects and lists in each other; ours have 6
_MAX_WHOLE = 2**63


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included and up to rounding.

    Args:
      low: the smallest number.
      high: the largest number.
    """

    low: float
    high: float

    def __contains__(self, number: float) -> bool:
        slack = _TOLERANCE * max(1.0, abs(number)) if isinstance(number, float) else 0
        return bool(self.low - slack <= number <= self.high + slack)

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**15)]
Seed = Annotated[int, Range(0, 2**62)]
TrialNumber = Annotated[int, Range(0, MAX_TRIALS)]
EpochNumber = Annotated[int, Range(1, MAX_EPOCHS)]
Seconds = Annotated[float, Range(0, 1e10)]  # 300 years
Clock = Annotated[float, Range(-1e11, 1e11)]  # seconds since 1970, as the machine has it


def find_unusable(plain: Mapping[str, Any]) -> str:
    """Return in words what no JSON object of ours holds, and under which key; "" if nothing is.

    Numbers that are not finite or have more than 64 bits, halves of surrogate pairs, and values
    that are nested so deeply that they exhaust the stack of whoever walks through them.
    """
    if _all_usual(plain, 0):
        return ""
    for key, value in plain.items():
        if not _is_text(str(key)):
            return "the name of a key is no text"
        if wrong := _find_unusable_value(value, 1):
            return f"key {shorten(key)} holds {wrong}"
    return ""


def _all_usual(container: Any, depth: int) -> bool:
    """Return whether all values in a dictionary or list are plainly usable.

    A ledger holds millions of values, so this decides quickly on the usual types of JSON; where it
    says no, the other functions look more closely.
    """
    values = container
    if type(container) is dict:
        try:
            usual = "".join(container).isascii()
        except TypeError:  # a key that is no text
            return False
        if not usual:
            return False
        values = container.values()
    for value in values:
        kind = type(value)
        if kind is float:
            usual = math.isfinite(value)
        elif kind is str:
            usual = value.isascii()
        elif kind is int:
            usual = -_MAX_WHOLE < value < _MAX_WHOLE
        elif kind is dict or kind is list:
            usual = depth < _MAX_DEPTH and _all_usual(value, depth + 1)
        else:
            usual = value is None or kind is bool
        if not usual:
            return False
    return True


def _find_unusable_value(value: Any, depth: int) -> str:
    """Return what is wrong with a value, "" if nothing is."""
    if not isinstance(value, dict | list | tuple):
        return _find_unusable_leaf(value)
    if depth > _MAX_DEPTH:
        return f"objects or lists nested more than {_MAX_DEPTH} deep"
    if isinstance(value, dict):
        if not _is_text("".join(value)):
            return "a key that is no text"
        value = value.values()
    for one in value:
        if wrong := _find_unusable_value(one, depth + 1):
            return wrong
    return ""


def _find_unusable_leaf(value: Any) -> str:
    wrong = ""
    if isinstance(value, str):
        wrong = "" if _is_text(value) else f"{shorten(value)}, which is no text"
    elif isinstance(value, float):
        wrong = "" if -math.inf < value < math.inf else f"{value}, not a finite number"
    elif isinstance(value, int) and not -_MAX_WHOLE < value < _MAX_WHOLE:
        wrong = f"a whole number of {value.bit_length()} bits, 64 are the limit"
    return wrong


def _is_text(text: str) -> bool:
    """Return whether a text can be the name of a file; half of a surrogate pair can not."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def shorten(value: Any, limit: int = 40) -> str:
    """Return a value as Python writes it, cut off after `limit` characters."""
    if isinstance(value, int) and abs(value) >= _MAX_WHOLE:
        return f"a whole number of {value.bit_length()} bits"
    if isinstance(value, str):
        value = value[: limit + 1]
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
