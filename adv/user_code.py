"""Run a Python file of the user's, and only one that the user has named in this call.

A run folder or a checkpoint may name a file too (a space, a net, a battery). Such a file is not
run for that: whoever opens a folder of somebody else's has not asked for its code. The command
line calls `name_file` for each file that its user wrote down, and `run_file` runs no other.

Nothing here imports torch, so that the command line answers mistakes at once.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from adv.one_line import join_lines
from adv.suggestions import suggest

_named: set[str] = set()
_loaded: dict[tuple[str, str], ModuleType] = {}
_objects: dict[str, Any] = {}
PYTHON = "python:"
"""The beginning of a reference to an object that was given in Python, and not by a file."""


class UserCodeError(ValueError):
    """A file or an object of the user's cannot be used; the message is one line."""


def name_file(path: Path | str) -> Path:
    """Note that the user has named a file, so that it may be run; return its absolute path.

    Raises:
      UserCodeError: there is no such file, or its name does not end in .py.
    """
    file = Path(path).expanduser().absolute()
    if file.suffix != ".py":
        raise UserCodeError(f"{path} is not a Python file: its name ends in .py")
    if not file.is_file():
        near = suggest(file.name, (one.name for one in file.parent.glob("*.py")))
        raise UserCodeError(f"no file {path}{near}")
    _named.add(str(file))
    return file


def named_files() -> tuple[str, ...]:
    """Return the files that may be run, for a worker process to `trust`."""
    return tuple(sorted(_named))


def trust(files: Iterable[str]) -> None:
    """Allow files that the user has named in the process that started this one."""
    _named.update(files)


def run_file(path: Path | str) -> ModuleType:
    """Run a file that the user has named, and return its module; an unchanged file is run once.

    Raises:
      UserCodeError: the user has not named it, or it fails; the message names its line.
    """
    file = Path(path).expanduser().absolute()
    if str(file) not in _named:
        raise UserCodeError(f"{file} is code that was not named in this command, so it is not run")
    key = str(file), hash_source(file)
    if key not in _loaded:
        _loaded[key] = _run(file, key[1])
    return _loaded[key]


def load_object(reference: str) -> Any:
    """Return what `path.py:name` or `package.module:name` names.

    Raises:
      UserCodeError: there is no such file, module or name, or running it fails.
    """
    if reference in _objects:
        return _objects[reference]
    if reference.startswith(PYTHON):
        raise UserCodeError(
            f"{reference} was given from Python, and only study.resume() there has it again"
        )
    place, name = split_reference(reference)
    if place.endswith(".py"):
        module = run_file(place)
    else:
        try:
            module = importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise UserCodeError(f"cannot import {place}: {describe_failure(error)}") from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = [key for key in vars(module) if key[0] != "_"]
            raise UserCodeError(f"{place} has no {name!r}{suggest(part, names)}")
        found = getattr(found, part)
    return found


def register_object(kind: str, found: Any) -> str:
    """Return a reference to an object of this process, which `load_object` gives back.

    Args:
      kind: what it is, such as "space".
      found: the object; the same one has the same reference.
    """
    for reference, known in _objects.items():
        if known is found:
            return reference
    reference = f"{PYTHON}{kind}_{len(_objects)}"
    _objects[reference] = found
    return reference


def registered_objects(references: Iterable[str]) -> dict[str, Any]:
    """Return those of some references that name objects of this process."""
    return {reference: _objects[reference] for reference in references if reference in _objects}


def register_all(objects: Mapping[str, Any]) -> None:
    """Register objects that were given in the process that started this one."""
    _objects.update(objects)


def split_reference(reference: str) -> tuple[str, str]:
    """Return the file or module and the name of a reference such as `path.py:name`.

    Raises:
      UserCodeError: it is not written so.
    """
    place, sign, name = reference.rpartition(":")
    if not sign or not place or not all(part.isidentifier() for part in name.split(".")):
        raise UserCodeError(f"{reference!r}: write path.py:NAME or package.module:NAME")
    return place, name


def hash_source(path: Path | str) -> str:
    """Return 12 hex digits of the SHA-256 of a file.

    Raises:
      UserCodeError: it cannot be read.
    """
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()[:12]
    except OSError as error:
        raise UserCodeError(f"cannot read {path}: {error.strerror or error}") from None


def describe_failure(error: BaseException, file: Path | None = None) -> str:
    """Return an error in one line of at most 300 characters, with its line in `file` if known."""
    text = f"{type(error).__name__}: {join_lines(str(error))}"
    line = None
    if isinstance(error, SyntaxError):
        text, line = f"{type(error).__name__}: {join_lines(error.msg)}", error.lineno
    elif file is not None:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((one.lineno for one in reversed(frames) if one.filename == str(file)), None)
    return (f"line {line}: {text}" if line else text)[:300]


class _Loader(SourceFileLoader):
    """Compiles a file anew at each import, and writes no bytecode beside it.

    Bytecode is told from its source by whole seconds and the size: too coarse for a file that is
    changed and run again at once.
    """

    def path_stats(self, path: Any) -> Any:
        raise OSError("no bytecode is read or written")


def _run(file: Path, digest: str) -> ModuleType:
    name = f"_user_{file.stem}_{digest}"
    loader = _Loader(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None and spec.loader is not None, "its name ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look there
    if str(file.parent) not in sys.path:
        sys.path.insert(0, str(file.parent))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise anything
        sys.modules.pop(spec.name, None)
        raise UserCodeError(f"cannot use {file}, {describe_failure(error, file)}") from error
    return module
