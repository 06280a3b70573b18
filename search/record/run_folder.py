"""The layout of a run folder: the names of the files and folders that a search writes.

ledger.jsonl    all that happened
ledger.repaired.jsonl  a copy of a damaged ledger, made by `--repair`
study.json      the header of the ledger, for people
report.html     and tables as CSV files and trials.parquet
figures/        the main figures as PNG and SVG
trials/0007/    state, weights and examples of trial 7
front/          the weights of the front's members
finals/         trainings with fresh seeds, in a `trials/` of its own
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

LEDGER = "ledger.jsonl"
REPAIRED = "ledger.repaired.jsonl"
STUDY = "study.json"
REPORT = "report.html"
TRIALS = "trials"
FRONT = "front"
FINALS = "finals"
OWNER = "owner.json"  # of a run in a store: the driver that may write there
EXAMPLES = "examples.npz"
FIGURES = "figures"
PARQUET = "trials.parquet"


def trial_name(number: int) -> str:
    """Return the name of a trial in folders and in Weights & Biases."""
    return f"{number:04d}"


def trial_path(number: int, *, final: bool = False) -> Path:
    """Return the folder of a trial, relative to the run folder.

    Args:
      number: of the trial, or of the training among the finals.
      final: whether it is a training of the finals.
    """
    return Path(FINALS if final else "", TRIALS, trial_name(number))


def front_path(number: int) -> Path:
    """Return the copy of a net of the front, relative to the run folder."""
    return Path(FRONT, f"{trial_name(number)}.safetensors")


def require_run(folder: Path, flag: str = "") -> Path:
    """Return `folder` if it holds a search.

    Args:
      folder: of a run.
      flag: the flag that named it, for the message.

    Raises:
      ValueError: there is no ledger in it, or it cannot be looked at; the message names the
        nearest run beside it.
    """
    prefix, ledger = f"{flag} {folder}: " if flag else "", folder / LEDGER
    try:
        found, exists = ledger.is_file(), os.path.lexists(ledger)
    except OSError as error:
        raise ValueError(f"no search in {str(folder)[:100]}: {error.strerror}") from None
    if exists and not found:
        raise ValueError(f"{prefix}no search in {folder} ({LEDGER} is not a file)")
    if not found:
        near = _nearest_name(folder)
        hint = f"; did you mean {near}?" if near else ""
        raise ValueError(f"{prefix}no search in {folder} (there is no {LEDGER}){hint}")
    return folder


def nearest_run(folder: Path) -> str:
    """Return a hint at the run that may be meant, "" if no name is near."""
    near = _nearest_name(folder)
    return f" such as {near}" if near else ""


def _nearest_name(folder: Path) -> Path | None:
    """Return the run beside `folder` with the nearest name, or None."""
    parent = folder.parent
    ledgers = parent.glob(f"*/{LEDGER}") if parent.is_dir() else ()
    runs = [path.parent.name for path in ledgers if path.is_file()]
    near = difflib.get_close_matches(folder.name, runs, n=1)
    return parent / near[0] if near else None
