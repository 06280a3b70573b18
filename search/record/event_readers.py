"""Events as trials, reports, rungs and results; what they hold is checked.

Each reader raises FieldError, whose one line names the key, what it holds and what is allowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from sys import intern

from adv.evaluation.table_check import check_table
from adv.suggestions import suggest_or_list
from search.record.json_records import OBJECT, FieldError, key_reader, read_key
from search.record.limits import EpochNumber, Range, Seconds, Seed, Share, TrialNumber
from search.record.study_header import StudyHeader
from search.record.trial import Decision, EpochReport, Rung, Trial
from search.record.trial_result import TrialResult, read_aims
from spaces import OBJECTIVES, Params

ACTIONS = ("go on", "stop", "audit")
_epoch, _epochs = (key_reader(key, EpochNumber) for key in ("epoch", "epochs"))
_seconds = key_reader("seconds", Seconds)
_lr_share = key_reader("lr_share", Share | None)
_metrics = key_reader("metrics", Mapping[str, float | bool])


def read_trial(event: OBJECT) -> Trial:
    """Return the trial of a `proposed` event."""
    return Trial(
        read_key(event, "trial", TrialNumber),
        read_key(event, "params", Params),
        read_key(event, "seed", Seed),
        read_key(event, "origin", str),
        started=event["time"],
    )


def read_report(event: OBJECT) -> EpochReport:
    """Return the report of an `epoch` event."""
    epoch, epochs = _epoch(event), _epochs(event)
    if epoch > epochs:
        raise FieldError(f"key 'epoch' holds {epoch}, but there are {epochs} epochs")
    metrics = {intern(name): value for name, value in _metrics(event).items()}  # millions of them
    return EpochReport(epoch, epochs, _seconds(event), metrics)


def read_rung(event: OBJECT, header: StudyHeader) -> tuple[Rung, Decision]:
    """Return the evaluation and the decision of a `rung` event of a search."""
    rung = Rung(
        read_key(event, "epoch", EpochNumber),
        read_key(event, "strength", Share),
        read_key(event, "objectives", Mapping[str, float]),
        read_key(event, "sds", Mapping[str, float]),
        read_key(event, "table", OBJECT | None),
        read_aims(event),
        _lr_share(event) if "lr_share" in event else None,
    )
    check_objectives(rung.objectives, len(header.battery))
    for name, sd in rung.sds.items():
        if sd < 0:
            raise FieldError(f"key 'sds' holds {sd} for {name}, not a number of 0 or more")
    if rung.table:
        try:
            check_table(rung.table)
        except ValueError as error:
            raise FieldError(f"key 'table': {error}") from None
    action, reason = read_key(event, "action", str), read_key(event, "reason", str)
    if action not in ACTIONS:
        raise FieldError(f"key 'action' holds {action!r}{suggest_or_list(action, ACTIONS)}")
    return rung, Decision(action, reason)


def read_result(event: OBJECT, header: StudyHeader) -> TrialResult:
    """Return the result of a `finished` or `rescored` event of a search.

    A re-scoring may be by a battery with other radii than the header's: those of its curve.
    """
    result = TrialResult.from_json(event)
    curve = [row for row in result.details.curve or () if row[0] > 0]
    radii = len(header.battery)
    if event["event"] == "rescored":
        radii = max(len(curve), radii)
    check_result(result, radii)
    return result


def check_result(result: TrialResult, radii: int) -> None:
    """Raise FieldError unless all objectives of a result are possible, and in their intervals.

    Args:
      result: of a trial.
      radii: of the battery, see `check_objectives`.
    """
    details = result.details
    for values in (result.objectives, details.last, details.validation, details.claimed):
        if values:
            check_objectives(values, radii)
    for name, (low, high) in result.intervals.items():
        value = result.objectives.get(name, low)
        if value not in Range(low, high):
            raise FieldError(f"{name} is {value:g}, outside its interval from {low:g} to {high:g}")


def check_objectives(objectives: Mapping[str, float], radii: int) -> None:
    """Raise FieldError unless both objectives are there, and lie in their ranges.

    Args:
      objectives: by name.
      radii: of the battery: the largest attacked score in hundreds. If it is 0, the record is of a
        program without a battery, whose objectives may have any range.
    """
    for name, highest in zip(OBJECTIVES, (1, 100 * radii), strict=True):
        read_key(objectives, name, float)
        if radii and objectives[name] not in Range(0, highest):
            raise FieldError(f"{name} is {objectives[name]:g}, not {Range(0, highest)}")
