"""The verdict on an injected fault: the run is compared with an undisturbed twin."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from fault_kinds.lab import SERIAL, Lab, Launch, ledger_of
from search.record.ledger import LedgerError, read
from search.record.trial import Trial
from search.record.view import View

ENDS = ("finished", "failed", "stopped")
UNEQUAL = ("latency", "evaluate_seconds", "remark")  # what may differ between equal trials
DIED = f"-{signal.SIGKILL.value}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of one search under one fault.

    Args:
      statuses: exit status of each launch; that of a signal is negative.
      seconds: from the fault to the end of the last launch.
      lost: trials without the result, or the failure, that they should have.
      doubled: trials that ended, or epochs that were recorded, more than once.
      equal: whether all values are those of the twin.
      complaints: all else that is not as promised.
    """

    statuses: Sequence[str] = ()
    seconds: float = 0.0
    lost: int = 0
    doubled: int = 0
    equal: bool = True
    complaints: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """True if nothing is lost, doubled, different or otherwise wrong."""
        return self.equal and not (self.lost or self.doubled or self.complaints)


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Args:
      name: in the table and for `--only`.
      text: what is done, in one sentence.
      inject: does it once, and returns the outcome.
      times: how often it is injected, unless the user says otherwise.
      root: whether it needs the rights of root, to mount file systems.
    """

    name: str
    text: str
    inject: Callable[[Lab], Outcome]
    times: int = 1
    root: bool = False


@dataclass
class Case:
    """One search under one fault, from its first launch to the verdict.

    Args:
      lab: that runs it.
      home: its folder.
      twin: the undisturbed search.
      allowed: for each launch in order, the exit statuses that are right.
      bad: trials that are expected to fail.
      holes: whether epochs and rungs may be missing, because the fault was to lose their events.
    """

    lab: Lab
    home: Path
    twin: View
    bad: Collection[int] = ()
    holes: bool = False
    since: float = field(default_factory=time.monotonic)
    launches: list[tuple[Launch, Collection[int]]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def expect(self, launch: Launch, *statuses: int) -> None:
        """Note a launch that is over, with the exit statuses that are right for it."""
        self.launches.append((launch, statuses))

    def demand(self, condition: object, complaint: str) -> None:
        """Note a complaint unless a condition holds."""
        if not condition:
            self.complaints.append(complaint)

    def start_clock(self) -> None:
        """Measure the seconds from now on: the fault is injected."""
        self.since = time.monotonic()

    def judge(self, read_view: Callable[[Path], View] = read) -> Outcome:
        """Return the outcome; what is still running in the laboratory is ended."""
        seconds = time.monotonic() - self.since
        for launch, allowed in self.launches:
            status = launch.process.returncode
            self.demand(status in allowed, f"status {status} instead of {_or(allowed)}")
            *_, last = launch.text.strip().splitlines() or [""]
            self.demand("Traceback (most" not in launch.text, f"a traceback, at its end: {last}")
        statuses = [str(launch.process.returncode) for launch, _ in self.launches]
        try:
            view = read_view(ledger_of(self.home))
        except (LedgerError, OSError) as error:
            return Outcome(statuses, seconds, len(self.twin.trials), 0, False, [str(error)])
        outcome = Outcome(
            statuses,
            seconds,
            count_lost(view, self.twin, self.bad),
            count_doubled(ledger_of(self.home)),
            equals(view, self.twin, self.bad, holes=self.holes),
            self.complaints,
        )
        if not outcome.ok:
            self._print_outputs()
        return outcome

    def _print_outputs(self) -> None:
        """Print what the launches have printed, to see what went wrong."""
        for launch, _ in self.launches:
            print(f"--- exit status {launch.process.returncode}\n{launch.text[-3000:]}")


def _or(statuses: Collection[int]) -> str:
    return " or ".join(map(str, statuses))


def count_lost(view: View, twin: View, bad: Collection[int] = ()) -> int:
    """Return how many trials have not ended as they should: bad ones failed, others as twins."""
    wanted = {n: "failed" if n in bad else trial.state for n, trial in twin.trials.items()}
    lost = sum(n not in view.trials or view.trials[n].state != wanted[n] for n in wanted)
    if twin.finals is None:
        return lost
    return lost + (count_lost(view.finals, twin.finals) if view.finals else len(twin.finals.trials))


def count_doubled(ledger: Path) -> int:
    """Return how many proposals, epochs and ends a ledger holds more than once."""
    seen: Counter[tuple[object, ...]] = Counter()
    for line in ledger.read_text().splitlines():
        event = json.loads(line)
        final, event = event["event"] == "final", event.get("part", event)
        kind = "end" if event["event"] in ENDS else event["event"]
        if kind in ("proposed", "epoch", "end") and "trial" in event:
            seen[final, kind, event["trial"], event.get("epoch")] += 1
    return sum(count - 1 for count in seen.values())


def equals(view: View, twin: View, bad: Collection[int] = (), *, holes: bool = False) -> bool:
    """Return whether two searches have equal parameters, seeds, epochs, rungs and results.

    Args:
      view: of the search under the fault.
      twin: of the undisturbed one.
      bad: trials that are not compared.
      holes: whether the first may lack epochs and rungs of the second.
    """
    same = all(
        n in view.trials and _equal(view.trials[n], trial, holes)
        for n, trial in twin.trials.items()
        if n not in bad
    )
    if twin.finals is None or not same:
        return same
    return view.finals is not None and equals(view.finals, twin.finals, holes=holes)


def _equal(one: Trial, twin: Trial, holes: bool) -> bool:
    epochs = {n: e for n, e in twin.epochs.items() if not holes or n in one.epochs}
    rungs = {key: rung for key, rung in twin.rungs.items() if not holes or key in one.rungs}
    return _describe(one) == _describe(replace(twin, epochs=epochs, rungs=rungs))


def _describe(trial: Trial) -> Mapping[str, Any]:
    """Return all of a trial that does not depend on the speed of the machine."""
    result = trial.result.to_json() if trial.result else {"details": {}}
    details = {k: v for k, v in result["details"].items() if k not in UNEQUAL}
    return {
        "params": trial.params,
        "seed": trial.seed,
        "origin": trial.origin,
        "state": trial.state,
        "epochs": {n: dict(report.metrics) for n, report in trial.epochs.items()},
        "rungs": [asdict(rung) for rung in trial.rungs.values()],
        "result": {**result, "details": details},
    }


_TWINS: dict[tuple[str, ...], View] = {}


def find_twin(lab: Lab, begin: Callable[[Path], Launch] | None = None, *key: str) -> View:
    """Return the undisturbed search, which is run once for each program and key.

    Args:
      lab: to run it in.
      begin: starts the search; None: the small one, serially.
      key: what sets this twin apart from others.
    """
    name = (str(lab.program), *key)
    if name not in _TWINS:
        home = lab.open_home("twin")
        launch = begin(home) if begin else lab.begin(home, *SERIAL)
        if status := launch.wait():
            raise RuntimeError(f"the undisturbed search ended with status {status}: {launch.text}")
        _TWINS[name] = read(ledger_of(home))
    return _TWINS[name]
