"""Write the page, the tables and the figures of a run again, from its ledger."""

from __future__ import annotations

from pathlib import Path

from adv.terminal.console import print_line
from search.finals.standings import compute_standings
from search.record.ledger import read
from search.record.run_folder import FIGURES, LEDGER, PARQUET, REPORT
from search.record.view import View
from search.reporting.csv_tables import write_tables
from search.reporting.html_report import write_html_report
from search.reporting.parquet_table import write_parquet
from search.reporting.static_figures import write_static_figures


def rewrite_report(folder: Path) -> int:
    """Write everything of a run that follows from its ledger, print where it is, and return 0.

    Nothing is trained or attacked, and the ledger stays as it is.

    Args:
      folder: of the run.

    Raises:
      ValueError: the ledger cannot be read.
      OSError: a file cannot be written.
    """
    view = read(folder / LEDGER)
    write_all_tables(view, folder)
    drawn = write_static_figures(view, folder / FIGURES, compute_standings(view))
    write_html_report(view, folder / REPORT, compute_standings(view))
    print_line(f"report   {folder / REPORT}")
    print_line(f"tables   {folder / 'trials.csv'}, {folder / PARQUET}")
    if drawn:
        print_line(f"figures  {folder / FIGURES}/")
    return 0


def write_all_tables(view: View, folder: Path) -> None:
    """Write the tables as CSV files, and the trials as Parquet too.

    Args:
      view: of the search.
      folder: of the run.
    """
    write_tables(view, folder, compute_standings(view))
    write_parquet(view, folder / PARQUET)
