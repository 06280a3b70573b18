"""What came of a search as one JSON object: `--json` (docs/search.md documents its keys)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from search.formatting import count
from search.outcome.commands import make_commands
from search.outcome.front_member import FrontMember
from search.outcome.outcome import Outcome, find_outcome
from search.record.run_folder import REPORT
from search.record.study_header import StudyHeader
from search.record.view import View
from search.reporting.verdict_text import verdict_record

FORMAT = 1


def encode_outcome(view: View, folder: Path, *, code: int, reason: str, tracking: str) -> str:
    """Return the outcome of a search as one line of JSON.

    Args:
      view: of the search.
      folder: of the run.
      code: the exit status.
      reason: why the search ended early, "" if it did not.
      tracking: where it is in W&B, "" if it is not.
    """
    outcome, header = find_outcome(view, folder), view.header
    trials = {state: len(view.in_state(state)) for state in ("finished", "stopped", "failed")}
    content = {
        "format": FORMAT,
        "run": header.name or folder.name,
        "folder": str(folder),
        "exit_status": code,
        "reason": reason,
        "space": header.space,
        "data": header.data,
        "seed": header.seed,
        "objectives": list(header.aims),
        "seconds": round(view.elapsed, 3),
        "trials": {**trials, "planned": header.trials},
        "failures": {t.name: t.reason for t in view.in_state("failed")},
        "verdict": verdict_record(view, outcome.verdict) if outcome.verdict else None,
        "caveat": vars(outcome.caveat) if outcome.caveat else None,
        "front": {
            "source": outcome.front.source,
            "text": outcome.front.describe(),
            "images": outcome.front.images,
            "nets": [_describe_net(m, outcome, header, folder) for m in outcome.front.members],
        },
        "recommended": {
            role.slug: {"net": role.member.name, "not_told_from": [f"{n:04d}" for n in role.tied]}
            for role in outcome.roles
        },
        "report": str(folder / REPORT) if (folder / REPORT).is_file() else None,
        "wandb": tracking or None,
    }
    return json.dumps(_finite(content), default=str)


def _describe_net(
    member: FrontMember, outcome: Outcome, header: StudyHeader, folder: Path
) -> dict[str, Any]:
    return {
        "name": member.name,
        "params": dict(member.trial.params),
        "objectives": dict(member.objectives),
        "intervals": {name: list(ends) for name, ends in member.intervals.items()},
        "measured": member.measured,
        "seeds": len(member.runs),
        "p_on_front": member.p_front,
        "roles": [role.slug for role in outcome.roles_of(member.number)],
        "marks": {mark.name: mark.text for mark in member.marks},
        "weights": None if member.net.lost_net else str(folder / member.file),
        "commands": vars(make_commands(member, header, folder)),
    }


def _finite(value: Any) -> Any:
    """Return plain data with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe_in_one_line(view: View, folder: Path) -> str:
    """Return the verdict of a search in one line, or how many trials there are without a result."""
    outcome = find_outcome(view, folder)
    if outcome.verdict is None:
        failed = count(len(view.in_state("failed")), "trial")
        return f"No trial has a result, {failed} failed."
    return str(verdict_record(view, outcome.verdict)["text"])
