"""What a tracker is told of a trial or a final training: its name, config, tags and results.

It follows from the ledger alone, so that all trackers say the same, however often they are told.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import spaces
from search.outcome.marks import Name as MarkName
from search.outcome.marks import find_marks, list_marks
from search.record.study_header import StudyHeader
from search.record.trial import Trial
from search.record.view import View
from search.reporting.csv_tables import gap_columns
from search.reporting.model_family import find_model_family
from search.tracking.standing import Standing
from spaces import Value

ENDS = ("finished", "stopped", "failed")
ON_FRONT, FAILED = "front", "failed"
STATE_TAGS = (ON_FRONT, FAILED, *get_args(MarkName))  # these come and go with the ledger
_LONGEST_TAG = 64
_TAKEN = ("space", "data", "scale", "battery", "seed", "commit", "model_family", "trial", "origin")


@dataclass(frozen=True)
class RunRecord:
    """A trial or a final training, as trackers show it.

    Args:
      key: an id that no other run of any search has.
      kind: "trial" or "finalist".
      name: for people.
      config: what decided it, hyperparameters included, as plain data.
      tags: space, scale and model family; `front`, `failed` and the marks where they hold.
      summary: what came of it.
      trial: as the ledger has it.
    """

    key: str
    kind: str
    name: str
    config: dict[str, Any]
    tags: tuple[str, ...]
    summary: dict[str, Any]
    trial: Trial

    @property
    def ended(self) -> bool:
        """True if nothing more will happen to it."""
        return self.trial.state in ENDS


def run_key(study: str, trial: Trial, *, final: bool) -> str:
    """Return the id of the run of a trial, or of a final training."""
    return f"{study}-{'final-' * final}{trial.name}"


def make_record(
    study: str, trial: Trial, header: StudyHeader, standing: Standing, *, final: bool
) -> RunRecord:
    """Return what trackers are told of a trial or a final training.

    Args:
      study: id of the search, see `study_id`.
      trial: to describe.
      header: of the search.
      standing: of the nets of the search.
      final: whether it is a final training.
    """
    kind = "finalist" if final else "trial"
    return RunRecord(
        run_key(study, trial, final=final),
        kind,
        f"{kind} {trial.name}",
        _config(trial, header, final=final),
        _tags(trial, header, standing, final=final),
        _final_summary(trial, header) if final else _summary(trial, header, standing),
        trial,
    )


def all_records(study: str, view: View, standing: Standing) -> Iterator[RunRecord]:
    """Yield the record of each trial, then of each final training, by number."""
    for part, final in ((view, False), (view.finals, True)):
        for _, trial in sorted(part.trials.items()) if part else ():
            yield make_record(study, trial, view.header, standing, final=final)


def config_name(knob: str) -> str:
    """Return the name of a hyperparameter in a config: its own, unless that is taken."""
    return f"knob_{knob}" if knob in _TAKEN else knob


def finite_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers of a row but its `epoch`; a truth value is 0 or 1."""
    return {
        name: float(value)
        for name, value in row.items()
        if name != "epoch" and isinstance(value, bool | int | float) and math.isfinite(value)
    }


def compute_digest(value: Any) -> str:
    """Return a short digest of plain data."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe_study(header: StudyHeader) -> dict[str, Any]:
    """Return what all runs of a search have in common, for their configs."""
    return {
        "space": header.space,
        "data": header.data,
        "scale": str(header.scale.get("name", "")),
        "battery": header.score,
        "commit": header.commit,
    }


def _config(trial: Trial, header: StudyHeader, *, final: bool) -> dict[str, Any]:
    of = {"trial": int(trial.origin)} if final else {"trial": trial.number, "origin": trial.origin}
    return {
        **describe_study(header),
        **of,
        "seed": trial.seed,
        "model_family": find_model_family(trial, header),
        **{config_name(name): _plain(value) for name, value in trial.params.items()},
    }


def _plain(value: Value) -> Value:
    return value if isinstance(value, bool | int | float | str) else str(value)


def _tags(trial: Trial, header: StudyHeader, standing: Standing, *, final: bool) -> tuple[str, ...]:
    holds = [tag for tag in _find_marks(trial, header, standing, final=final).split(", ") if tag]
    if trial.state == "failed":
        holds.insert(0, FAILED)
    elif (int(trial.origin) if final else trial.number) in standing.front:
        holds.insert(0, ON_FRONT)
    return _clean((*common_tags(header), find_model_family(trial, header), *holds))


def common_tags(header: StudyHeader) -> tuple[str, ...]:
    """Return the tags that all runs of a search have: its space and its scale."""
    return _clean((spaces.title(header.space), str(header.scale.get("name", ""))))


def _clean(tags: Iterable[str]) -> tuple[str, ...]:
    """Return tags as W&B takes them, each once."""
    return tuple(dict.fromkeys(tag[:_LONGEST_TAG] for tag in tags if tag))


def _find_marks(trial: Trial, header: StudyHeader, standing: Standing, *, final: bool) -> str:
    """Return why the scores of a training mislead, "" if they do not."""
    return list_marks(find_marks(trial, header)) if final else standing.list_marks(trial, header)


def _summary(trial: Trial, header: StudyHeader, standing: Standing) -> dict[str, Any]:
    """Return what came of a trial, and its place among the nets of the search."""
    roles = ", ".join(standing.roles.get(trial.number, ()))
    marks = standing.list_marks(trial, header)
    place = {"on_front": trial.number in standing.front, "roles": roles, "marks": marks}
    return {**_state(trial), **_results(trial), **place}


def _final_summary(trial: Trial, header: StudyHeader) -> dict[str, Any]:
    """Return what came of a final training: on test images, and as the search would see it."""
    known = {f"final/{name}": value for name, value in _results(trial).items()}
    if trial.result:
        details = trial.result.details
        for kind, values in (("validation", details.validation), ("claimed", details.claimed)):
            known |= {f"final/{kind}_{name}": value for name, value in (values or {}).items()}
    return {**_state(trial), **known, "marks": list_marks(find_marks(trial, header))}


def _state(trial: Trial) -> dict[str, Any]:
    reason = {"reason": trial.reason} if trial.reason else {}
    return {"state": trial.state, **reason, "seconds": round(trial.seconds, 3)}


def _results(trial: Trial) -> dict[str, Any]:
    if not trial.result:
        return {}
    found: dict[str, Any] = {}
    for name, value in trial.result.objectives.items():
        found[name] = value
        if name in trial.result.intervals:
            found[f"{name}_low"], found[f"{name}_high"] = trial.result.intervals[name]
    return {**found, **gap_columns(trial), "best_epoch": trial.result.details.best_epoch}
