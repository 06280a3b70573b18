"""A search as two verbs, `suggest` and `update`, over the ledger of a run folder.

Each backend (this process, Ray) asks the same object, so for one seed and one trial at a time they
propose the same configurations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adv.one_line import join_lines
from search.errors import describe_error, find_storage_error
from search.interrupt import raises_on_interrupt
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.json_records import FieldError
from search.record.ledger import Ledger
from search.record.limits import find_unusable
from search.record.run_folder import trial_path
from search.record.trial import EpochReport, Run, Rung, Trial
from search.record.view import View
from search.record.work_mark import take_mark
from search.samplers.sampler import Sampler
from search.samplers.table import initial_design_size, make_sampler
from search.stopping.stopper import NoStopping, Stopper
from spaces import OBJECTIVES, Space

MAX_STARTS = 3  # of a trial, without its end or a new epoch


class Study:
    """A search in progress.

    Args:
      space: that is searched.
      ledger: open; its view is the state of the search.
      trials: how many in all, those of earlier sessions included.
      seed: of the search; trial n is trained with `seed + n`.
      sampler: proposes configurations; by default `default_sampler`.
      stopper: decides at each rung whether a trial continues; by default each does.

    Attributes:
      exhausted: whether the sampler had nothing more to propose when it was last asked.
    """

    def __init__(
        self,
        space: Space,
        ledger: Ledger | MemoryLedger | FinalsLedger,
        *,
        trials: int,
        seed: int,
        sampler: Sampler | None = None,
        stopper: Stopper | None = None,
    ) -> None:
        self.space = space
        self.ledger = ledger
        self.trials = trials
        self.seed = seed
        self.sampler = sampler or default_sampler(space, seed, trials)
        self.stopper = stopper or NoStopping()
        self.exhausted = False
        self._unfinished = [trial.number for trial in ledger.view.in_state("running")]
        self._losses: Counter[int] = Counter()  # of workers, by trial, since its last new epoch

    @property
    def view(self) -> View:
        """The state of the search."""
        return self.ledger.view

    @property
    def remaining(self) -> int:
        """The number of trials that are still to be suggested."""
        return len(self._unfinished) + max(0, self.trials - len(self.view.trials))

    def trial_folder(self, number: int) -> Path:
        """Return the absolute path at which a trial keeps its state and its weights."""
        return self.ledger.path.parent.absolute() / trial_path(number)

    def suggest(self) -> Trial | None:
        """Return the next trial to run, or None if there is none; record that it is started.

        Trials that an earlier session left unfinished come first. One that was started too often
        without an end or a new epoch is failed: it may be what has crashed the machine.
        """
        while self._unfinished:
            number = self._unfinished.pop(0)
            # A driver may die between a decision and its event.
            if not self._record_stop(number) and not self._record_poison(number):
                return self.start(number)
        if len(self.view.trials) >= self.trials:
            return None
        number = self.view.next_number
        point = self.sampler.propose(self.view)
        self.exhausted = point is None
        if point is None:
            return None
        params, origin = point
        self.ledger.append(
            "proposed", trial=number, params=params, seed=self.seed + number, origin=origin
        )
        return self.start(number)

    def start(self, number: int) -> Trial:
        """Record that a worker is given a trial, and return the trial."""
        self.ledger.append("started", trial=number)
        return self.view.trials[number]

    def lose_worker(self, number: int, cause: str) -> bool:
        """Record that the worker of a trial died before the trial had ended.

        Args:
          number: of the trial.
          cause: of the death, in words.

        Returns:
          Whether the trial is to be started again. If not, it has ended, or was failed because it
          has lost its worker too often since its last new epoch.
        """
        trial = self.view.trials[number]
        self._losses[number] += 1
        if self._losses[number] >= MAX_STARTS:
            self.fail(number, f"its worker died {self._losses[number]} times: {cause}")
        elif trial.starts >= MAX_STARTS:
            self.fail(number, f"{_describe_starts(trial)}; at last its worker died: {cause}")
        return trial.state == "running"

    def update(self, number: int, report: EpochReport) -> bool:
        """Record what a trial reports, and decide at a rung whether it continues.

        Metrics that are not finite, and a report that no event can hold, end the trial as failed.
        A report that repeats an earlier one changes nothing.

        Returns:
          Whether the trial continues.
        """
        trial = self.view.trials[number]
        if trial.state != "running":
            return False
        if report.nonfinite:
            self.fail(number, f"epoch {report.epoch}: {report.nonfinite}")
            return False
        if report.epoch not in trial.epochs:
            plain = report.to_json()
            epoch = {key: plain[key] for key in ("epoch", "epochs", "seconds", "metrics")}
            if not self._record("epoch", number, epoch):
                return False
            self._losses.pop(number, None)
        if report.rung is not None and report.rung.key not in trial.rungs:
            self._decide(number, report.rung)
        if trial.state != "running" or self._record_stop(number):
            return False
        if report.result is not None:
            self._record("finished", number, report.result.to_json())
        return report.result is None

    def _record(self, event: str, number: int, content: Mapping[str, Any]) -> bool:
        """Record what a trial reports; fail the trial if no event can hold it.

        Returns:
          Whether it was recorded.
        """
        wrong = find_unusable(content)
        try:
            if not wrong:
                self.ledger.append(event, trial=number, **content)
        except FieldError as error:
            wrong = str(error)
        if wrong:
            self.fail(number, f"it sent an invalid report: {wrong}")
        return not wrong

    def _decide(self, number: int, rung: Rung) -> None:
        reason = self.stopper.review(self.view)
        if reason:
            self.ledger.append("relaxed", level=1 + len(self.view.relaxed), reason=reason)
        decision = self.stopper.decide(self.view, number, rung)
        content = {**asdict(rung), **asdict(decision)}
        if tuple(rung.aims) == OBJECTIVES:
            del content["aims"]
        self._record("rung", number, content)

    def _record_stop(self, number: int) -> bool:
        """Record that a trial is stopped, if a rung has decided so; return whether it has."""
        for decision in self.view.trials[number].decisions.values():
            if decision.action == "stop":
                self.ledger.append("stopped", trial=number, reason=decision.reason)
                return True
        return False

    def _record_poison(self, number: int) -> bool:
        """Fail a trial that was started too often to no end; return whether it was.

        A start does not count if the process of the trial was alive when the driver died: whatever
        killed the driver was not the trial.
        """
        trial = self.view.trials[number]
        if not take_mark(self.trial_folder(number)) and trial.starts:
            self.ledger.append("excused", trial=number)
        if trial.starts < MAX_STARTS:
            return False
        self.fail(number, f"{_describe_starts(trial)}: the search died each time")
        return True

    def fail(self, number: int, reason: str) -> None:
        """Record that a running trial ended without a usable result, and why."""
        if self.view.trials[number].state == "running":
            self.ledger.append("failed", trial=number, reason=join_lines(reason, 500))

    def train(self, trial: Trial, run: Run) -> Iterator[EpochReport]:
        """Yield the reports of a trial; fail it if the run raises, or ends without a result.

        Only what the run raises fails the trial: an error in whoever takes the reports does not.

        Raises:
          StorageError: a disk or mount failed; the trial stays running and resumes from its state.
        """
        folder = self.trial_folder(trial.number)
        reports = _iterate(run, trial, folder)
        while True:
            try:
                report = next(reports)
            except StopIteration:
                self.fail(trial.number, "the run ended without a result")
                return
            except BaseException as error:  # a trial may raise anything, SystemExit too
                if storage := find_storage_error(error, folder):
                    raise storage from error
                if isinstance(error, KeyboardInterrupt) and raises_on_interrupt():
                    raise
                self.fail(trial.number, describe_error(error))
                return
            yield report


def _iterate(run: Run, trial: Trial, folder: Path) -> Iterator[EpochReport]:
    yield from run(trial.params, trial.seed, folder)  # what the call itself raises comes later


def _describe_starts(trial: Trial) -> str:
    return f"started {trial.starts} times without an end or a new epoch"


def default_sampler(space: Space, seed: int, trials: int) -> Sampler:
    """Return TPE, which learns after as many trials as `initial_design_size` says."""
    return make_sampler("tpe", space, seed=seed, start=initial_design_size(space, trials))
