"""The settings of attacks as text that stays the same when an attack gets a new setting.

Ids of batteries are hashes of this text. They are kept with results, so they must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from typing import Any

ADDED_LATER: Mapping[str, bool] = {"added later": True}
"""Metadata of a field that its class did not have at first.

Its default must do what the class did without it.
"""


def format_settings(value: object) -> str:
    """Return a value as Python writes it, without settings that came later and have their defaults.

    So an attack that does what it did before it got a setting has the same text as before.

    Args:
      value: an attack, a battery, or tuples of such and of plain values.
    """
    if isinstance(value, tuple):
        parts = [format_settings(part) for part in value]
        return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"
    if not is_dataclass(value) or isinstance(value, type):
        return repr(value)
    shown = [one for one in fields(value) if one.repr and not _is_as_before(one, value)]
    settings = (f"{one.name}={format_settings(getattr(value, one.name))}" for one in shown)
    return f"{type(value).__qualname__}({', '.join(settings)})"


def _is_as_before(one: Field[Any], value: object) -> bool:
    """Return whether a setting came later and has its default."""
    return ADDED_LATER.items() <= one.metadata.items() and getattr(value, one.name) == one.default
