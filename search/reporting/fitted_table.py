"""A table for the terminal that fits any width: columns drop in a stated order, nothing is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

GAP = 2  # columns of space between two columns


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
      title: folded at words where the cells are narrower.
      cells: one for each row.
      drop: 0: it stays; of the others the one with the largest number is left out first.
      narrow: shorter cells, taken once all columns are left out that may be; () for none.
    """

    title: str
    cells: Sequence[str]
    drop: int = 0
    narrow: Sequence[str] = ()

    @property
    def width(self) -> int:
        """The width that the cells and the longest word of the title need."""
        return max(map(cell_len, [*self.title.split(), *self.cells]), default=0)


@dataclass(frozen=True)
class FittedTable:
    """A table that is drawn for the width it gets.

    Args:
      title: above it; "" for none.
      columns: the first one stays and names the row.
      whole: the file that has the columns which do not fit, for a note below; "" for no note.
      styles: of some rows, by index.
    """

    title: str
    columns: Sequence[Column]
    whole: str = ""
    styles: dict[int, str] = field(default_factory=dict)

    def fit(self, width: int) -> list[Column] | None:
        """Return the columns that fit into a width; None if not even the least do."""
        kept = list(self.columns)
        while _total(kept) > width and (droppable := [c for c in kept if c.drop]):
            kept.remove(max(droppable, key=lambda column: column.drop))
        if _total(kept) > width:
            kept = [Column(c.title, c.narrow or c.cells) for c in kept]
        return kept if _total(kept) <= width else None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the table; where it does not fit at all, each row as a sentence."""
        kept = self.fit(options.max_width)
        if self.title:
            yield Text(self.title, "bold")
        if kept is None:
            yield from self._as_sentences()
            return
        table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), show_edge=False)
        for column in kept:
            table.add_column(column.title, justify="right", min_width=column.width, overflow="fold")
        for i, row in enumerate(zip(*(column.cells for column in kept), strict=True)):
            table.add_row(*map(Text, row), style=self.styles.get(i))
        yield table
        shown = {column.title for column in kept}
        left_out = [column.title for column in self.columns if column.title not in shown]
        if left_out and self.whole:
            yield Text(f"left out: {', '.join(left_out)} (in {self.whole})", "dim")

    def _as_sentences(self) -> RenderResult:
        first, *rest = [Column(c.title, c.narrow or c.cells) for c in self.columns if not c.drop]
        for i, name in enumerate(first.cells):
            values = ", ".join(f"{column.title} {column.cells[i]}" for column in rest)
            yield Text(f"{first.title} {name}: {values}", overflow="fold")


def _total(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + GAP * max(0, len(columns) - 1)


def print_fitted(console: Console, table: FittedTable) -> None:
    """Print a table for the width of a console; in a log it has all columns."""
    console.print(table, soft_wrap=False, crop=False)
