"""What `--list` shows: each space, its question, its knobs."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

import spaces


def print_spaces() -> None:
    """Print every space of `spaces/`."""
    console = Console(highlight=False)
    for name in spaces.names():
        space = spaces.load(name)
        console.print(f"[bold]{name}[/]  {space.question}")
        table = Table(box=None, show_header=False, padding=(0, 2))
        for knob, values in space.knobs.items():
            table.add_row(f"  {knob}", str(values))
        console.print(table)
        console.print(f"    [dim]python launch.py --space {name}[/]\n")
