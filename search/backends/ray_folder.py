"""The folder of a private cluster: its sockets, logs and objects, for this user only.

Ray opens its own folders to every user of the machine, so they lie inside one that is closed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from search.backends.ray_nodes import ClusterError
from search.backends.scratch import make_scratch, remove_scratch, sweep

LONGEST = 22  # bytes of a path in which Ray's sockets, 85 bytes further down, stay below 107
LEAST_FREE = 50_000_000  # bytes that the logs of a long search may need


def make_ray_folder() -> Path:
    """Make a folder with mode 0700 for a private cluster, and return the one inside it for Ray.

    It lies in RAY_TMPDIR, in TMPDIR, or, where these cannot hold Ray's sockets, in `/tmp`,
    `/var/tmp` or `/dev/shm`.

    Raises:
      ClusterError: none of them will do; the message says why not.
    """
    named = {f"{name} ({os.environ[name]})": os.environ[name] for name in _set_variables()}
    problems = []
    for label, parent in {**named, **{path: path for path in _COMMON}}.items():
        if problem := _find_problem(parent):
            problems.append(f"{label} {problem}")
            continue
        return make_scratch(Path(parent)) / "r"
    raise ClusterError(
        f"Ray finds no folder for its sockets: {'; '.join(problems)}. Set RAY_TMPDIR to a folder "
        "with room and a short path, or use --serial"
    )


def remove_ray_folder(folder: Path) -> None:
    """Remove what `make_ray_folder` has made; nothing if `folder` is another one."""
    remove_scratch(folder.parent)


def sweep_ray_folders() -> str:
    """Remove what killed drivers have left; return a line that says so, "" for nothing."""
    variables = [os.environ[name] for name in _set_variables()]
    return sweep((*variables, tempfile.gettempdir(), *_COMMON)).describe()


_COMMON = ("/tmp", "/var/tmp", "/dev/shm")


def _set_variables() -> list[str]:
    return [name for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name)]


def _find_problem(parent: str) -> str:
    """Return why a folder cannot hold a private cluster, or "" if it can."""
    if not parent.isascii():
        return "is not ASCII"
    if not os.path.isabs(parent):
        return "is not an absolute path"
    if len(parent) > LONGEST:
        return f"has more than {LONGEST} characters"
    try:
        free = shutil.disk_usage(parent).free
        with tempfile.TemporaryDirectory(dir=parent):
            return "" if free >= LEAST_FREE else f"has {free / 1e6:.0f} MB left"
    except OSError as error:
        return f"cannot be used ({error.strerror})"
