"""Score stored nets again in a worker process on this machine, as trials are trained.

The code of a space may crash, leave the process or hang; here that costs one net its new result,
and Ctrl-C is heeded at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search.backends.messages import decode, encode_trial
from search.backends.scratch import scratch_folder
from search.backends.serial import CHECK_EVERY
from search.backends.worker_process import WorkerProcess
from search.interrupt import Interrupt
from search.record.trial import EpochReport, Trial
from search.record.trial_result import TrialResult
from search.session.rescore import Rescoring
from search.session.stored_nets import StoredNet
from spaces import Params

TRIES = 3  # as many as on Ray: the kernel may have killed the process to free memory


@dataclass(frozen=True)
class RescoringRun:
    """A run whose trial `n` scores the net `nets[n]` again, and reports once.

    Args:
      rescoring: scores a net.
      nets: the nets.
    """

    rescoring: Rescoring
    nets: tuple[StoredNet, ...]

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Yield the report with the result of a net."""
        yield EpochReport(1, 1, 0.0, result=self.rescoring(self.nets[int(params["net"])]))


def rescore_in_worker(
    rescoring: Rescoring, nets: Iterable[StoredNet], interrupt: Interrupt
) -> Iterator[tuple[StoredNet, TrialResult | str]]:
    """Yield each net with its new result, or in one line why there is none.

    Raises:
      Interrupted: `interrupt` asked for it.
      StorageError: a disk or mount failed, which says nothing about the net.
      WorkerError: the worker can score no net.
    """
    run = RescoringRun(rescoring, tuple(nets))
    with WorkerProcess() as worker, scratch_folder() as folder:
        for n, net in enumerate(run.nets):
            task = encode_trial(Trial(n, {"net": n}, net.seed, net.kind), folder)
            outcome, tries = None, 0
            while outcome is None:
                worker.start(run, task)
                tries += 1
                outcome = _follow(worker, interrupt, last=tries == TRIES)
            yield net, outcome


def _follow(worker: WorkerProcess, interrupt: Interrupt, *, last: bool) -> TrialResult | str | None:
    """Return the result that a worker sends, or why it sends none.

    Args:
      worker: that has been started.
      interrupt: says when to end early.
      last: whether this is the last try; before it, None means that the worker has died.
    """
    outcome: TrialResult | str | None = None
    while True:
        interrupt.check()
        received = worker.receive(CHECK_EVERY)
        if received is None:
            continue
        kind, text = received
        if kind == "ended":
            lost = f"its worker died {TRIES} times: {text}" if text else "it gave no result"
            return outcome or (lost if last or not text else None)
        report = decode(text)
        outcome = report if isinstance(report, str) else report.result
        worker.answer(not isinstance(report, str))
