"""Plots of a search as Plotly figures, for notebooks: `plot_front(study).show()`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from search.finals.standings import compute_standings
from search.from_python import PythonStudy
from search.outcome.front import find_front
from search.record.ledger import read
from search.record.run_folder import LEDGER, require_run
from search.record.view import View
from search.reporting import plots
from search.reporting.csv_tables import hypervolumes
from search.reporting.finals_plots import finals_front
from search.reporting.importance import importance
from search.reporting.progress_plots import progress

if TYPE_CHECKING:
    import plotly.graph_objects as go

Run = PythonStudy | View | Path | str
"""A study, the view of a ledger, or a run folder."""


def plot_front(run: Run) -> go.Figure:
    """Plot the front of a run with 95 % intervals: that of the finals where there are finals."""
    view = _view(run)
    if find_front(view).source == "finals":
        return finals_front(view, compute_standings(view))
    return plots.front(view)


def plot_robustness_curves(run: Run) -> go.Figure:
    """Plot accuracy against attack strength for the nets of the run's front."""
    view = _view(run)
    return plots.curves(view, find_front(view))


def plot_hypervolume(run: Run) -> go.Figure:
    """Plot the hypervolume of the search's front after each finished trial."""
    view = _view(run)
    return progress(view, hypervolumes(view))


def plot_importance(run: Run) -> go.Figure:
    """Plot the share of each hyperparameter in each objective, by PED-ANOVA.

    Raises:
      ValueError: there are too few finished trials, or nothing that differs.
    """
    shares = importance(_view(run))
    if isinstance(shares, str):
        raise ValueError(shares)
    return plots.importance(shares)


def plot_learning_curves(run: Run) -> go.Figure:
    """Plot the validation accuracy under attack after each epoch, of the front's nets."""
    return plots.learning(find_front(_view(run)))


def _view(run: Run) -> View:
    if isinstance(run, View):
        return run
    return run.view if isinstance(run, PythonStudy) else read(require_run(Path(run)) / LEDGER)
