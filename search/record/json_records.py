"""Frozen dataclasses that are read from JSON objects: types are checked, unknown keys are kept.

The default of a field stands for "not recorded". A field `extra` holds the keys that this version
of the program does not know. So a file of a newer version, or of a user's
own program, is read and written back without loss.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

Record = TypeVar("Record")
EXTRA = "extra"
OBJECT = Mapping[str, Any]


class FieldError(ValueError):
    """A key of a JSON object is missing or holds a value of the wrong type; one line names it."""


def from_json(record: type[Record], plain: Mapping[str, Any]) -> Record:
    """Return the record that a JSON object holds.

    Args:
      record: a dataclass with a field `extra`.
      plain: the object; a key that is missing, or null, gives the field's default.

    Raises:
      FieldError: a value is not of its field's type, or a field without default has none.
    """
    of: Any = record
    kinds = _field_types(of)
    known = {
        key: _convert(kinds[key], value, key)
        for key, value in plain.items()
        if key in kinds and value is not None
    }
    extra = {key: value for key, value in plain.items() if key not in kinds}
    for one in fields(of):
        if one.name not in known and _default(one) is MISSING:
            raise FieldError(f"key {one.name!r} is missing")
    return record(**known, **({EXTRA: extra} if extra else {}))


def to_json(record: Any) -> dict[str, Any]:
    """Return the JSON object of a record, without the fields that hold their default."""
    plain = {
        one.name: value
        for one in fields(record)
        if one.name != EXTRA and (value := getattr(record, one.name)) != _default(one)
    }
    return {key: _plain(value) for key, value in plain.items()} | dict(record.extra)


def check(record: Any) -> None:
    """Raise FieldError unless each field of a record holds its default or a value of its type."""
    for one in fields(record):
        value = getattr(record, one.name)
        if one.name != EXTRA and value is not None and value != _default(one):
            _convert(_field_types(record.__class__)[one.name], value, one.name)


def read_key(plain: Mapping[str, Any], key: str, kind: Any) -> Any:
    """Return the value of a key that has to be there.

    Args:
      plain: a JSON object.
      key: of the value.
      kind: its type, as in an annotation: `int`, `Mapping[str, Any]`, `str | None`, ...

    Raises:
      FieldError: the key is missing, or its value is of another type.
    """
    if key not in plain:
        raise FieldError(f"key {key!r} is missing")
    value = plain[key]
    exact = type(value)
    if exact is kind or (exact is dict and kind is OBJECT):  # fast: a ledger may have a million
        return value
    return _convert(kind, value, key)


@lru_cache
def _field_types(record: Any) -> dict[str, Any]:
    hints = get_type_hints(record)
    return {one.name: hints[one.name] for one in fields(record) if one.name != EXTRA}


_ACCEPTED: Mapping[Any, Any] = {
    int: (int, Integral),
    float: (float, int, Real),
    Mapping: (dict, Mapping),
    Sequence: (list, tuple),
}
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Mapping: "an object",
    Sequence: "a list",
    tuple: "a list",
}


def _convert(kind: Any, value: Any, key: str) -> Any:
    """Return `value` as a `kind`, or raise FieldError."""
    if kind is Any:
        return value
    origin = get_origin(kind)
    if origin in (types.UnionType, Union):
        options = [option for option in get_args(kind) if option is not types.NoneType]
        if value is None and len(options) < len(get_args(kind)):
            return None
        return _convert(options[0], value, key)
    if origin is tuple:
        return _tuple(kind, value, key)
    if origin is None and is_dataclass(kind):
        return _nested(kind, value, key)
    expected = _ACCEPTED.get(origin or kind, kind)
    if not isinstance(value, expected) or (isinstance(value, bool) and kind is not bool):
        raise _wrong(origin or kind, value, key)
    return value


def _nested(kind: Any, value: Any, key: str) -> Any:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(Mapping, value, key)
    try:
        return from_json(kind, value)
    except FieldError as error:
        raise FieldError(f"{key}: {error}") from None


def _tuple(kind: Any, value: Any, key: str) -> Any:
    parts = get_args(kind)
    if not isinstance(value, list | tuple):
        raise _wrong(tuple, value, key)
    if len(value) != len(parts):
        raise FieldError(f"key {key!r} holds {len(value)} values, not {len(parts)}")
    return tuple(_convert(part, item, key) for part, item in zip(parts, value, strict=True))


def _wrong(kind: Any, value: Any, key: str) -> FieldError:
    text = repr(value)
    short = text if len(text) <= 40 else f"{text[:40]}..."
    return FieldError(f"key {key!r} holds {short}, not {_WORDS[kind]}")


def _default(one: Field[Any]) -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()


def _plain(value: Any) -> Any:
    return to_json(value) if is_dataclass(value) else value
