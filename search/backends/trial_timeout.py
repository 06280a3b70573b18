"""The longest time for which a running trial may be silent, and the watch over it.

A trial is silent from its start, or from its last report, to its next report. Without a limit a
trial that hangs would stop the search for ever.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from adv.models import Net
from adv.models.size import size_of
from adv.shape import Shape
from search.formatting import format_duration
from search.recipes import RecipeError, catch_recipe_errors
from search.record.derived_ledgers import FinalsLedger
from search.record.trial import Trial
from search.record.view import View
from search.study import Study

FACTOR = 10  # times what epochs have taken so far
SCORING_FACTOR = 40  # times scoring so far: a random net takes about four times as long as others
LEAST = 300.0  # seconds; the limit is never shorter
UNKNOWN = 3600.0  # seconds; as long as nothing says how long it takes
FINALS_FACTOR = 1000  # times scoring in the search: the final battery takes up to 150 times as long
RECENT = 50  # trials that tell how long it takes: to size the nets of thousands takes minutes
OFF = 0.0


@dataclass(frozen=True)
class TrialTimeout:
    """The rule for the longest silence of a trial.

    Without a limit of the user's it is ten times what epochs have taken, and at least five minutes.
    Nets of one space differ in their cost by a factor of a thousand, so what other trials took
    counts in proportion to the multiply-adds of the nets until a trial has an epoch of its own.
    While nothing is known, as before the first epoch of a run, the limit is an hour.

    Args:
      seconds: the limit; None: it follows from the trials so far, `OFF`: there is none.
    """

    seconds: float | None = None

    @property
    def shortest(self) -> float:
        """The seconds for which every trial may be silent."""
        return LEAST if self.seconds is None else self.seconds

    def describe(self) -> str:
        """Return the rule in words."""
        if self.seconds == OFF:
            return "never failed (--trial-timeout off)"
        if self.seconds is not None:
            return f"failed after {format_duration(self.seconds)} without a report"
        return (
            f"failed after {FACTOR} times the time of an epoch, at least {format_duration(LEAST)}; "
            f"{format_duration(UNKNOWN)} before the first epoch of the run"
        )

    def limit(self, study: Study, trial: Trial) -> tuple[float, str]:
        """Return the seconds for which a trial may now be silent, and how they came about."""
        if self.seconds is not None:
            return self.seconds or float("inf"), "set by --trial-timeout"
        last = trial.epochs[max(trial.epochs)] if trial.epochs else None
        if last is not None and last.epoch >= last.epochs:
            return _limit_scoring(study, trial)
        trained = _latest(study.view, lambda t: bool(t.epochs))
        if last is None:
            known = ((t, max(report.seconds for report in t.epochs.values())) for t in trained)
            return _stretch(
                _carry_over(study, trial, known), FACTOR, "the longest of the last epochs"
            )
        epochs = [report.seconds for t in trained for report in t.epochs.values()]
        own = max(report.seconds for report in trial.epochs.values())
        typical = max(statistics.median(epochs), own)
        return _stretch(typical, FACTOR, "the median of the last epochs, or the trial's longest")


def _limit_scoring(study: Study, trial: Trial) -> tuple[float, str]:
    seconds = _carry_over(study, trial, _scoring_seconds(study.view))
    if seconds is None and isinstance(study.ledger, FinalsLedger):
        before = _carry_over(study, trial, _scoring_seconds(study.ledger.ledger.view))
        return _stretch(before, FINALS_FACTOR, "the longest scoring in the search")
    return _stretch(seconds, SCORING_FACTOR, "the longest of the last scorings")


def _scoring_seconds(view: View) -> list[tuple[Trial, float]]:
    scored = _latest(view, lambda t: t.state == "finished" and t.result is not None)
    return [(t, t.result.details.evaluate_seconds or 0.0) for t in scored if t.result]


def _latest(view: View, tells: Callable[[Trial], bool]) -> list[Trial]:
    """Return the latest `RECENT` trials that tell something, the latest first."""
    return list(islice(filter(tells, reversed(view.trials.values())), RECENT))


def _carry_over(study: Study, trial: Trial, known: Iterable[tuple[Trial, float]]) -> float | None:
    """Return how long a trial would take at most, judging by others; None: nothing tells it.

    A net larger than another takes longer in proportion to its multiply-adds, at most.
    """
    own = _multiply_adds(study, trial)
    expected = []
    for other, seconds in known:
        theirs = _multiply_adds(study, other)
        if own is None or theirs is None:
            return None
        expected.append(seconds * max(1.0, own / theirs))
    return max(expected, default=None)


def _multiply_adds(study: Study, trial: Trial) -> float | None:
    """Return the multiply-adds of a net for an image; None if the recipe has no such net."""
    try:
        with catch_recipe_errors(trial.params):
            header = study.view.header
            net = study.space.build(**trial.params).net
            return _count(net, max(2, header.classes), header.image_shape)
    except RecipeError:  # its trial says so
        return None


@lru_cache(maxsize=1000)
def _count(net: Net, classes: int, shape: Shape) -> float:
    return max(1.0, size_of(net, classes, shape).multiply_adds)


def _stretch(seconds: float | None, factor: int, what: str) -> tuple[float, str]:
    if seconds is None:
        return UNKNOWN, "nothing is known yet of how long it takes"
    text = f"{factor} times {what}, and at least {format_duration(LEAST)}"
    return max(factor * seconds, LEAST), text


class Watchdog:
    """Tells which of the running trials have been silent for too long.

    Only time in which the driver itself runs counts: it may be suspended, and then cannot hear.

    Args:
      study: whose trials run.
      timeout: how long they may be silent.
    """

    _STEP = 5.0  # seconds; a longer time between two looks counts as so much

    def __init__(self, study: Study, timeout: TrialTimeout) -> None:
        self.study = study
        self.timeout = timeout
        self._silence: dict[int, float] = {}
        self._limits: dict[int, tuple[float, str]] = {}
        self._last = time.monotonic()

    def hear(self, number: int) -> None:
        """Note that a trial has been started, or has reported."""
        self._silence[number] = 0.0
        self._limits.pop(number, None)

    def forget(self, number: int) -> None:
        """Note that a trial does not run any more."""
        self._silence.pop(number, None)

    def find_silent(self) -> dict[int, str]:
        """Return why trials have to be ended, by number; it is called every few seconds."""
        now = time.monotonic()
        passed, self._last = min(now - self._last, self._STEP), now
        found = {}
        for number in self._silence:
            self._silence[number] += passed
            if self._silence[number] < self.timeout.shortest:
                continue
            if number not in self._limits:
                trial = self.study.view.trials[number]
                self._limits[number] = self.timeout.limit(self.study, trial)
            seconds, origin = self._limits[number]
            if self._silence[number] > seconds:
                found[number] = (
                    f"silent for more than {format_duration(seconds)} ({origin}); "
                    "--trial-timeout allows more"
                )
        return found
