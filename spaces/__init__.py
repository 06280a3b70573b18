"""Search spaces: one file, one question. The file's name is its name on the command line."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from adv.one_line import join_lines
from adv.suggestions import suggest_or_list
from adv.user_code import PYTHON, describe_failure, load_object, run_file
from spaces._knob import Choice as Choice
from spaces._knob import Float as Float
from spaces._knob import Int as Int
from spaces._knob import Knob as Knob
from spaces._knob import Params as Params
from spaces._knob import Prior as Prior
from spaces._knob import Value as Value
from spaces._knob import exists as exists
from spaces._knob import prior_position as prior_position
from spaces._narrow import narrow as narrow
from spaces._narrow import settings_near as settings_near
from spaces._objectives import FIGURES as FIGURES
from spaces._objectives import OBJECTIVES as OBJECTIVES
from spaces._objectives import Objective as Objective
from spaces._objectives import certified_radius as certified_radius
from spaces._objectives import check_objectives as check_objectives
from spaces._objectives import find_objective as find_objective
from spaces._objectives import is_certified as is_certified
from spaces._objectives import parse_objectives as parse_objectives
from spaces._scale import DEFAULT_SCORE as DEFAULT_SCORE
from spaces._scale import FIRST_SCORE as FIRST_SCORE
from spaces._scale import SCALES as SCALES
from spaces._scale import SCORES as SCORES
from spaces._scale import Scale as Scale
from spaces._scale import default_text as default_text
from spaces._scale import scale as scale
from spaces._space import Baseline as Baseline
from spaces._space import Space as Space
from spaces._threat_model import REPORT as REPORT
from spaces._threat_model import THREAT_MODELS as THREAT_MODELS
from spaces._threat_model import parse_threat_model as parse_threat_model
from spaces._threat_model import score_label as score_label


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
    return _space_of(_import(name), _file(name))


def load_file(path: Path | str) -> Space:
    """Run a file that the user has named, and return its space.

    Raises:
      ValueError: the user has not named it; or it fails, and the message says in which line; or it
        holds no space.
    """
    return _space_of(run_file(path), str(path))


def load_any(reference: str) -> Space:
    """Return the space of that name, or of the file whose path ends in .py.

    Raises:
      ValueError: as `load` and `load_file`.
    """
    if reference.startswith(PYTHON):
        found = load_object(reference)
        assert isinstance(found, Space), "the face of Python registers spaces as such"
        return found
    return load_file(reference) if is_file(reference) else load(reference)


def is_file(reference: str) -> bool:
    """Return whether a space is one of a file of the user's."""
    return reference.endswith(".py")


def title(reference: str) -> str:
    """Return the name of a space: for a file that of the file, without its folder and suffix."""
    return Path(reference).stem if is_file(reference) else reference


def _space_of(module: ModuleType, file: str) -> Space:
    space = getattr(module, "space", None)
    if not isinstance(space, Space):
        raise ValueError(f"cannot use {file}: it has no `space = Space(...)`")
    try:
        space.check_names()
    except ValueError as error:
        raise ValueError(f"cannot use {file}: {error}") from None
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
        if isinstance(error, SyntaxError):
            reason = describe_failure(error)
        raise ValueError(f"cannot use {_file(name)}: {reason}") from error


def _file(name: str) -> str:
    return f"spaces/{name}.py"
