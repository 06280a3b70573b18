"""The state of a trial on disk, from which it resumes.

Behind what `torch.save` writes stands a SHA-256 of it, because `torch.load` does not notice changed
bits. The state holds that of the best net, too.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from adv import Best
from adv.checkpoints.checkpoint import CheckpointError, read_checkpoint
from adv.files import write_atomic
from search.record.run_files import LostNetError, compute_sha256, file_inside
from search.record.trial import EpochReport

STATE = "state.pt"
BEST = "best.safetensors"
_MARK = b"\nsha256 "
_LENGTH = len(_MARK) + 64


@dataclass(frozen=True)
class TrialState:
    """A trial after some of its epochs.

    Args:
      reports: of all epochs so far; the last report of a finished trial has a result.
      training: `adv.Epoch.state()` after the last of them; None before the first.
      best: the best epoch so far.
      best_sha256: of the file that holds the net of that epoch; None: there is none, or the state
        is that of an earlier version.
      remark: what is unusual about the trial, for its result; "" for nothing.
    """

    reports: tuple[EpochReport, ...] = ()
    training: Mapping[str, Any] | None = None
    best: Best = field(default_factory=Best)
    best_sha256: str | None = None
    remark: str = ""


def begin_anew(damaged: str) -> TrialState:
    """Return the state of a trial that has to be trained again, because something is damaged."""
    return TrialState(remark=f"trained anew, because its {damaged} was damaged")


def save_state(folder: Path, state: TrialState) -> None:
    """Write a state to the folder of its trial, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(
        {
            "told": [report.to_json() for report in state.reports],
            "training": state.training,
            "best": asdict(state.best),
            "best_sha256": state.best_sha256,
            "remark": state.remark,
        },
        buffer,
    )
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    buffer.seek(0, io.SEEK_END)
    buffer.write(_MARK + digest.encode())
    write_atomic(folder / STATE, buffer.getvalue())


def load_state(folder: Path) -> TrialState:
    """Return the state in the folder of a trial.

    It is that of a new trial if there is none; with a remark if it, or the net of the best epoch,
    has changed since it was written.

    Raises:
      OSError: a file cannot be read.
    """
    try:
        content = file_inside(folder, STATE).read_bytes()
    except LostNetError:
        return TrialState()
    state = _parse(content)
    if state is None:
        return begin_anew("state")
    return state if _has_best(folder, state) else begin_anew("best net")


def _parse(content: bytes) -> TrialState | None:
    """Return the state in a file, None if the file is damaged."""
    mark, digest = content[-_LENGTH:-64], content[-64:]
    if mark == _MARK:  # else an earlier version wrote it
        content = content[:-_LENGTH]
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
    try:
        plain = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        reports = tuple(EpochReport.from_json(report) for report in plain["told"])
        best = Best(**plain["best"])
        return TrialState(
            reports,
            plain["training"],
            best,
            plain.get("best_sha256"),
            plain.get("remark", ""),
        )
    except Exception:  # whatever is in the file of an earlier version
        return None


def _has_best(folder: Path, state: TrialState) -> bool:
    """Return whether the net of the best epoch is there.

    A trial that ended after it wrote a better net, and before it wrote its state, has the net of
    the epoch that it trains next.
    """
    if state.best_sha256 is None:
        return True
    try:
        path = file_inside(folder, BEST)
        if compute_sha256(path) == state.best_sha256:
            return True
        return bool(read_checkpoint(path)[1].get("epoch") == state.reports[-1].epoch + 1)
    except (LostNetError, CheckpointError):
        return False
