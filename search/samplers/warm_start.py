"""What earlier studies are worth to a new one: their fronts as first points, perhaps their values.

Values of another battery, of other data or of another scale say nothing certain about this search
and are never mixed with its own; the points of their fronts are still good places to begin. All of
it goes into the ledger's header, so that the earlier runs need not be there later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from search.record.ledger import read
from search.record.run_folder import LEDGER, require_run
from search.record.study_header import StudyHeader, WarmStart
from search.record.trial_result import ResultDetails, TrialResult
from search.record.view import View
from search.stopping import order
from spaces import Choice, Knob, Params, Space, Value, exists

SAME = ("battery", "data_fingerprint", "classes")
FREE = ("cpus", "gpus", "trials")  # what a scale may differ in, and its values still mean the same
KEPT = ("parameters", "latency", "masking_gap")


def warm(runs: Sequence[Path], space: Space, header: StudyHeader, most: int) -> WarmStart:
    """What the new study's header says of the `runs`.

    Args:
      runs: folders of earlier searches.
      space: that is searched now.
      header: of the new study.
      most: points at most; what is left out is the most crowded part of the fronts.

    Returns:
      `runs`; `points`, those of the fronts as points of this space; `told`, finished trials of runs
      with the same battery, data and scale whose point is one of this space: `params`,
      `objectives`, `details`.

    Raises:
      ValueError: there is no search in a folder, or it shares no knob with this space.
    """
    points: list[Params] = []
    told: list[dict[str, Any]] = []
    for run in runs:
        view = read(require_run(run, "--warm-from") / LEDGER)
        found = list(_points(view, space))
        if not found and view.front():
            raise ValueError(f"--warm-from {run}: it shares no knob with this space")
        points += [point for point in found if point not in points]
        if comparable(view.header, header):
            told += list(_told(view, space))
    return WarmStart([str(run) for run in runs], points[:most], told)


def comparable(one: StudyHeader, other: StudyHeader) -> bool:
    """Whether a value means the same in two studies: battery, data and scale are equal."""
    scales = [{k: v for k, v in h.scale.items() if k not in FREE} for h in (one, other)]
    same = all(_plain(getattr(one, name)) == _plain(getattr(other, name)) for name in SAME)
    return scales[0] == scales[1] and same


def results(warm: WarmStart | None) -> list[tuple[Params, TrialResult]]:
    """The finished trials of earlier studies that a header holds."""
    told = warm.told if warm else ()
    return [
        (t["params"], TrialResult(t["objectives"], {}, ResultDetails.from_json(t["details"])))
        for t in told
    ]


def adapted(space: Space, params: Params) -> Params | None:
    """The point of `space` that agrees with `params` in each knob that both have.

    Numbers out of range go to the nearest end, other knobs to the first known point's value or to
    the middle; None where no knob is shared.
    """
    usual: Params = space.known[0] if space.known else {}
    made: dict[str, Value] = {}
    shared = 0
    for name, knob in space.knobs.items():
        if not exists(knob, made):
            continue
        value = _fitting(knob, params[name]) if name in params else None
        shared += value is not None
        made[name] = usual.get(name, knob.at(0.5)) if value is None else value
    return made if shared else None


def _points(view: View, space: Space) -> Iterator[Params]:
    members = [t for t in view.front() if t.result]
    for i in order([t.result.point for t in members if t.result]):
        point = adapted(space, members[i].params)
        if point is not None:
            yield point


def _told(view: View, space: Space) -> Iterator[dict[str, Any]]:
    for trial in view.in_state("finished"):
        if trial.result and space.holds(trial.params):
            details = {k: v for k, v in trial.result.details.to_json().items() if k in KEPT}
            objectives = dict(trial.result.objectives)
            yield {"params": dict(trial.params), "objectives": objectives, "details": details}


def _fitting(knob: Knob, value: Value) -> Value | None:
    """The value of a knob that is nearest to `value`, None where there is none."""
    if knob.holds(value):
        return value
    if isinstance(knob, Choice) or isinstance(value, str | bool):
        return None
    near = min(knob.high, max(knob.low, value))
    return near if knob.holds(near) else round(near)


def _plain(value: Any) -> Any:
    """Lists for tuples, as in a header that was read back."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
