"""Plots of one net or several as Plotly figures: robustness curves and confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from adv.evaluation.score import Score

if TYPE_CHECKING:
    import plotly.graph_objects as go

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7A5C00", "#56B4E9", "#000000", "#E69F00")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "pentagon")
MAX_NUMBERS = 12  # classes up to which each cell of a confusion shows its number


def plot_robustness(
    scores: Score | Mapping[str, Score], *, classes: int | None = None
) -> go.Figure:
    """Plot the accuracy of nets against the radius of the attack, with 95 % intervals.

    A sound curve falls with the radius, towards 0. One that rises, or stays high, indicates a weak
    attack rather than a robust net.

    Args:
      scores: of one net, or of several by name, each under a battery over one norm.
      classes: their number draws the accuracy of guessing as a line.
    """
    import plotly.graph_objects as go

    named = {"": scores} if isinstance(scores, Score) else scores
    figure = go.Figure()
    for k, (name, score) in enumerate(named.items()):
        eps, share, low, high = zip(*score.curve, strict=True)
        figure.add_trace(
            go.Scatter(
                x=eps,
                y=[100 * value for value in share],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * (end - value) for end, value in zip(high, share, strict=True)],
                    "arrayminus": [
                        100 * (value - end) for end, value in zip(low, share, strict=True)
                    ],
                    "thickness": 1,
                    "width": 3,
                },
                name=escape(name),
                mode="lines+markers",
                line={"color": _COLOURS[k % 8], "dash": "dot" if k // 8 % 2 else "solid"},
                marker={"symbol": _SYMBOLS[k % 8], "size": 8},
                hovertemplate="eps %{x:.4g}: %{y:.1f} %",
            )
        )
    if classes:
        figure.add_hline(100 / classes, line={"color": "#9aa1a9", "dash": "dash", "width": 1})
    figure.update_xaxes(title="Attack strength eps (0 is no attack)", rangemode="tozero")
    figure.update_yaxes(title="Accuracy (%)", range=[0, 100])
    return figure.update_layout(template="simple_white", showlegend=len(named) > 1, height=440)


def plot_confusion(labels: Tensor, predicted: Tensor, class_names: Sequence[str]) -> go.Figure:
    """Plot how often images of each class are taken for each class, in percent of the class.

    Args:
      labels: the true classes, integers [n].
      predicted: the classes that a net names, integers [n].
      class_names: in the order of the integers.
    """
    import plotly.graph_objects as go

    counts = count_confusions(labels, predicted, len(class_names))
    shares = 100 * counts / counts.sum(1, keepdim=True).clamp(min=1)
    names = [escape(name) for name in class_names]
    figure = go.Figure(
        go.Heatmap(
            z=shares.tolist(),
            x=names,
            y=names,
            customdata=counts.tolist(),
            zmin=0,
            zmax=100,
            colorscale="Blues",
            colorbar={"title": {"text": "%"}},
            texttemplate="%{z:.0f}" if len(names) <= MAX_NUMBERS else None,
            hovertemplate="%{y} taken for %{x}: %{customdata} images, %{z:.1f} %<extra></extra>",
        )
    )
    axes = {"type": "category", "constrain": "domain"}
    figure.update_xaxes(title="Predicted class", **axes)
    figure.update_yaxes(title="True class", autorange="reversed", **axes)
    return figure.update_layout(template="simple_white", height=480)


def count_confusions(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Return how many images of each true class (rows) are predicted as each class (columns)."""
    flat = labels.long().cpu() * classes + predicted.long().cpu()
    return torch.bincount(flat, minlength=classes**2).reshape(classes, classes)
