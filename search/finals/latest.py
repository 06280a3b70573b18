"""Keep what was computed last from a view: all readers of an event ask for the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from search.record.view import View

T = TypeVar("T")


class Latest(Generic[T]):
    """The latest value that was computed from a view; it holds until the view has another event."""

    def __init__(self) -> None:
        self._kept: tuple[weakref.ref[View], Hashable, T] | None = None

    def get(self, view: View, compute: Callable[[], T], settings: Hashable = None) -> T:
        """Return the value, computed only if another view, event or setting came in between.

        Args:
          view: that the value is computed from.
          compute: the computation.
          settings: what else the value depends on.
        """
        key = (view.events, settings)  # before it is read: an event in between makes it outdated
        kept = self._kept
        if kept is not None and kept[0]() is view and kept[1] == key:
            return kept[2]
        value = compute()
        self._kept = (weakref.ref(view), key, value)
        return value
