"""Trials of which a damaged ledger says nothing any more, though events and files name them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.record.view import View


def leave_out_lost_finalists(event: dict[str, Any], view: View) -> dict[str, Any]:
    """Return an event; where it lists finalists, without those of which nothing is known."""
    if event["event"] == "finals" and isinstance(event.get("trials"), list):
        return {**event, "trials": [number for number in event["trials"] if number in view.trials]}
    part = event.get("part") if event["event"] == "final" else None
    header = part.get("header") if isinstance(part, dict) else None
    if part and isinstance(header, dict):
        inner = leave_out_lost_finalists({"event": "finals", **header}, view)
        return {**event, "part": {**part, "header": {key: inner[key] for key in header}}}
    return event


def repeats_lost_trial(part: Any, view: View) -> bool:
    """Return whether an event proposes to train a trial again of which nothing is known."""
    if not isinstance(part, Mapping) or part.get("event") != "proposed":
        return False
    origin = part.get("origin")
    return isinstance(origin, str) and origin not in map(str, view.trials)


def note_lost(event: Any, trials: Mapping[int, Any], lost: set[int]) -> int | None:
    """Return the number of the trial of an event if nothing is known of that trial, else None."""
    number = event.get("trial") if isinstance(event, Mapping) else None
    if type(number) is not int or number < 0 or number in trials:
        return None
    lost.add(number)
    return number


def find_lost_folders(folder: Path, view: View, limit: int) -> set[int]:
    """Return the numbers of trials with a folder of which the ledger knows nothing any more.

    Args:
      folder: of the trials' folders.
      view: of what is known.
      limit: how many trials can have been lost after the last one that is known.
    """
    names = [path.name for path in folder.glob("*") if path.name.isdecimal()]
    known = {*view.trials, *view.lost}
    last = view.next_number + limit
    return {number for number in map(int, names) if number < last} - known
