"""Find the callable that a reference names, and tell whether its source has changed.

A reference is `package.module:callable` or `path.py:callable`. Resolving one runs the code of the
module, as an import does; so it is done only for what the user has named.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from adv.one_line import join_lines
from adv.user_code import load_object, name_file

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
    place, _ = parse_reference(reference)
    if is_file(place):
        name_file(place)
    found = load_object(reference)
    if not is_maker(found):
        raise ValueError(f"{reference} is a {type(found).__name__}, and nothing to call")
    return found


def is_maker(value: object) -> bool:
    """Return whether a value may be named by a reference: something to call, or a module."""
    return callable(value) or isinstance(value, nn.Module)


def hash_code(maker: object, net: nn.Module) -> str:
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


def one_line(error: BaseException) -> str:
    """Return an exception as one line of at most 300 characters."""
    return f"{type(error).__name__}: {join_lines(str(error))}"[:300]
