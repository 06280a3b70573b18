"""Make the folder of a new run, with its ledger."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from adv.files import sweep_partials, write_atomic
from search.record.ledger import Ledger, LedgerInUseError
from search.record.run_folder import LEDGER, STUDY
from search.record.study_header import StudyHeader


def create_run(folder: Path, header: StudyHeader, *, over: bool = False) -> Ledger:
    """Make a run folder, and return its open ledger, which holds the header.

    The ledger is locked before anything else is written, so that of two drivers that start the same
    run one is refused and touches nothing. A run that cannot be made leaves nothing behind.

    Args:
      folder: of the run.
      header: of the ledger.
      over: the folder may hold what is left of a start that was killed before its first event.

    Raises:
      LedgerError: another driver starts this run, or has started it meanwhile.
      OSError, StorageError: it cannot be written.
    """
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=over)
    try:
        ledger = Ledger(folder / LEDGER)
    except LedgerInUseError:
        raise
    except BaseException:  # a signal too
        _remove(folder, made)
        raise
    try:
        if ledger.view.events:
            raise LedgerInUseError(f"{folder} was started by another launch.py meanwhile")
        sweep_partials(folder)
        write_atomic(folder / STUDY, json.dumps(header.to_json(), indent=2) + "\n")
        ledger.append("study", **header.to_json())
    except BaseException as error:
        _remove(folder, made and not isinstance(error, LedgerInUseError))
        ledger.close()
        raise
    return ledger


def _remove(folder: Path, made: bool) -> None:
    """Remove a folder that this process has made."""
    if made:
        shutil.rmtree(folder, ignore_errors=True)
