"""List the search spaces with their questions and hyperparameters: `launch.py --list`."""

from __future__ import annotations

from rich.table import Table

import spaces
from adv.shell import join_command, name_program
from adv.terminal.console import open_console, print_error, print_table


def print_spaces() -> None:
    """Print every search space; a file that cannot be used is named in one line on stderr."""
    console = open_console()
    for name in spaces.names():
        try:
            space = spaces.load(name)
        except ValueError as error:
            print_error(name_program(), str(error))
            continue
        console.print(f"[bold]{name}[/]  {space.question}")
        columns = ("  hyperparameter", "range", *(["on the laptop scale"] if space.laptop else []))
        table = Table(*columns, box=None, padding=(0, 2), header_style="dim")
        for knob, values in space.knobs.items():
            table.add_row(f"  {knob}", str(values), str(space.laptop.get(knob, "")))
        print_table(console, table)
        if space.grid:
            count = len(space.known)
            console.print(f"    a grid of {count} configurations, each tried once")
        command = join_command("python", "launch.py", "--space", name)
        console.print(f"    [dim]{command}[/]\n")
