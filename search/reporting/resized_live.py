"""A live view that survives a window of another size, and folds its lines at words."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderResult,
)
from rich.control import Control
from rich.live import Live as RichLive


@dataclass(frozen=True)
class Folded:
    """Something that is folded at words, also by a console that leaves folding to the terminal.

    Args:
      inner: to draw.
    """

    inner: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it."""
        yield from console.render(self.inner, options.update(no_wrap=False, overflow="fold"))


class ResizedLive(RichLive):
    """A live view that clears the window when its size has changed.

    A terminal folds the lines of the view when it gets narrower; the cursor then goes up by too few
    of them, and copies of the view stay behind.
    """

    _size: tuple[int, int] | None = None

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Put the view below what is printed, in a window that was cleared if its size changed."""
        size = tuple(self.console.size)
        changed = self._size is not None and size != self._size
        self._size = (size[0], size[1])
        if changed and self.console.is_terminal:
            self._live_render._shape = None  # so that nothing above is erased once more
            cleared: ConsoleRenderable = Control.clear()
            return [cleared, Control.home(), *super().process_renderables(renderables)]
        return super().process_renderables(renderables)
