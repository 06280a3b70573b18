"""The longest time for which a running trial may be silent, and the watch over it.

A trial is silent from its start, or from its last report, to its next report. Without a limit a
trial that hangs would stop the search for ever.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

from search.formatting import format_duration
from search.record.derived_ledgers import FinalsLedger
from search.record.trial import Trial
from search.record.view import View
from search.study import Study

FACTOR = 10  # times what epochs or scoring have taken so far
LEAST = 300.0  # seconds; the limit between two epochs is never shorter
UNKNOWN = 3600.0  # seconds; as long as nothing says how long it takes
FINALS_FACTOR = 1000  # times scoring in the search: the final battery takes up to 150 times as long
OFF = 0.0


@dataclass(frozen=True)
class TrialTimeout:
    """How long a trial may be silent.

    Without a limit of the user's it is ten times what epochs have taken, and at least five minutes.
    The first epoch of a trial and its scoring get at least an hour: nets of one space differ in
    their cost by a factor of a thousand, and nothing of this trial says yet how long they take.

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
            f"a first epoch and scoring have at least {format_duration(UNKNOWN)}"
        )

    def limit(self, study: Study, trial: Trial) -> tuple[float, str]:
        """Return the seconds for which a trial may now be silent, and how they came about."""
        if self.seconds is not None:
            return self.seconds or float("inf"), "set by --trial-timeout"
        view = study.view
        epochs = [report.seconds for t in view.trials.values() for report in t.epochs.values()]
        own = [report.seconds for report in trial.epochs.values()]
        last = trial.epochs[max(trial.epochs)] if trial.epochs else None
        if last is None:
            return _stretch(max(epochs, default=0.0), UNKNOWN, "the longest epoch of this run")
        if last.epoch >= last.epochs:
            return _limit_scoring(study)
        typical = max(statistics.median(epochs), *own)
        return _stretch(typical, LEAST, "the median epoch of this run, or the trial's longest")


def _limit_scoring(study: Study) -> tuple[float, str]:
    known = _scoring_seconds(study.view)
    if not known and isinstance(study.ledger, FinalsLedger):
        before = _scoring_seconds(study.ledger.ledger.view)
        longest = max(before, default=86_400 / FINALS_FACTOR)
        return _stretch(longest, UNKNOWN, "the longest scoring in the search", FINALS_FACTOR)
    return _stretch(max(known, default=0.0), UNKNOWN, "the longest scoring in this run")


def _scoring_seconds(view: View) -> list[float]:
    results = [trial.result for trial in view.in_state("finished")]
    return [result.details.evaluate_seconds or 0.0 for result in results if result]


def _stretch(seconds: float, least: float, what: str, factor: int = FACTOR) -> tuple[float, str]:
    text = f"{factor} times {what}, and at least {format_duration(least)}"
    return max(factor * seconds, least), text


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
