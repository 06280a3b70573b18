"""The nets of a run whose weights are on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.record.run_files import LostNetError, file_inside, find_net
from search.record.run_folder import front_path, trial_path
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
      folder: of the run, absolute.
      files: its checkpoint and copies of it, relative to `folder`.
      result: so far; under an earlier battery if the net could not be scored under the present one.
    """

    kind: str
    number: int
    params: Mapping[str, Any]
    seed: int
    folder: Path
    files: tuple[str, ...]
    result: TrialResult

    def find(self) -> Path:
        """Return the file that holds the net as it was recorded.

        Raises:
          LostNetError: there is none.
        """
        return find_net(self.folder, self.files, self.result.details.weights_sha256)


def find_stored_nets(view: View, folder: Path) -> tuple[list[StoredNet], dict[str, str]]:
    """Return the nets of a run that can be scored again, and why others cannot.

    Args:
      view: of the run.
      folder: of the run.

    Returns:
      The nets, whose checksums are not yet checked, and a reason for each net without weights, by
      name: `trial 3` or `final 3`.
    """
    found: list[StoredNet] = []
    missing: dict[str, str] = {}
    runs = view.finals.in_state("finished") if view.finals else []
    for kind, trials in ((TRIAL, view.in_state("finished")), (FINAL, runs)):
        for trial in trials:
            net = stored_net(kind, trial, folder)
            if net is None:
                continue
            if reason := _find_reason(net):
                missing[f"{kind} {trial.number}"] = reason
            else:
                found.append(net)
    return found, missing


def has_stored_nets(view: View, folder: Path) -> bool:
    """Return whether a finished trial has weights that can be scored again."""
    return any(net.kind == TRIAL for net in find_stored_nets(view, folder)[0])


def stored_net(kind: str, trial: Trial, folder: Path) -> StoredNet | None:
    """Return the net of a trial or of a final training, None if it has had no result.

    Args:
      kind: `TRIAL` or `FINAL`.
      trial: the trial, or the training.
      folder: of the run.
    """
    result = trial.result or trial.earlier
    if result is None:
        return None
    usual = trial_path(trial.number, final=kind == FINAL) / BEST
    # The copy in front/ may be that of another training of the same configuration: without a
    # checksum they could not be told apart.
    origin = trial.number if kind == TRIAL else int(trial.origin)
    copies = (str(front_path(origin)),) if result.details.weights_sha256 else ()
    files = (result.details.weights or str(usual), *copies)
    place = folder.absolute()
    return StoredNet(kind, trial.number, trial.params, trial.seed, place, files, result)


def _find_reason(net: StoredNet) -> str:
    """Return why none of the files of a net is there, "" if one is."""
    reasons = []
    for name in net.files:
        try:
            file_inside(net.folder, name)
        except (LostNetError, OSError) as error:
            reasons.append(str(error))
        else:
            return ""
    return reasons[0]
