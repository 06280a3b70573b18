"""Find the callable that a reference names, and tell whether its source has changed.

A reference is `package.module:callable` or `path.py:callable`. Resolving one runs the code of the
module, as an import does; so it is done only for what the user has named.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from adv.one_line import join_lines
from adv.suggestions import suggest

HOW = "write package.module:callable or path.py:callable"
_OWN = ("torch", "adv")  # packages whose layers a version number describes, not their source


def parse_reference(reference: str) -> tuple[str, str]:
    """Return the module and the callable of a reference; the path of a file is made absolute.

    Raises:
      ValueError: it is not a reference; nothing is imported.
    """
    place, sign, name = reference.rpartition(":")
    if not (sign and place and all(part.isidentifier() for part in name.split("."))):
        raise ValueError(f"{reference!r} names no callable: {HOW}")
    if is_file(place):
        return str(Path(place).expanduser().absolute()), name
    if not all(part.isidentifier() for part in place.split(".")) or Path(place).is_file():
        raise ValueError(f"{place} is not a Python file, whose name ends in .py: {HOW}")
    return place, name


def is_file(place: str) -> bool:
    """Return whether the module of a reference is the path of a file."""
    return place.endswith(".py")


def resolve(reference: str) -> Any:
    """Import the module of a reference and return what it calls by that name.

    Raises:
      ValueError: in one line: there is no such module, it fails, or it has no such callable.
    """
    place, name = parse_reference(reference)
    found: Any = _import_file(Path(place)) if is_file(place) else _import_module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            names = [key for key, value in vars(found).items() if is_maker(value)]
            raise ValueError(f"{place} has no {name!r} to call{suggest(part, names)}")
        found = getattr(found, part)
    if not is_maker(found):
        raise ValueError(f"{place} has no {name!r} to call: it is a {type(found).__name__}")
    return found


def is_maker(value: object) -> bool:
    """Return whether a value may be named by a reference: something to call, or a module."""
    return callable(value) or isinstance(value, nn.Module)


def hash_source(maker: object, net: nn.Module) -> str:
    """Return a SHA-256 over the files of a callable and of the net's layers, "" if there are none.

    Layers of torch and of this program are left out. The folder in which a file lies does not
    count, nor does what the files import besides.

    Args:
      maker: what made the net.
      net: the net.
    """
    makers = [maker, *(type(module) for module in net.modules())]
    files = {file for one in makers for file in _source_files(one)}
    digests = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def _source_files(maker: Any) -> Iterator[Path]:
    """Yield the file in which a function or class is defined, unless it is torch's or ours."""
    if isinstance(maker, nn.Module):
        maker = type(maker)
    if str(getattr(maker, "__module__", "")).partition(".")[0] in _OWN:
        return
    try:
        file = inspect.getsourcefile(inspect.unwrap(maker))
    except (TypeError, ValueError):  # built in, a partial, or wrapped around itself
        return
    if file is not None and Path(file).is_file():
        yield Path(file)


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ValueError(
                f"no module {name}: install its package, or name a file, path.py:callable"
            ) from error
        raise ValueError(f"{name} fails: {one_line(error)}") from error
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} fails: {one_line(error)}") from error


class _Loader(SourceFileLoader):
    """Compiles a file anew at each import, and writes no bytecode beside it."""

    def path_stats(self, path: Any) -> Any:
        raise OSError("no bytecode is read or written")


def _import_file(path: Path) -> ModuleType:
    """Run a file as a module, once for each content that it has had."""
    if not path.is_file():
        raise ValueError(f"no file {path}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    name = f"_external_{digest}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path, loader=_Loader(name, str(path)))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look there
    folder = str(path.parent.resolve())
    if folder not in sys.path:
        sys.path.insert(0, folder)  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, Exception | SystemExit):
            raise ValueError(f"{path} fails: {one_line(error)}") from error
        raise
    return module


def one_line(error: BaseException) -> str:
    """Return an exception as one line of at most 300 characters."""
    return f"{type(error).__name__}: {join_lines(str(error))}"[:300]
