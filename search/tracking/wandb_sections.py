"""The sections of a search's view and report in W&B, and their panels, built without an account.

Every panel names keys that `wandb_runs` logs. The classes of `wandb-workspaces` are a public
preview, so all that the project knows of them is here, in `wandb_view` and in `wandb_report`.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

from search.finals.finalist import Finalist
from search.record.view import View
from search.tracking import wandb_panels as keys
from search.tracking.run_records import config_name
from spaces import find_objective

WIDTH, HEIGHT = 12, 9  # of a panel in a report, of 24 columns


@dataclass(frozen=True)
class Part:
    """A section of the view, and of the report.

    Args:
      title: its heading.
      text: what it shows, in a sentence or two.
      panels: `wandb_workspaces` panels that show the run of the search.
      trial_panels: those that show its trials, side by side.
      net_panels: those that show what the runs of the front have logged beside their nets.
    """

    title: str
    text: str
    panels: tuple[Any, ...] = ()
    trial_panels: tuple[Any, ...] = ()
    net_panels: tuple[Any, ...] = ()

    @property
    def all_panels(self) -> list[Any]:
        """All panels, in that order."""
        return [*self.panels, *self.trial_panels, *self.net_panels]


def build_parts(view: View, finalists: Sequence[Finalist]) -> list[Part]:
    """Return the sections in the order in which they are read; those without data are left out."""
    wr, _ = load_classes()
    tables, figures = keys.other_tables(view, finalists), keys.other_figures(view, finalists)
    parts = [
        _front(wr, view, finals=keys.has_finals(finalists)),
        _hyperparameters(wr, view, figures),
        _robustness(wr, curves=keys.CURVES in figures),
    ]
    if keys.has_finals(finalists):
        parts.append(
            Part(
                "Finals",
                "The likely members of the front, trained again with fresh seeds and attacked "
                "strongly on test images; and how much their search scores flattered them.",
                (_media(wr, "Search score and final score", keys.BIAS), _table(wr, keys.FINALISTS)),
            )
        )
    if keys.STOPPING in tables:
        parts.append(
            Part(
                "Early stopping",
                "Each decision at a rung. Audited trials ran on although the rule would have "
                "stopped them: they show how often it is wrong.",
                (_table(wr, keys.STOPPING), _number(wr, "stopped")),
            )
        )
    if keys.FAILURES in tables:
        panels = (_table(wr, keys.FAILURES), _number(wr, "failed"))
        parts.append(Part("Failures", "Trials and final trainings without a result.", panels))
    return [*parts, Part("All trials", "One row each.", (_table(wr, keys.TRIALS),))]


def _front(wr: Any, view: View, *, finals: bool) -> Part:
    first, second = view.header.aims
    figure = keys.FINALS_FRONT if finals else keys.FRONT
    text = "No other net is better than one of the front in both objectives. Bars are 95 % "
    text += "intervals"
    text += ", over fresh seeds and test images." if finals else ", over validation images."
    more = (_media(wr, "What the search saw", keys.FRONT),) if finals else ()
    return Part(
        "Front",
        text,
        (
            _media(wr, "Front with 95 % intervals", figure),
            wr.LinePlot(
                title="Hypervolume of the front",
                x=wr.Metric(keys.FINISHED),
                y=[wr.Metric(keys.HYPERVOLUME)],
                title_x="finished trials",
                layout=wr.Layout(x=WIDTH, w=WIDTH, h=HEIGHT),
            ),
            *more,
        ),
        (
            wr.ScatterPlot(
                title="Trials",
                x=wr.SummaryMetric(first),
                y=wr.SummaryMetric(second),
                layout=wr.Layout(w=2 * WIDTH, h=HEIGHT),
            ),
        ),
    )


def _hyperparameters(wr: Any, view: View, figures: Container[str]) -> Part:
    """Return parallel coordinates that end in both objectives, and the importance for each."""
    column = wr.ParallelCoordinatesPlotColumn
    knobs = [
        column(wr.Config(config_name(name)), display_name=name, log=bool(knob.get("log")) or None)
        for name, knob in view.header.knobs.items()
    ]
    aims = [
        column(wr.SummaryMetric(name), display_name=find_objective(name).title)
        for name in view.header.aims
    ]
    lines = wr.ParallelCoordinatesPlot(
        title="Hyperparameters and both objectives",
        columns=[*knobs, *aims],
        layout=wr.Layout(w=2 * WIDTH, h=HEIGHT),
    )
    bars = tuple(
        wr.ParameterImportancePlot(
            with_respect_to=name, layout=wr.Layout(x=n * WIDTH, y=HEIGHT, w=WIDTH, h=HEIGHT)
        )
        for n, name in enumerate(view.header.aims)
    )
    text = (
        "Each line is a trial. The panels of importance are W&B's, one for each objective. The "
        "figures are ours, in which conditional hyperparameters count as they should: importance "
        "by PED-ANOVA, and the lines of the front on top."
    )
    ours = {keys.PARALLEL: "Trials and the front", keys.IMPORTANCE: "Importance (PED-ANOVA)"}
    media = [_media(wr, title, key) for key, title in ours.items() if key in figures]
    return Part("Hyperparameters", text, tuple(media), (lines, *bars))


def _robustness(wr: Any, *, curves: bool) -> Part:
    lines = tuple(
        wr.LinePlot(
            title=title,
            x=wr.Metric("epoch"),
            y=[wr.Metric(metric)],
            title_x="epoch",
            layout=wr.Layout(x=n * WIDTH, w=WIDTH, h=HEIGHT),
        )
        for n, (title, metric) in enumerate(
            (
                ("Validation accuracy under attack", "validation/attacked_accuracy"),
                ("Validation accuracy without attack", "validation/natural_accuracy"),
            )
        )
    )
    shown = (
        _media(wr, "Robustness curves of the front", keys.CURVES),
        _media(wr, "Learning curves of the front", keys.LEARNING, x=WIDTH),
    )
    return Part(
        "Robustness",
        "Accuracy of the nets of the front against the strength of the attack, and of all trials "
        "after each epoch. Each picture is an image, its attacked copy, and ten times their "
        "difference.",
        shown if curves else (),
        lines,
        (_media(wr, "Attacked images of the front", keys.PICTURES, columns=4),) if curves else (),
    )


def _media(wr: Any, title: str, key: str, x: int = 0, columns: int = 1) -> Any:
    """Return the panel of a figure or of images: W&B shows Plotly figures as media."""
    layout = wr.Layout(x=x, w=WIDTH, h=HEIGHT)
    return wr.MediaBrowser(title=title, media_keys=[key], num_columns=columns, layout=layout)


def _number(wr: Any, name: str) -> Any:
    return wr.ScalarChart(metric=wr.Metric(name), title=f"Trials {name}")


def _table(wr: Any, key: str) -> Any:
    return wr.WeavePanelSummaryTable(table_name=key, layout=wr.Layout(w=2 * WIDTH, h=HEIGHT))


def load_classes() -> tuple[Any, Any]:
    """Return the modules of reports and of workspaces of `wandb-workspaces`.

    Raises:
      ValueError: the package is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is written for an older pydantic
        try:
            reports = importlib.import_module("wandb_workspaces.reports.v2")
            return reports, importlib.import_module("wandb_workspaces.workspaces")
        except ImportError as error:
            raise ValueError(
                f"views need the package wandb-workspaces: pip install wandb-workspaces ({error})"
            ) from None
