"""How long a search still takes, from the seconds that its trials and final trainings took.

All figures are those of the ledger, so that a search that was resumed knows from the first moment
what the earlier sessions have measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from search.formatting import format_clock
from search.record.study_header import Session
from search.record.trial import Trial
from search.record.view import View

# Of the seconds that score a trial: what a final training spends too, one run of the battery.
SCORING, BATTERY = 0.7, 0.4
STANDING = 0.8  # share of the images that later attacks of finals meet, if not known
TARGETS = 9  # runs of APGD on an image that stands, one for each other class
STRONG = 1.9  # what their passes take, in passes of the search's attacks
FINAL_SCORING = 3.0  # seconds that score a final training, in those that score a trial
SCORING_SHARE = 0.5  # seconds that score a trial in those that train it, while none has ended
FINAL_WORK = 2.0  # seconds of a final training in those of a trial, if nothing else is known
LATEST = 100  # trials that an average is taken over
_ENDED = ("finished", "stopped")


@dataclass(frozen=True)
class Work:
    """The work of a search, or of its finals.

    Args:
      trials: that have been started.
      planned: how many there will be.
      each: seconds that one takes on average, all in all.
      scoring: seconds that scoring takes, in those of the training.
      session: that goes on; None: not known.
    """

    trials: list[Trial]
    planned: int
    each: float
    scoring: float
    session: Session | None = None

    @property
    def rest(self) -> list[float]:
        """The seconds that are left of each that has not ended, running ones first."""
        running = [
            max(0.0, self._expect(trial) - measure_work(trial, self.session))
            for trial in self.trials
            if trial.state == "running"
        ]
        return running + [self.each] * max(0, self.planned - len(self.trials))

    def _expect(self, trial: Trial) -> float:
        """Return the seconds of a running trial, all in all, by the pace of its own epochs."""
        if not trial.epochs:
            return self.each
        reports = trial.epochs.values()
        training = fmean(r.seconds for r in reports) * max(r.epochs for r in reports)
        return training * (1 + self.scoring)

    def time(self, at_once: float) -> float:
        """Return how long the rest takes, at so many at a time; never less than the longest one."""
        longest = max(self.rest, default=0.0) / min(1.0, at_once)  # the last ones leave slots idle
        return max(sum(self.rest) / at_once, longest)


def estimate_time_left(view: View, trials: int, trainings: int) -> float | None:
    """Return the seconds until a search and its finals have ended; None: not known yet.

    Trials take as long as those before on average, stopped ones included, and as many run at a
    time as so far in this session, or in all where this one has hardly begun.

    Args:
      view: of the search; the time is counted from its latest event.
      trials: how many are planned.
      trainings: how many final trainings follow, or have begun.
    """
    every, finals = list(view.trials.values()), _list_finals(view)
    latest = every[-LATEST:]
    scoring = measure_scoring(latest) or SCORING_SHARE
    each = measure_seconds(latest, scoring)
    if each is None:
        return None
    judging = measure_scoring(finals) or estimate_final_scoring(view) * scoring
    final = measure_seconds(finals, judging) or guess_final(view) or FINAL_WORK * each
    session = view.sessions[-1] if view.sessions else None
    after = Work(finals, trainings, final, judging, session)
    at_once = measure_concurrency(view, latest)
    in_finals = measure_concurrency(view, finals) if measure_scoring(finals) else at_once
    left = Work(every, trials, each, scoring, session).time(at_once) + after.time(in_finals)
    starting = trainings and not any(final.epochs for final in finals)
    return left + (measure_start(view, latest) if starting else 0.0)


def describe_time_left(view: View, trials: int, trainings: int, since: float = 0.0) -> str:
    """Return in words how long a search and its finals still take, limits of the user's included.

    Args:
      view: of the search.
      trials: how many are planned.
      trainings: how many final trainings follow, or have begun.
      since: seconds since the latest event; beyond the estimate it is "longer than estimated".
    """
    left = estimate_time_left(view, trials, trainings)
    session = view.sessions[-1] if view.sessions else None
    if session and session.budget is not None:
        budget = session.budget - view.elapsed
        if left is None or budget < left:
            return f"{format_clock(max(0.0, budget - since))} left of the budget"
    if left is None:
        return "time left not known yet"
    may_end = session is not None and session.until_gain is not None and view.finals is None
    about = "at most about" if may_end else "about"
    if left < since:
        return "longer than estimated"
    return f"{about} {format_clock(left - since)} left"


def _list_finals(view: View) -> list[Trial]:
    return list(view.finals.trials.values()) if view.finals else []


def measure_seconds(trials: Sequence[Trial], scoring: float) -> float | None:
    """Return the seconds of a trial on average; while none has ended, by the epochs of all.

    Args:
      trials: stopped ones count, failed ones do not.
      scoring: seconds that scoring takes, in those of the training.
    """
    ended = [trial.seconds for trial in trials if trial.state in _ENDED and trial.seconds]
    if ended:
        return fmean(ended)
    begun = [trial for trial in trials if trial.epochs]
    return fmean(Work(begun, 0, 0.0, scoring)._expect(t) for t in begun) if begun else None


def measure_work(trial: Trial, session: Session | None) -> float:
    """Return the seconds that a trial has taken; one that is scored reports nothing meanwhile."""
    if session is None or session.last is None or trial.started < session.time:
        return trial.seconds
    if trial.state != "running" or not _is_trained(trial):
        return trial.seconds
    return max(trial.seconds, session.last - trial.started)


def _is_trained(trial: Trial) -> bool:
    return any(report.epoch == report.epochs for report in trial.epochs.values())


def measure_scoring(trials: Sequence[Trial]) -> float | None:
    """Return the seconds that scoring took, in those of the training; None if not known."""
    scored = [trial for trial in trials if trial.result]
    total = sum(trial.seconds for trial in scored)
    scoring = sum((t.result.details.evaluate_seconds or 0.0) for t in scored if t.result)
    return scoring / (total - scoring) if total > scoring > 0 else None


def measure_concurrency(view: View, trials: Sequence[Trial]) -> float:
    """Return how many of some trials have run at a time on average, by the seconds of their work.

    It is below 1 where one at a time runs, and the driver's own work comes in between. The time
    before the first trial of a session, in which its workers start, does not count.
    """
    session = view.sessions[-1] if view.sessions else None
    recent = [t for t in trials if session and t.started >= session.time]
    ended = [t for t in recent if t.state in _ENDED]
    if session and session.last and ended:
        began = max(session.time, min(t.ended - t.seconds for t in ended))
        running = any(t.state == "running" for t in recent)
        until = session.last if running else max(t.ended for t in recent)
        work, lasted = sum(measure_work(t, session) for t in recent), until - began
    else:
        work, lasted = sum(t.seconds for t in trials), view.elapsed
    return max(0.05, work / lasted) if work and lasted > 0 else 1.0


def measure_start(view: View, trials: Sequence[Trial]) -> float:
    """Return the seconds in which the workers of this session started; 0 if not known.

    Those of the finals start as long: they are others.
    """
    session = view.sessions[-1] if view.sessions else None
    if session is None:
        return 0.0
    began = [t.ended - t.seconds for t in trials if t.started >= session.time and t.state in _ENDED]
    return max(0.0, min(began) - session.time) if began else 0.0


def guess_final(view: View) -> float | None:
    """Return the seconds of a final training, as long as none has ended; None if not known.

    It trains as a trial does. It then scores as a trial does, without the masking gap, and attacks
    the test images by the search's battery and by the final one, whose attacks after the first meet
    the images that stand.
    """
    factor = estimate_final_scoring(view)
    known = []
    for trial in view.scored()[-LATEST:]:
        scoring = (trial.result.details.evaluate_seconds or 0.0) if trial.result else 0.0
        known.append(trial.seconds - scoring + factor * scoring)
    return fmean(known) if known else None


def estimate_final_scoring(view: View) -> float:
    """Return the seconds that score a final training, in those that score a trial.

    The attacks of the final battery after the first meet an image in the largest ball in which it
    stands, and mostly in no other one. Of eleven searches `rse_sigmas` and `tradeoff` it says 3.4;
    measured were 2.7 to 4.0.
    """
    scale = view.header.scale
    try:
        share = scale["test_images"] / scale["images"]
        gradients = 3 * scale["battery_steps"] * max(1, len(view.header.battery))  # as passes
        more = 3 * scale["strong_steps"] * TARGETS + scale["strong_queries"]
        strong = STRONG * _measure_standing(view) * more / gradients
        return SCORING + BATTERY * share * (2 + strong)
    except (KeyError, TypeError, ZeroDivisionError):  # of an earlier version
        return FINAL_SCORING


def _measure_standing(view: View) -> float:
    """Return the share of images that stand in the smallest ball of the search's battery."""
    curves = [t.result.details.curve for t in view.scored()[-LATEST:] if t.result]
    known = [curve[0][1] for curve in curves if curve]
    return fmean(known) if known else STANDING
