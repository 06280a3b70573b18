"""The state of a search, computed from the events of its ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from sys import intern
from typing import Any

from search.record.constraints import feasible
from search.record.json_records import OBJECT, FieldError, from_json, read_key
from search.record.pareto import front
from search.record.study_header import FinalsHeader, Session, StudyHeader
from search.record.trial import Decision, EpochReport, Key, Rung, Trial
from search.record.trial_result import TrialResult

Event = Mapping[str, Any]


@dataclass
class View:
    """The search that a list of events describes.

    Args:
      header: the `study` event.
      trials: by number.
      sessions: the `session` events.
      elapsed: seconds from the first to the last event, without the time between sessions.
      rungs: for each rung, the trials that have reached it, in that order.
      relaxed: the events that made early stopping gentler.
      finals: view of the trainings with fresh seeds; the `origin` of a training is the number of
        the trial that it repeats. None before the finals.
      finals_header: the last `finals` event.
      rescored: for each battery's id, the results of stored nets under it, by trial.
      events: how many events have been applied; what is computed from a view holds until this
        number changes.
    """

    header: StudyHeader = field(default_factory=StudyHeader)
    trials: dict[int, Trial] = field(default_factory=dict)
    sessions: list[Session] = field(default_factory=list)
    elapsed: float = 0.0
    rungs: dict[Key, list[int]] = field(default_factory=dict)
    relaxed: list[Event] = field(default_factory=list)
    finals: View | None = None
    finals_header: FinalsHeader = field(default_factory=FinalsHeader)
    rescored: dict[str, dict[int, TrialResult]] = field(default_factory=dict)
    events: int = field(default=0, compare=False)

    def apply(self, event: Event) -> None:
        """Update the view by one event; events of an unknown kind change nothing.

        An event that repeats another changes nothing; of two reports on one epoch the last counts.

        Raises:
          FieldError: a key of the event is missing, or its value is of the wrong type.
          ValueError: a finished trial has no finite objectives.
        """
        kind = read_key(event, "event", str)
        time = read_key(event, "time", float)
        if kind in _APPLY:
            _APPLY[kind](self, event)
            self._note_changes(event)
        if self.sessions and kind != "session":
            session = self.sessions[-1]
            self.elapsed += time - (session.time if session.last is None else session.last)
            session.last = time
        self.events += 1

    def _set_header(self, event: Event) -> None:
        self.header = StudyHeader.from_json(event)

    def _add_session(self, event: Event) -> None:
        plain = {key: value for key, value in event.items() if key != "event"}
        self.sessions.append(from_json(Session, plain))

    def _relax(self, event: Event) -> None:
        self.relaxed.append(event)

    def _trial(self, event: Event) -> Trial:
        number = read_key(event, "trial", int)
        if number not in self.trials:
            raise FieldError(f"key 'trial' holds {number}, which no proposed event has")
        return self.trials[number]

    def _add_trial(self, event: Event) -> None:
        number = read_key(event, "trial", int)
        self.trials[number] = Trial(
            number,
            read_key(event, "params", OBJECT),
            read_key(event, "seed", int),
            read_key(event, "origin", str),
            started=event["time"],
        )

    def _add_epoch(self, event: Event) -> None:
        metrics = read_key(event, "metrics", OBJECT)
        report = EpochReport(
            read_key(event, "epoch", int),
            read_key(event, "epochs", int),
            read_key(event, "seconds", float),
            {intern(name): value for name, value in metrics.items()},
        )
        self._trial(event).epochs[report.epoch] = report

    def _add_rung(self, event: Event) -> None:
        rung = Rung(
            read_key(event, "epoch", int),
            read_key(event, "strength", float),
            read_key(event, "objectives", OBJECT),
            read_key(event, "sds", OBJECT),
            read_key(event, "table", OBJECT | None),
        )
        action, reason = read_key(event, "action", Any), read_key(event, "reason", str)
        trial = self._trial(event)
        if rung.key not in trial.rungs:
            self.rungs.setdefault(rung.key, []).append(trial.number)
        trial.rungs[rung.key] = rung
        trial.decisions[rung.key] = Decision(action, reason)

    def _begin_finals(self, event: Event) -> None:
        self.finals = self.finals or View()
        self.finals_header = FinalsHeader.from_json(event)

    def _apply_to_finals(self, event: Event) -> None:
        if self.finals is None:
            return
        inner = {**read_key(event, "part", OBJECT), "time": event["time"]}
        if inner.get("event") == "rebuilt":
            self.finals_header = self.finals_header.merge(read_key(inner, "header", OBJECT))
            self.finals._replace_results(inner)
        else:
            self.finals.apply(inner)

    def _add_rescored(self, event: Event) -> None:
        known = self.rescored.setdefault(read_key(event, "battery", str), {})
        known[read_key(event, "trial", int)] = TrialResult.from_json(event)

    def _rebuild(self, event: Event) -> None:
        self.header = self.header.merge(read_key(event, "header", OBJECT))
        self._replace_results(event)

    def _replace_results(self, event: Event) -> None:
        """Give each finished trial its result under another battery, or fail it without one."""
        known = self.rescored.get(read_key(event, "battery", str), {})
        missing = read_key(event, "missing", OBJECT)
        for trial in self.in_state("finished"):
            trial.result = known.get(trial.number)
            if trial.result is None:
                trial.state, trial.reason = "failed", read_key(missing, str(trial.number), str)

    def _end_trial(self, event: Event) -> None:
        trial = self._trial(event)
        if event["event"] == "finished":
            trial.result = TrialResult.from_json(event)
        else:
            trial.reason = read_key(event, "reason", str)
        trial.state, trial.ended = event["event"], event["time"]

    def _note_changes(self, event: Event) -> None:
        """Note on each trial that an event gives values to what has changed since the run began."""
        changed = self.sessions[-1].changed if self.sessions else {}
        if not changed:
            return
        view, inner = self, event
        if event["event"] == "final" and self.finals:
            view, inner = self.finals, event["part"]
        if inner["event"] in ("epoch", "finished"):
            view.trials[inner["trial"]].changed |= changed
        elif inner["event"] == "rebuilt":
            for trial in view.in_state("finished"):
                trial.changed |= changed

    def in_state(self, state: str) -> list[Trial]:
        """Return the trials in a state, by number."""
        return [t for _, t in sorted(self.trials.items()) if t.state == state]

    def feasible(self, trial: Trial) -> bool:
        """Return whether a trial keeps the constraints; one without a result does."""
        return trial.result is None or feasible(trial.result, self.header)

    def front(self) -> list[Trial]:
        """Return the Pareto front of the finished trials, the most accurate on clean images first.

        Trials that do not keep the constraints of the search are left out, unless none keeps them.
        """
        every = [t for t in self.in_state("finished") if t.result]
        done = [t for t in every if self.feasible(t)] or every
        best = front([t.result.point for t in done if t.result])
        members = [t for t, on in zip(done, best, strict=True) if on]
        return sorted(members, key=lambda t: tuple(-v for v in t.result.point) if t.result else ())


_APPLY: Mapping[str, Callable[[View, Event], None]] = {
    "study": View._set_header,
    "session": View._add_session,
    "proposed": View._add_trial,
    "epoch": View._add_epoch,
    "rung": View._add_rung,
    "relaxed": View._relax,
    "finished": View._end_trial,
    "failed": View._end_trial,
    "stopped": View._end_trial,
    "finals": View._begin_finals,
    "final": View._apply_to_finals,
    "rescored": View._add_rescored,
    "rebuilt": View._rebuild,
}
