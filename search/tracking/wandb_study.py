"""The W&B run of a whole search: counts, hypervolume, tables and figures, logged when they change.

Each table that is logged becomes a version in W&B, so what it has been told already is not logged
again, in this session or another. While a search runs, the table of all trials and the front are
logged when five percent more trials have ended, or after ten minutes: all their versions together
then grow with the trials, not with their square.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, final

from search.finals.standings import compute_standings
from search.record.view import View
from search.reporting.csv_tables import hypervolumes
from search.tracking import wandb_panels as panels
from search.tracking.logged_runs import LoggedRuns
from search.tracking.run_records import ENDS
from search.tracking.standing import Standing

GROWTH = 0.05  # more of the trials have ended: then the table and the front are due
EVERY = 600.0  # seconds after which they are due in any case


@final
class StudyRun:
    """The W&B run of a search, which is opened when there is something to log.

    Args:
      wandb: the module.
      open_run: returns the run to log to; called only if there is something to log.
      study: id of the search.
      logged: what W&B has been told already.
      rows: how many hypervolumes it has been told.
    """

    def __init__(
        self,
        wandb: Any,
        open_run: Callable[[], Any],
        study: str,
        logged: LoggedRuns,
        rows: int,
    ) -> None:
        self.rows = rows
        self._wandb, self._open_run, self._study, self._logged = wandb, open_run, study, logged
        self._told: dict[str, dict[str, Any]] = {}
        # How many trials had ended at the last table, and when that was.
        self._table_size, self._table_time = 0, -EVERY

    def log(self, view: View, standing: Standing, *, whole: bool) -> None:
        """Log the state of a search, as far as it differs from what has been logged.

        The counts and the hypervolumes are logged each time, the table of all trials and the front
        if they are due.

        Args:
          view: the latest state.
          standing: of its nets.
          whole: all of it, and also the finals, the importance and all figures.
        """
        area = hypervolumes(view)
        for n in range(self.rows, len(area)):
            self._open_run().log({panels.FINISHED: n + 1, panels.HYPERVOLUME: area[n]})
        self.rows = max(self.rows, len(area))
        tables, figures = {}, {}
        counts = panels.study_counts(view, standing, len(area))
        if self._is_table_due(view) or whole:
            tables[panels.TRIALS] = panels.trials_table(view)
            figures[panels.FRONT] = panels.front_figure(view)
        if whole:
            finalists = compute_standings(view)
            tables |= panels.other_tables(view, finalists)
            figures |= panels.other_figures(view, finalists)
            counts |= panels.stopping_record(view)
        row = {**self._new_tables(tables), **self._new_figures(figures)}
        if self._is_new("counts", counts) or row:
            self._open_run().log({**counts, **row})

    def note(self) -> None:
        """Record what W&B has been told, once the run is closed."""
        for name, content in self._told.items():
            self._logged.note(name, 1, content)

    def _is_table_due(self, view: View) -> bool:
        """Return whether the table and the front are to be logged, and note it if they are."""
        ended = sum(trial.state in ENDS for trial in view.trials.values())
        now = time.monotonic()
        if ended < (1 + GROWTH) * self._table_size and now < self._table_time + EVERY:
            return False
        self._table_size, self._table_time = ended, now
        return True

    def _new_tables(self, tables: dict[str, panels.Table]) -> dict[str, Any]:
        """Return the tables that W&B does not have yet, in its form, by key."""
        return {
            key: self._wandb.Table(columns=table.columns, data=table.rows, allow_mixed_types=True)
            for key, table in tables.items()
            if self._is_new(key, {"columns": table.columns, "rows": table.rows})
        }

    def _new_figures(self, figures: dict[str, Any]) -> dict[str, Any]:
        """Return the figures that W&B does not have yet, in its form, by key."""
        return {
            key: self._wandb.Plotly(figure)
            for key, figure in figures.items()
            if self._is_new(key, {"figure": figure.to_json()})
        }

    def _is_new(self, key: str, content: dict[str, Any]) -> bool:
        """Return whether W&B has not been told this content, neither now nor in a past session."""
        name = f"{self._study}/{key}"
        if name in self._told:
            new = self._told[name] != content
        else:
            new = not self._logged.has(name, content)
        self._told[name] = content
        return new
