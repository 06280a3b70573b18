"""The version of this program, installed or in a checkout."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE = "robustune"


def find_version() -> str:
    """Return the version: that of the checkout this file lies in, else of the installed package."""
    project = Path(__file__).parent.parent / "pyproject.toml"
    try:
        return str(tomllib.loads(project.read_text())["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        pass
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"
