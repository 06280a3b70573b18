"""Save the view and the report of a search in W&B; the only part of them that needs an account."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import Any

from adv.files import write_atomic
from search.finals.standings import compute_standings
from search.record.view import View
from search.tracking.wandb_report import build_report
from search.tracking.wandb_view import Place, build_workspace

FILE = "views.json"


def save_views(view: View, place: Place, folder: Path) -> list[str]:
    """Save the view and the report of a search, in place of those that were saved before.

    Args:
      view: of the search.
      place: of its runs in W&B.
      folder: of the run; `wandb/views.json` in it notes what was saved.

    Returns:
      The addresses of the view and of the report.

    Raises:
      Exception: anything that W&B raises.
    """
    finalists = compute_standings(view)
    workspace = build_workspace(view, finalists, place)
    report = build_report(view, finalists, folder, place)
    note = folder / "wandb" / FILE
    known = _read_saved(note, place)
    if known:
        workspace._internal_name, workspace._internal_id = known["view"]
        report.id = known["report"]
    workspace.save()
    report.save()
    note.parent.mkdir(exist_ok=True)
    saved = {
        "place": astuple(place),
        "view": [workspace._internal_name, workspace._internal_id],
        "report": report.id,
    }
    write_atomic(note, json.dumps(saved) + "\n")
    return [workspace.url, report.url]


def _read_saved(note: Path, place: Place) -> dict[str, Any] | None:
    """Return what was saved before at this place, None if nothing was."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        saved = json.loads(note.read_text())
        name, number = saved["view"]
        if tuple(saved["place"]) == astuple(place):
            return {"view": (str(name), str(number)), "report": str(saved["report"])}
    return None
