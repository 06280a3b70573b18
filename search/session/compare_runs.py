"""Compare finished runs, print how they differ, and write a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from adv.terminal.console import print_line
from search.comparison.compare_views import compare_views
from search.comparison.comparison_html import write_comparison
from search.comparison.comparison_terminal import print_comparison
from search.record.ledger import read
from search.record.run_folder import LEDGER


def compare_runs(folders: Sequence[Path], out: Path | None) -> int:
    """Compare the fronts of runs with that of the first, and return the exit status.

    Args:
      folders: of the runs, two or more.
      out: folder of the page; None: the one in which the first run lies.

    Raises:
      ValueError: the runs cannot be compared; nothing is written.
    """
    runs = {name: read(folder / LEDGER) for name, folder in _names(folders).items()}
    found = compare_views(runs)
    folder = folders[0].resolve().parent if out is None else out
    title = "-and-".join(name.replace(os.sep, "-") for name in list(runs)[:3])
    page = folder / f"compare-{title}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    print_comparison(found, runs)
    write_comparison(found, runs, page)
    print_line(f"\npage  {page}")
    return 0


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """Return the folders by the shortest end of their paths that tells them apart."""
    paths = [folder.resolve() for folder in folders]
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = [str(Path(*path.parts[-parts:])) for path in paths]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, folders, strict=True))
