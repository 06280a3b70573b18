"""Hyperparameter search with Ray and Optuna, on top of `adv` and `spaces`.

The ledger of a run (`search.record`) holds all that happened; the front, the report and the W&B
runs are computed from it. From Python: `from search import search, Space, Float, Int, Choice`.

Names are loaded when first used, so that the command line answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search.from_python import Member as Member
    from search.from_python import PythonStudy as PythonStudy
    from search.from_python import search as search
    from search.run_plots import plot_front as plot_front
    from search.run_plots import plot_hypervolume as plot_hypervolume
    from search.run_plots import plot_importance as plot_importance
    from search.run_plots import plot_learning_curves as plot_learning_curves
    from search.run_plots import plot_robustness_curves as plot_robustness_curves
    from spaces import Choice as Choice
    from spaces import Float as Float
    from spaces import Int as Int
    from spaces import Space as Space

_PLACES = {
    **dict.fromkeys(("Member", "PythonStudy", "search"), "search.from_python"),
    **dict.fromkeys(
        (
            *("plot_front", "plot_hypervolume", "plot_importance"),
            *("plot_learning_curves", "plot_robustness_curves"),
        ),
        "search.run_plots",
    ),
    **dict.fromkeys(("Choice", "Float", "Int", "Space"), "spaces"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
