"""Write values as Python expressions, and parse them again without running any code.

A recipe travels in a checkpoint or on a command line as the expression that builds it, such as
`Recipe(net=BigNet(width=2), defences=(RSE(0.2, 0.1),))`. The parser knows the dataclasses of `adv`
and plain literals only: it looks up no other name, and evaluates and unpickles nothing. An
`External` names code that making its net would run; parsing it runs nothing.
"""

from __future__ import annotations

import ast
import math
from dataclasses import fields, is_dataclass
from typing import Any

from adv.one_line import join_lines
from adv.suggestions import suggest

_CONSTANTS = {"inf": math.inf, "nan": math.nan}
_LONGEST = 200_000  # characters; a recipe has some thousand at most
_LITERALS = (str, int, float, bool, type(None))


def parse(text: str) -> Any:
    """Return the value of an expression.

    Raises:
      ValueError: `text` is not such an expression, names a class that `adv` does not have, or
        gives a class settings that it refuses.
    """
    if len(text) > _LONGEST:
        raise ValueError(
            f"this is not an expression of {_LONGEST} characters or less: its length is {len(text)}"
        )
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, UnicodeEncodeError, RecursionError, MemoryError) as error:
        raise ValueError(f"this is not an expression: {_shorten(text)}") from error


def to_expression(value: Any) -> str:
    """Return the expression that builds `value`.

    Raises:
      ValueError: parsing it would not give an equal value, because it holds something that `parse`
        does not know, such as a class of your own.
    """
    text = repr(value)
    if parse(text) != value:
        raise ValueError(f"this cannot be written as an expression: {_shorten(text)}")
    return text


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value) if isinstance(value, _LITERALS):
            return value
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Call):
            return -_number(operand)
        case ast.Name(name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Tuple(items) | ast.List(items):
            return (tuple if isinstance(node, ast.Tuple) else list)(map(_value, items))
        case ast.Dict(keys, values) if all(_is_text(key) for key in keys):
            return {_value(k): _value(v) for k, v in zip(keys, values, strict=True) if k}
        case ast.Call(ast.Name(name), arguments, keywords):
            settings = {k.arg: _value(k.value) for k in keywords if k.arg is not None}
            if len(settings) == len(keywords):
                return _construct(name, [_value(a) for a in arguments], settings)
    raise ValueError(f"neither a value of adv nor a literal: {_shorten(ast.unparse(node))}")


def _is_text(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"not a number: {_shorten(ast.unparse(node))}")
    return value


def _construct(name: str, arguments: list[Any], settings: dict[str, Any]) -> Any:
    # The only import of the face from inside `adv`. An expression may name any public value, from
    # whatever package; so the names are looked up at the time of the call, when all are loaded.
    import adv

    names = dir(adv)
    found = getattr(adv, name) if name in names else None
    if not (isinstance(found, type) and is_dataclass(found)):
        near = suggest(name, set(names) - {name})
        raise ValueError(f"adv has no value called {name!r}{near}")
    try:
        return found(*arguments, **settings)
    except ValueError:
        raise
    except TypeError as error:
        raise ValueError(f"{name}: {error}{_nearest_setting(found, settings)}") from error
    except Exception as error:  # settings of any type meet checks that are written for theirs
        raise ValueError(f"{name}: {type(error).__name__}: {_shorten(str(error))}") from error


def _nearest_setting(found: type[Any], settings: dict[str, Any]) -> str:
    """Return a hint at the right name of a setting, "" if none of `settings` is close to one."""
    names = [field.name for field in fields(found)]
    for wrong in set(settings).difference(names):
        if meant := suggest(wrong, names):
            return meant
    return ""


def _shorten(text: str) -> str:
    text = join_lines(text)
    return text if len(text) <= 80 else f"{text[:77]}..."
