"""Warm start: the fronts of earlier studies as first configurations, and perhaps their results.

Results under another battery, on other data or at another scale are not comparable and are never
mixed with those of this search; the configurations of those fronts are still good ones to try
first. Everything is copied into the ledger's header, so the earlier runs may be deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from search.record.ledger import read
from search.record.run_folder import LEDGER, require_run
from search.record.study_header import StudyHeader, WarmStart
from search.record.trial_result import ResultDetails, TrialResult, read_aims
from search.record.view import View
from search.stopping.nondominated_sort import nondominated_order
from spaces import OBJECTIVES, Choice, Knob, Params, Space, Value, exists

# Two studies are comparable if these entries of their headers are equal, and all settings of their
# scales but those in `IGNORED`.
EQUAL = (
    *("battery", "data_fingerprint", "classes", "image_shape"),
    *("net", "init", "source_sha256", "init_sha256"),
)
IGNORED = ("cpus", "gpus", "trials", "image_size")
DETAILS = ("parameters", "latency", "masking_gap")  # copied with a result: constraints need them


def warm_start(runs: Sequence[Path], space: Space, header: StudyHeader, limit: int) -> WarmStart:
    """Return what a new study takes over from earlier runs, for its header.

    Args:
      runs: folders of earlier searches.
      space: the search space of the new study.
      header: of the new study.
      limit: most configurations to take; the most crowded ones of the fronts are left out.

    Returns:
      The runs; the configurations of their fronts, adapted to this space; and the finished trials
      of comparable runs whose configuration is one of this space.

    Raises:
      ValueError: a folder holds no search, or its search shares no hyperparameter with this space.
    """
    configurations: list[Params] = []
    observed: list[dict[str, Any]] = []
    for run in runs:
        view = read(require_run(run, "--warm-from") / LEDGER)
        found = list(_adapt_front(view, space))
        if not found and view.front():
            raise ValueError(f"--warm-from {run}: it shares no hyperparameter with this space")
        configurations += [params for params in found if params not in configurations]
        if is_comparable(view.header, header):
            observed += list(_select_observed(view, space))
    return WarmStart([str(run) for run in runs], configurations[:limit], observed)


def is_comparable(one: StudyHeader, other: StudyHeader) -> bool:
    """Return True if results of two studies are comparable: equal battery, data and scale."""
    first, second = (
        {k: v for k, v in header.scale.items() if k not in IGNORED}
        | {"score": header.score, "threat_model": header.threat_model}
        for header in (one, other)
    )
    return (
        first == second
        and one.aims == other.aims
        and all(_plain(getattr(one, name)) == _plain(getattr(other, name)) for name in EQUAL)
    )


def observed_trials(warm: WarmStart | None) -> list[tuple[Params, TrialResult]]:
    """Return the finished trials of earlier studies that a header holds."""
    observed = warm.told if warm else ()
    return [
        (
            t["params"],
            TrialResult(t["objectives"], {}, ResultDetails.from_json(t["details"]), read_aims(t)),
        )
        for t in observed
    ]


def adapt_params(space: Space, params: Params) -> Params | None:
    """Return the configuration of `space` with the values of `params` for shared hyperparameters.

    A number out of range becomes the nearest bound. Other hyperparameters take the value of the
    first known configuration, or the middle of their range. Returns None if nothing is shared.
    """
    default: Params = space.known[0] if space.known else {}
    adapted: dict[str, Value] = {}
    shared = 0
    for name, knob in space.knobs.items():
        if not exists(knob, adapted):
            continue
        value = _nearest_value(knob, params[name]) if name in params else None
        shared += value is not None
        adapted[name] = default.get(name, knob.at(0.5)) if value is None else value
    return adapted if shared else None


def _adapt_front(view: View, space: Space) -> Iterator[Params]:
    members = [t for t in view.front() if t.result]
    for i in nondominated_order([t.result.point for t in members if t.result]):
        params = adapt_params(space, members[i].params)
        if params is not None:
            yield params


def _select_observed(view: View, space: Space) -> Iterator[dict[str, Any]]:
    for trial in view.scored():
        if trial.result and space.holds(trial.params):
            details = {k: v for k, v in trial.result.details.to_json().items() if k in DETAILS}
            objectives = dict(trial.result.objectives)
            found = {"params": dict(trial.params), "objectives": objectives, "details": details}
            aims = trial.result.aims
            yield found if aims == OBJECTIVES else {**found, "aims": list(aims)}


def _nearest_value(knob: Knob, value: Value) -> Value | None:
    """Return the value of a hyperparameter that is nearest to `value`, None if there is none."""
    if knob.holds(value):
        return value
    if isinstance(knob, Choice) or isinstance(value, str | bool):
        return None
    near = min(knob.high, max(knob.low, value))
    return near if knob.holds(near) else round(near)


def _plain(value: Any) -> Any:
    """Return the value with lists for tuples, as JSON gives it back."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value
