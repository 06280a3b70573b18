"""The layout of a run folder: the names of the files and folders that a search writes."""

from __future__ import annotations

import difflib
from pathlib import Path

LEDGER = "ledger.jsonl"
TRIALS = "trials"
FRONT = "front"
FINALS = "finals"


def require_run(folder: Path, flag: str = "") -> Path:
    """Return `folder` if it holds a search.

    Args:
      folder: of a run.
      flag: the flag that named it, for the message.

    Raises:
      ValueError: there is no ledger in it; the message names the nearest run beside it.
    """
    if not (folder / LEDGER).is_file():
        near, where = nearest_run(folder), f"{flag} {folder}: it" if flag else folder
        raise ValueError(f"{where} holds no search{near and ','}{near}: there is no {LEDGER}")
    return folder


def nearest_run(folder: Path) -> str:
    """Return a hint at the run that may be meant, "" if no name is near."""
    parent = folder.parent
    runs = [path.parent.name for path in parent.glob(f"*/{LEDGER}")] if parent.is_dir() else []
    near = difflib.get_close_matches(folder.name, runs, n=1)
    return f" such as {parent / near[0]}" if near else ""
