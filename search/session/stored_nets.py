"""The nets of a run whose weights are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record.run_folder import trial_path
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.trials.trial_state import BEST

TRIAL, FINAL = "trial", "final"


@dataclass(frozen=True)
class StoredNet:
    """A net whose weights are on disk.

    Args:
      kind: `TRIAL`, or `FINAL` for a training of the finals.
      number: of the trial or training.
      params: of its trial.
      seed: that it was trained with.
      weights: absolute path of its checkpoint.
      result: so far.
    """

    kind: str
    number: int
    params: Mapping[str, Any]
    seed: int
    weights: Path
    result: TrialResult


def find_stored_nets(view: View, folder: Path) -> tuple[list[StoredNet], dict[str, str]]:
    """Return the nets of a run that can be scored again, and why others cannot.

    Args:
      view: of the run.
      folder: of the run.

    Returns:
      The nets, and a reason for each net without weights, by name: `trial 3` or `final 3`.
    """
    found: list[StoredNet] = []
    missing: dict[str, str] = {}
    runs = view.finals.in_state("finished") if view.finals else []
    for kind, trials in ((TRIAL, view.in_state("finished")), (FINAL, runs)):
        for trial in trials:
            net = _stored_net(kind, trial, folder)
            if net is None:
                continue
            if net.weights.is_file():
                found.append(net)
            else:
                missing[f"{kind} {trial.number}"] = f"no weights at {net.weights}"
    return found, missing


def has_stored_nets(view: View, folder: Path) -> bool:
    """Return whether a finished trial has weights that can be scored again."""
    return any(net.kind == TRIAL for net in find_stored_nets(view, folder)[0])


def _stored_net(kind: str, trial: Trial, folder: Path) -> StoredNet | None:
    if trial.result is None:
        return None
    recorded = trial.result.details.weights
    path = recorded or trial_path(trial.number, final=kind == FINAL) / BEST
    weights = (folder / path).absolute()
    return StoredNet(kind, trial.number, trial.params, trial.seed, weights, trial.result)
