"""The ledger: an append-only file of events with one writer, the driver. All else is a view of it.

One JSON object a line. The first is `study`; then `proposed`, `epoch`, `rung` (what a half-trained
net is worth, and whether it goes on), `finished`, `failed`, `stopped`, `relaxed` (the stopper
became gentler, and why), `session` (a driver started) and `end` (it stopped, and why). `finals`
says who is trained again, and how it is attacked; a `final` holds an event of such a training.
`rescored` is what a stored net is worth under another battery, `rebuilt` makes those values the
trials' own. A line cut off by a crash is dropped, and so is whatever follows it: nothing can follow
it but a second crash.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from sys import intern
from typing import Any

from search.record.constraints import feasible
from search.record.pareto import front
from search.record.trial import Decision, EpochReport, Key, Rung, Trial, TrialResult

FORMAT = 1
Event = Mapping[str, Any]


class LedgerError(ValueError):
    """A ledger that cannot be used, said in one line."""


@dataclass
class View:
    """The study that a list of events describes.

    `rungs` lists under each rung the trials that have reached it, in that order. `relaxed` are the
    events that made the stopper gentler. `finals` is the view of the trainings with fresh seeds:
    its header is the last `finals` event, the `origin` of a trial the number of the one it repeats.
    `rescored` holds under each battery's id what stored nets are worth under it.
    """

    header: Mapping[str, Any] = field(default_factory=dict)
    trials: dict[int, Trial] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    elapsed: float = 0.0
    rungs: dict[Key, list[int]] = field(default_factory=dict)
    relaxed: list[Mapping[str, Any]] = field(default_factory=list)
    finals: View | None = None
    rescored: dict[str, dict[int, TrialResult]] = field(default_factory=dict)

    def apply(self, event: Event) -> None:
        """Take in one more event; repeated ones change nothing, the last word on an epoch wins."""
        kind = event["event"]
        if kind == "study":
            self.header = event
        elif kind == "session":
            self.sessions.append(dict(event))
        elif kind == "proposed":
            number = event["trial"]
            self.trials[number] = Trial(
                number, event["params"], event["seed"], event["origin"], started=event["time"]
            )
        elif kind == "epoch":
            metrics = {intern(name): value for name, value in event["metrics"].items()}
            values = EpochReport(event["epoch"], event["epochs"], event["seconds"], metrics)
            self.trials[event["trial"]].epochs[values.epoch] = values
        elif kind == "rung":
            self._rung(event)
        elif kind == "relaxed":
            self.relaxed.append(event)
        elif kind in {"finals", "final", "rescored", "rebuilt"}:
            self._later(event)
        elif kind in {"finished", "failed", "stopped"}:
            self._end(event)
        if self.sessions and kind != "session":
            session = self.sessions[-1]
            self.elapsed += event["time"] - session.get("last", session["time"])
            session["last"] = event["time"]

    def _rung(self, event: Event) -> None:
        names = ("epoch", "strength", "objectives", "sds", "table")
        rung = Rung(*(event[name] for name in names))
        trial = self.trials[event["trial"]]
        if rung.key not in trial.rungs:
            self.rungs.setdefault(rung.key, []).append(trial.number)
        trial.rungs[rung.key] = rung
        trial.decisions[rung.key] = Decision(event["action"], event["reason"])

    def _later(self, event: Event) -> None:
        if event["event"] == "finals":
            self.finals = self.finals or View()
            self.finals.header = event
        elif event["event"] == "final" and self.finals:
            self.finals.apply({**event["part"], "time": event["time"]})
        elif event["event"] == "rescored":
            self.rescored.setdefault(event["battery"], {})[event["trial"]] = _result(event)
        elif event["event"] == "rebuilt":
            self.header = {**self.header, **event["header"]}
            known = self.rescored.get(event["battery"], {})
            for trial in self.in_state("finished"):
                trial.result = known.get(trial.number)
                if trial.result is None:
                    trial.state, trial.reason = "failed", event["missing"][str(trial.number)]

    def _end(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.state, trial.ended = event["event"], event["time"]
        if event["event"] == "finished":
            trial.result = _result(event)
        else:
            trial.reason = event["reason"]

    def in_state(self, state: str) -> list[Trial]:
        """The trials in a state, by number."""
        return [t for _, t in sorted(self.trials.items()) if t.state == state]

    def feasible(self, trial: Trial) -> bool:
        """Whether a finished trial keeps the study's constraints."""
        return trial.result is None or feasible(trial.result, self.header)

    def front(self) -> list[Trial]:
        """The finished trials that no other dominates, the most accurate on clean images first.

        Those that do not keep the study's constraints are left out, unless none keeps them.
        """
        every = [t for t in self.in_state("finished") if t.result]
        done = [t for t in every if self.feasible(t)] or every
        best = front([t.result.point for t in done if t.result])
        kept = [t for t, on in zip(done, best, strict=True) if on]
        return sorted(kept, key=lambda t: tuple(-v for v in t.result.point) if t.result else ())


class Ledger:
    """The open ledger of a run: `append` writes an event, folds it into `view`, tells readers.

    Raises LedgerError where another driver holds it, or where it is of a newer format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.view = View()
        self.readers: list[Callable[[Event, View], None]] = []
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise LedgerError(f"{path.parent} is in use by another launch.py") from None
        try:
            end = 0
            for event, after in _events(path):
                self.view.apply(event)
                end = after
        except LedgerError:
            self._file.close()
            raise
        self._file.truncate(end)

    def append(self, event: str, **content: Any) -> None:
        """Write one event, whole and on disk, before anyone hears of it."""
        record = {"event": event, "time": time.time(), **content}
        line = json.dumps(record, allow_nan=False, default=_plain) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.view.apply(json.loads(line))
        for reader in self.readers:
            reader(record, self.view)

    def close(self) -> None:
        """Let another driver have it."""
        self._file.close()


def read(path: Path) -> View:
    """The view of a ledger on disk, read without holding it."""
    view = View()
    for event, _ in _events(path):
        view.apply(event)
    return view


def _events(path: Path) -> Iterator[tuple[Event, int]]:
    """Each whole event with the offset at which its line ends."""
    end = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                event = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                event = None
            if not isinstance(event, dict) or "event" not in event:
                return
            if event["event"] == "study" and event["format"] > FORMAT:
                raise LedgerError(
                    f"{path} has format {event['format']}, this program reads up to {FORMAT}: "
                    "update the program"
                )
            end += len(line)
            yield event, end


def _result(event: Event) -> TrialResult:
    intervals = {name: tuple(pair) for name, pair in event["intervals"].items()}
    return TrialResult(event["objectives"], intervals, event["details"])  # type: ignore[arg-type]


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
