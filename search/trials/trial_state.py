"""The state of a trial on disk, from which it resumes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from adv import Best
from adv.files import write_atomic
from search.record.trial import EpochReport

STATE = "state.pt"


@dataclass(frozen=True)
class TrialState:
    """A trial after some of its epochs.

    Args:
      reports: of all epochs so far; the last report of a finished trial has a result.
      training: `adv.Epoch.state()` after the last of them; None before the first.
      best: the best epoch so far.
    """

    reports: tuple[EpochReport, ...] = ()
    training: Mapping[str, Any] | None = None
    best: Best = field(default_factory=Best)


def save_state(path: Path, state: TrialState) -> None:
    """Write a state to a file, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(
        {
            "told": [report.to_json() for report in state.reports],
            "training": state.training,
            "best": asdict(state.best),
        },
        buffer,
    )
    write_atomic(path, buffer.getvalue())


def load_state(path: Path) -> TrialState:
    """Return the state in a file; that of a new trial if there is none, or it cannot be read."""
    try:
        plain = torch.load(path, map_location="cpu", weights_only=True)
        reports = tuple(EpochReport.from_json(report) for report in plain["told"])
        return TrialState(reports, plain["training"], Best(**plain["best"]))
    except FileNotFoundError:
        return TrialState()
    except Exception:  # a file damaged from outside: begin the trial anew
        return TrialState()
