"""Search spaces: one file, one question. The file's name is its name on the command line."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

from adv.one_line import join_lines
from adv.suggestions import suggest_or_list
from spaces._knob import Choice as Choice
from spaces._knob import Float as Float
from spaces._knob import Int as Int
from spaces._knob import Knob as Knob
from spaces._knob import Params as Params
from spaces._knob import Prior as Prior
from spaces._knob import Value as Value
from spaces._knob import exists as exists
from spaces._knob import prior_position as prior_position
from spaces._scale import DEFAULT_SCORE as DEFAULT_SCORE
from spaces._scale import FIRST_SCORE as FIRST_SCORE
from spaces._scale import SCALES as SCALES
from spaces._scale import SCORES as SCORES
from spaces._scale import Scale as Scale
from spaces._scale import default_text as default_text
from spaces._scale import scale as scale
from spaces._space import OBJECTIVES as OBJECTIVES
from spaces._space import Space as Space


def names() -> tuple[str, ...]:
    """Return the names of all spaces, sorted."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_"))


def load(name: str) -> Space:
    """Load the space called `name`.

    Raises:
      ValueError: there is none, and the message suggests the nearest one; or its file cannot be
        imported or holds no space, and the message says why, in one line.
    """
    if name not in names():
        raise ValueError(f"no space {name!r}{suggest_or_list(name, names())}")
    space = getattr(_import(name), "space", None)
    if not isinstance(space, Space):
        raise ValueError(f"cannot use {_file(name)}: it has no `space = Space(...)`")
    try:
        space.check_names()
    except ValueError as error:
        raise ValueError(f"cannot use {_file(name)}: {error}") from None
    return space


def docstring(name: str) -> str:
    """Return the docstring of the file of the space `name`."""
    return _import(name).__doc__ or ""


def _import(name: str) -> ModuleType:
    """Return the module of a space; raise ValueError if it cannot be imported."""
    try:
        return importlib.import_module(f"spaces.{name}")
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        reason = join_lines(f"{type(error).__name__}: {error}")
        raise ValueError(f"cannot use {_file(name)}: {reason}") from error


def _file(name: str) -> str:
    return f"spaces/{name}.py"
