"""Values as text. `repr` writes one; `read` reads it back without running anything.

A recipe travels in a checkpoint or on a command line as the expression that makes it, such as
`Recipe(net=BigNet(width=2), defences=(RSE(0.2, 0.1),))`. Only the dataclasses of `adv` and plain
literals are known here: no name is looked up anywhere else, and nothing is evaluated or unpickled.
"""

from __future__ import annotations

import ast
import math
from dataclasses import fields, is_dataclass
from typing import Any

from adv.suggestions import suggest

_WORDS = {"inf": math.inf, "nan": math.nan}
_LITERALS = (str, int, float, bool, type(None))


def read(text: str) -> Any:
    """The value that `text` writes.

    Raises:
      ValueError: it is no such expression, a class is not one of `adv`, or refuses its settings.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"this is not an expression: {_short(text)}") from error


def written(value: Any) -> str:
    """The expression that makes `value`.

    Raises:
      ValueError: reading it would not give an equal value, because it holds what `read` does not
        know, such as a class of your own.
    """
    text = repr(value)
    if read(text) != value:
        raise ValueError(f"this cannot be written as an expression: {_short(text)}")
    return text


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value) if isinstance(value, _LITERALS):
            return value
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Call):
            return -_number(operand)
        case ast.Name(name) if name in _WORDS:
            return _WORDS[name]
        case ast.Tuple(items):
            return tuple(_value(item) for item in items)
        case ast.Call(ast.Name(name), arguments, keywords):
            given = {k.arg: _value(k.value) for k in keywords if k.arg is not None}
            if len(given) == len(keywords):
                return _made(name, [_value(a) for a in arguments], given)
    raise ValueError(f"neither a value of adv nor a literal: {_short(ast.unparse(node))}")


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a number: {_short(ast.unparse(node))}")
    return value


def _made(name: str, arguments: list[Any], settings: dict[str, Any]) -> Any:
    import adv

    names = dir(adv)
    found = getattr(adv, name) if name in names else None
    if not (isinstance(found, type) and is_dataclass(found)):
        near = suggest(name, set(names) - {name})
        raise ValueError(f"adv has no value called {name!r}{near}")
    try:
        return found(*arguments, **settings)
    except TypeError as error:
        raise ValueError(f"{name}: {error}{_meant(found, settings)}") from error


def _meant(found: type[Any], settings: dict[str, Any]) -> str:
    """The setting of a class that was meant, where a name among `settings` is none of its own."""
    names = [field.name for field in fields(found)]
    for wrong in set(settings).difference(names):
        if meant := suggest(wrong, names):
            return meant
    return ""


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:77]}..."
