"""Frozen dataclasses that are read from JSON objects: types are checked, unknown keys are kept.

The default of a field stands for "not recorded". A field `extra` holds the keys that this version
of the program does not know, so a file of a newer version, or of a user's own program, is read and
written back without loss.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from numbers import Integral, Real
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from search.record.limits import Range, shorten

Record = TypeVar("Record")
OBJECT = Mapping[str, Any]
EXTRA = "extra"


class FieldError(ValueError):
    """A key of a JSON object is missing or holds a value that cannot be; one line names it."""


def from_json(record: type[Record], plain: Mapping[str, Any]) -> Record:
    """Return the record that a JSON object holds.

    Args:
      record: a dataclass with a field `extra`.
      plain: the object; a key that is missing, or null, gives the field's default.

    Raises:
      FieldError: a value is not of its field's type, or a field without default has none.
    """
    kind: Any = record
    schema = _schema(kind)
    values = {
        name: convert(plain[name], name)
        for name, (convert, _) in schema.items()
        if plain.get(name) is not None
    }
    for name, (_, default) in schema.items():
        if default is MISSING and name not in values:
            raise FieldError(f"key {name!r} is missing")
    extra = {key: value for key, value in plain.items() if key not in schema}
    return record(**values, **({EXTRA: extra} if extra else {}))


def to_json(record: Any) -> dict[str, Any]:
    """Return the JSON object of a record, without the fields that hold their default."""
    plain = {
        name: getattr(record, name)
        for name, (_, default) in _schema(record.__class__).items()
        if getattr(record, name) != default
    }
    nested = {name: to_json(value) for name, value in plain.items() if is_dataclass(value)}
    return {**plain, **nested, **record.extra}


def check(record: Any) -> None:
    """Raise FieldError unless each field of a record holds its default or a value of its type."""
    for name, (convert, default) in _schema(record.__class__).items():
        value = getattr(record, name)
        if value is not None and value != default:
            convert(value, name)


def read_key(plain: Mapping[str, Any], key: str, kind: Any) -> Any:
    """Return the value of a key that has to be there.

    Args:
      plain: a JSON object.
      key: of the value.
      kind: its type, as in an annotation: `int`, `Mapping[str, Any]`, `str | None`, ...

    Raises:
      FieldError: the key is missing, or its value is of another type.
    """
    return key_reader(key, kind)(plain)


def key_reader(key: str, kind: Any) -> Callable[[OBJECT], Any]:
    """Return a function that does what `read_key` does, prepared for what is read very often."""
    convert = _converter(kind)

    def read(plain: OBJECT) -> Any:
        if key not in plain:
            raise FieldError(f"key {key!r} is missing")
        return convert(plain[key], key)

    return read


Converter = Callable[[Any, str], Any]  # a value and its key, to the value in its field's type


@lru_cache
def _schema(record: Any) -> Mapping[str, tuple[Converter, Any]]:
    """Return the converter and the default of each field, MISSING for no default."""
    hints, schema = get_type_hints(record, include_extras=True), {}
    for one in fields(record):
        default = one.default if one.default_factory is MISSING else one.default_factory()
        schema[one.name] = (_converter(hints[one.name]), default)
    del schema[EXTRA]
    return schema


@lru_cache  # a ledger may hold a million values, of a few types
def _converter(kind: Any) -> Converter:
    """Return a function that returns a value as a `kind`, or raises FieldError."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        made = _range_converter(_converter(parts[0]), parts[1])
    elif origin in (types.UnionType, Union):
        made = _union_converter(parts)
    elif origin is tuple:
        made = _tuple_converter([_converter(part) for part in parts])
    elif origin in (Mapping, Sequence) and parts[-1] is not Any:
        made = _items_converter(origin, _converter(parts[-1]), _usual_types(parts[-1]))
    elif origin is None and is_dataclass(kind):
        made = _record_converter(kind)
    else:
        made = _type_converter(origin or kind)
    return made


_USUAL: Mapping[Any, tuple[type, ...]] = {
    int: (int,),
    float: (float, int),
    Mapping: (dict,),
    Sequence: (list, tuple),
}
_UNUSUAL: Mapping[Any, type] = {int: Integral, float: Real}  # numpy's numbers
_WORDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Mapping: "an object",
    Sequence: "a list",
}


def _type_converter(kind: Any) -> Converter:
    if kind is Any:
        return lambda value, _: value
    usual, unusual = _USUAL.get(kind, (kind,)), _UNUSUAL.get(kind, kind)
    words = _WORDS[kind]

    def convert(value: Any, key: str) -> Any:
        if type(value) in usual:
            return value
        if not isinstance(value, unusual) or (isinstance(value, bool | str) and kind is not str):
            raise _wrong(words, value, key)
        return value

    return convert


def _usual_types(kind: Any) -> set[type]:
    """Return the types of which each value is a `kind`, without a closer look; maybe none."""
    if get_origin(kind) in (types.UnionType, Union):
        return {usual for part in get_args(kind) for usual in _usual_types(part)}
    return {*_USUAL.get(kind, (kind,))} if kind in _WORDS else set()


def _range_converter(convert_type: Converter, allowed: Range) -> Converter:
    low, high = allowed.low, allowed.high

    def convert(value: Any, key: str) -> Any:
        convert_type(value, key)
        if not (low <= value <= high or value in allowed):
            raise _wrong(str(allowed), value, key)
        return value

    return convert


def _union_converter(parts: Sequence[Any]) -> Converter:
    """Return a converter to "... or None", or to one of several plain types."""
    optional = type(None) in parts
    kinds = [part for part in parts if part is not type(None)]
    inner = _converter(kinds[0])
    usual = {kind for part in kinds for kind in _USUAL.get(part, (part,))}

    def convert(value: Any, key: str) -> Any:
        if value is None and optional:
            return None
        if len(kinds) == 1:
            return inner(value, key)
        if type(value) not in usual:
            raise _wrong(" or ".join(_WORDS[kind] for kind in kinds), value, key)
        return value

    return convert


def _items_converter(kind: Any, convert_item: Converter, usual: set[type]) -> Converter:
    convert_type = _type_converter(kind)

    def convert(value: Any, key: str) -> Any:
        convert_type(value, key)
        if usual.issuperset(map(type, value.values() if kind is Mapping else value)):
            return value
        for name, item in value.items() if kind is Mapping else enumerate(value):
            try:
                convert_item(item, key)
            except FieldError:  # to name each item of a million would take longer than to read it
                convert_item(item, f"{key}.{name}"[:80])
        return value

    return convert


def _tuple_converter(parts: Sequence[Converter]) -> Converter:
    def convert(value: Any, key: str) -> Any:
        if not isinstance(value, list | tuple):
            raise _wrong(_WORDS[Sequence], value, key)
        if len(value) != len(parts):
            raise FieldError(f"key {key!r} holds {len(value)} values, not {len(parts)}")
        return tuple(part(item, key) for part, item in zip(parts, value, strict=True))

    return convert


def _record_converter(record: Any) -> Converter:
    def convert(value: Any, key: str) -> Any:
        if isinstance(value, record):
            return value
        if not isinstance(value, Mapping):
            raise _wrong(_WORDS[Mapping], value, key)
        try:
            return from_json(record, value)
        except FieldError as error:
            raise FieldError(f"{key}: {error}") from None

    return convert


def _wrong(words: str, value: Any, key: str) -> FieldError:
    return FieldError(f"key {key!r} holds {shorten(value)}, not {words}")
