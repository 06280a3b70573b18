"""The state of a search, computed from the events of its ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from search.record.constraints import check_names, feasible
from search.record.event_readers import read_report, read_result, read_rung, read_trial
from search.record.json_records import OBJECT, FieldError, from_json, key_reader, read_key
from search.record.limits import Clock, TrialNumber, find_unusable, shorten
from search.record.pareto import front
from search.record.study_header import FinalsHeader, Session, StudyHeader
from search.record.trial import Key, Trial
from search.record.trial_result import TrialResult

Event = OBJECT
_kind, _time = key_reader("event", str), key_reader("time", Clock)
_trial_number = key_reader("trial", TrialNumber)
_OF_THE_SEARCH = ("study", "session", "finals", "final")  # no event of a final training


@dataclass
class View:
    """The search that a list of events describes.

    Args:
      header: the `study` event.
      trials: by number.
      sessions: the `session` events.
      elapsed: seconds from the first to the last event of each session, in all. They are counted by
        the clock that stands in the events; where none does, by their times, but never below zero.
      rungs: for each rung, the trials that have reached it, in that order.
      relaxed: the events that made early stopping gentler.
      finals: view of the trainings with fresh seeds; the `origin` of a training is the number of
        the trial that it repeats. None before the finals.
      finals_header: the last `finals` event.
      rescored: for each battery's id, the results of stored nets under it, by trial.
      squeezed: for each trial that ran out of memory the largest share with which it did.
      repairs: the `repaired` events: lines of the ledger were lost.
      lost: numbers of the trials of which a repair could save nothing; they are not used again.
      lost_finals: the same for the trainings of the finals.
      clock: of the latest event of the session that runs; None: not recorded.
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
    squeezed: dict[int, float] = field(default_factory=dict)
    repairs: list[Event] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    lost_finals: set[int] = field(default_factory=set)
    clock: float | None = field(default=None, compare=False)
    events: int = field(default=0, compare=False)

    def apply(self, event: Event, clock: float | None = None) -> None:
        """Update the view by one event; events of an unknown kind change nothing.

        An event that repeats another changes nothing; of two reports on one epoch the last counts.

        Args:
          event: a JSON object.
          clock: seconds since its session began, by a clock that nobody sets; None: not recorded.

        Raises:
          FieldError: the event is not possible; one line says why, and the view is unchanged.
        """
        if unusable := find_unusable(event):
            raise FieldError(unusable)
        kind, time = _kind(event), _time(event)
        if kind in _APPLY:
            _APPLY[kind](self, event)
            self._note_changes(event)
        if kind == "session":
            self.clock = clock
        elif self.sessions and kind != "repaired":
            self._count_time(time, clock)
        self.events += 1

    def _count_time(self, time: float, clock: float | None) -> None:
        """Add the seconds between the latest event of the session and this one."""
        session = self.sessions[-1]
        if clock is None or self.clock is None:
            passed = time - (session.time if session.last is None else session.last)
        elif clock < self.clock:  # of a session whose first line was lost
            passed = clock
        else:
            passed = clock - self.clock
        self.elapsed += max(0.0, passed)
        session.last, self.clock = time, clock

    def _set_header(self, event: Event) -> None:
        header = StudyHeader.from_json(event)
        check_names(header)
        if self.header.format and self.header != header:
            raise FieldError("the ledger begins with another study")
        self.header = header

    def _add_session(self, event: Event) -> None:
        plain = {key: value for key, value in event.items() if key != "event"}
        self.sessions.append(from_json(Session, plain))

    def _relax(self, event: Event) -> None:
        self.relaxed.append(event)

    def _trial(self, event: Event) -> Trial:
        number = _trial_number(event)
        if number not in self.trials:
            raise FieldError(f"key 'trial' holds {number}, which no proposed event has")
        return self.trials[number]

    def _add_trial(self, event: Event) -> None:
        trial = read_trial(event)
        known = self.trials.setdefault(trial.number, trial)
        if (known.params, known.seed, known.origin) != (trial.params, trial.seed, trial.origin):
            raise FieldError(f"trial {trial.number} was proposed before, with other values")

    def _start_trial(self, event: Event) -> None:
        self._trial(event).starts += 1

    def _excuse_trial(self, event: Event) -> None:
        trial = self._trial(event)
        trial.starts = max(0, trial.starts - 1)

    def _end_session(self, event: Event) -> None:
        """Forget starts without an end: a session that ends in order was ended by no trial."""
        for view in (self, self.finals):
            for trial in view.in_state("running") if view else ():
                trial.starts = 0
        if self.sessions:
            self.sessions[-1].end = str(event.get("reason", ""))

    def _add_epoch(self, event: Event) -> None:
        report, trial = read_report(event), self._trial(event)
        if report.epoch not in trial.epochs:
            trial.starts = 0
        trial.epochs[report.epoch] = report

    def _add_rung(self, event: Event) -> None:
        rung, decision = read_rung(event, self.header)
        trial = self._trial(event)
        if rung.key not in trial.rungs:
            self.rungs.setdefault(rung.key, []).append(trial.number)
        trial.rungs[rung.key] = rung
        trial.decisions[rung.key] = decision

    def _begin_finals(self, event: Event) -> None:
        header = FinalsHeader.from_json(event)
        self._check_finalists(header)
        self.finals = self.finals or View(lost=self.lost_finals)
        self.finals_header = header

    def _apply_to_finals(self, event: Event) -> None:
        if self.finals is None:
            return
        inner = {**read_key(event, "part", OBJECT), "time": event["time"]}
        kind = read_key(inner, "event", str)
        if kind in _OF_THE_SEARCH:
            raise FieldError(f"part: a final training has no event {kind!r}")
        if kind == "proposed":
            self._check_repeated(read_key(inner, "origin", str))
        self.finals.header = self.header  # its battery gives the ranges of the results
        if kind == "rebuilt":
            header = self.finals_header.merge(read_key(inner, "header", OBJECT))
            self._check_finalists(header)
            self.finals._replace_results(inner)
            self.finals_header = header
        else:
            self.finals.apply(inner)

    def _check_finalists(self, header: FinalsHeader) -> None:
        """Raise FieldError unless the finalists are trials of the search."""
        for number in header.trials:
            if number not in self.trials:
                raise FieldError(f"key 'trials' holds {number}, which no proposed event has")

    def _check_repeated(self, origin: str) -> None:
        """Raise FieldError unless the origin of a final training is the number of a trial."""
        if not (origin.isascii() and origin.isdigit() and len(origin) < 9):
            raise FieldError(f"part: key 'origin' holds {shorten(origin)}, not a trial's number")
        if int(origin) not in self.trials:
            raise FieldError(f"part: key 'origin' holds {origin}, which no proposed event has")

    def _add_rescored(self, event: Event) -> None:
        result = read_result(event, self.header)
        battery, trial = read_key(event, "battery", str), self._trial(event)
        self.rescored.setdefault(battery, {})[trial.number] = result

    def _rebuild(self, event: Event) -> None:
        header = self.header.merge(read_key(event, "header", OBJECT))
        check_names(header)
        self._replace_results(event)
        self.header = header

    def _replace_results(self, event: Event) -> None:
        """Give each finished trial its result under another battery, or the reason for none."""
        known = self.rescored.get(read_key(event, "battery", str), {})
        missing = read_key(event, "missing", OBJECT)
        for trial in self.in_state("finished"):
            trial.earlier = trial.result or trial.earlier
            trial.result = known.get(trial.number)
            if trial.result is None:
                number = str(trial.number)
                if number in missing:  # earlier versions name a trial only the first time
                    trial.reason = read_key(missing, number, str)
                trial.reason = trial.reason or "not scored under this battery"
            else:
                trial.reason = trial.lost_net = ""

    def _note_squeezed(self, event: Event) -> None:
        """Note that a trial ran out of memory; the start does not count, nor does the trial end."""
        trial, share = self._trial(event), read_key(event, "share", float)
        read_key(event, "reason", str)
        trial.starts = max(0, trial.starts - 1)
        self.squeezed[trial.number] = max(share, self.squeezed.get(trial.number, 0.0))

    def _note_net(self, event: Event) -> None:
        self._trial(event).lost_net = read_key(event, "lost", str)

    def _end_trial(self, event: Event) -> None:
        trial, state = self._trial(event), event["event"]
        result = read_result(event, self.header) if state == "finished" else None
        reason = "" if result else read_key(event, "reason", str)
        if trial.state == "running":
            trial.result, trial.reason = result, reason
            trial.state, trial.ended = state, event["time"]
        elif (trial.state, trial.result, trial.reason) != (state, result, reason):
            raise FieldError(f"trial {trial.number} has {trial.state} before, with other values")

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
            for trial in view.scored():
                trial.changed |= changed

    def _note_repair(self, event: Event) -> None:
        trials, finals = (
            read_key(event, key, Sequence[TrialNumber]) for key in ("trials", "finals")
        )
        self.lost |= set(trials)
        self.lost_finals |= set(finals)
        if self.finals:
            self.finals.lost |= self.lost_finals
        read_key(event, "lines", Sequence[int])
        read_key(event, "missing", Sequence[tuple[int, int]])
        self.repairs.append(event)

    @property
    def next_number(self) -> int:
        """The number of the next trial: no trial has had it, nor one that was lost."""
        return 1 + max({-1, *self.trials, *self.lost})

    def in_state(self, state: str) -> list[Trial]:
        """Return the trials in a state, by number."""
        found = [trial for trial in self.trials.values() if trial.state == state]
        found.sort(key=lambda trial: trial.number)  # they are in this order but in odd ledgers
        return found

    def scored(self) -> list[Trial]:
        """Return the finished trials that have a result under the battery of the run, by number.

        After a re-scoring, those have none whose nets could not be scored again.
        """
        return [trial for trial in self.in_state("finished") if trial.result]

    def feasible(self, trial: Trial) -> bool:
        """Return whether a trial keeps the constraints; one without a result does."""
        return trial.result is None or feasible(trial.result, self.header)

    def front(self) -> list[Trial]:
        """Return the Pareto front of the finished trials, the most accurate on clean images first.

        Trials that do not keep the constraints of the search are left out, unless none keeps them.
        """
        every = self.scored()
        done = [t for t in every if self.feasible(t)] or every
        best = front([t.result.point for t in done if t.result])
        members = [t for t, on in zip(done, best, strict=True) if on]
        return sorted(members, key=lambda t: tuple(-v for v in t.result.point) if t.result else ())


_APPLY: Mapping[str, Callable[[View, Event], None]] = {
    "study": View._set_header,
    "session": View._add_session,
    "end": View._end_session,
    "proposed": View._add_trial,
    "started": View._start_trial,
    "excused": View._excuse_trial,
    "squeezed": View._note_squeezed,
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
    "repaired": View._note_repair,
    "net": View._note_net,
}
