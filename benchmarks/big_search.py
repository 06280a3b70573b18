"""Measure the driver of a big search: its memory and its processor time, trial by trial.

    python benchmarks/big_search.py                     # 5,000 trials on 64 nodes of 8 slots
    python benchmarks/big_search.py --trials 1000 --profile
    python benchmarks/big_search.py --wandb offline --trials 500 --out big   # and look at its W&B

The driver is the real one: sampler, stopper, ledger on disk, tables, report, terminal, and W&B if
asked for. Only the trials are not: they answer at once with a result of the usual size, from a
cluster that exists in this process alone (`search.replay.simulated_cluster`). Each line gives the
trials that have ended, the resident memory, and the processor time and memory that a trial has
taken since the line before. Afterwards the ledger is read again, and no trial may be missing.
"""

from __future__ import annotations

import argparse
import base64
import cProfile
import io
import os
import pstats
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from adv.terminal.console import PlainConsole  # noqa: E402
from search.interrupt import Interrupt  # noqa: E402
from search.record.ledger import read  # noqa: E402
from search.record.run_folder import LEDGER, REPORT  # noqa: E402
from search.record.trial import EpochReport, Run, Rung  # noqa: E402
from search.record.trial_result import ResultDetails, TrialResult  # noqa: E402
from search.record.view import Event, View  # noqa: E402
from search.replay.simulated_cluster import SimulatedCluster  # noqa: E402
from search.session.job import Job  # noqa: E402
from search.session.options import Options  # noqa: E402
from search.session.plan import Machine  # noqa: E402
from search.session.prepare import prepare  # noqa: E402
from search.session.session import run_job  # noqa: E402
from search.study import Study  # noqa: E402
from spaces import Params  # noqa: E402

EPOCHS, RUNG = 6, 3
FAILING = 0.02  # share of the trials
ENDS = ("finished", "failed", "stopped")


@dataclass(frozen=True)
class InstantRun:
    """A run that trains nothing and reports what a real one would.

    Args:
      battery: the attacks' names and radii.
      images: that a trial is scored on.
    """

    battery: tuple[tuple[str, float], ...]
    images: int = 1000

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Yield the reports of a trial, whose scores depend on its numbers alone."""
        del folder
        chance = random.Random(seed)
        robust = chance.random()
        for value in params.values():
            robust = (robust + (float(value) if isinstance(value, int | float) else 0.3)) % 1.0
        natural = 0.95 - 0.5 * robust**2 - 0.2 * chance.random()
        for epoch in range(1, EPOCHS + 1):
            share = 0.7 + 0.3 * epoch / EPOCHS
            if epoch == 2 and chance.random() < FAILING:
                raise ValueError("loss is nan")
            rung = None
            if epoch == RUNG:
                rung = Rung(epoch, 1.0, self._objectives(natural * share, robust * share))
            metrics = {"loss": 1 / epoch, "lr": 0.1, "clean_accuracy": 0.5, "watched_robust": 0.3}
            last = self._result(natural, robust) if epoch == EPOCHS else None
            yield EpochReport(epoch, EPOCHS, 50.0 + 20.0 * chance.random(), metrics, last, rung)

    def _objectives(self, natural: float, robust: float) -> dict[str, float]:
        attacked = 100 * len(self.battery) * 0.5 * robust
        return {"natural_accuracy": max(0.0, natural), "attacked_score": attacked}

    def _result(self, natural: float, robust: float) -> TrialResult:
        values = self._objectives(natural, robust)
        intervals = {name: (value - 1e-3, value + 1e-3) for name, value in values.items()}
        table = {
            "names": [name for name, _ in self.battery],
            "eps": [eps for _, eps in self.battery],
            "images": self.images,
            "votes": 1,
            "draws": 1,
            "ok": base64.b64encode(os.urandom((1 + len(self.battery)) * self.images // 8)).decode(),
        }
        curve = [[eps, 0.5 * robust, 0.4 * robust, 0.6 * robust] for _, eps in self.battery]
        details = ResultDetails(curve=curve, table=table, best_epoch=EPOCHS, parameters=77850)
        return TrialResult(values, intervals, details)


class Meter:
    """A reader of the ledger that prints the memory and the processor time as trials end.

    Args:
      every: trials between two lines.
    """

    def __init__(self, every: int) -> None:
        self.every, self.ended = every, 0
        self.first = self.last = (0, memory(), time.process_time())
        print(f"{'ended':>7} {'MiB':>7} {'ms a trial':>11} {'kB a trial':>11}")

    def __call__(self, event: Event, view: View) -> None:
        """Print a line if so many more trials have ended."""
        del view
        self.ended += event["event"] in ENDS
        if self.ended - self.last[0] >= self.every:
            self.print_line()

    def print_line(self) -> None:
        """Print what has been used since the last line."""
        now = (self.ended, memory(), time.process_time())
        done, grown, spent = (b - a for a, b in zip(self.last, now, strict=True))
        if done:
            print(
                f"{now[0]:>7,} {now[1] / 2**20:>7.0f} {1e3 * spent / done:>11.1f} "
                f"{grown / 1e3 / done:>11.1f}",
                flush=True,
            )
        self.last = now


def memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Run the search and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=64)
    parser.add_argument("--slots", type=int, default=8, help="trials that a node runs at once")
    parser.add_argument("--lose", type=int, default=2, help="nodes that are lost on the way")
    parser.add_argument("--space", default="everything")
    parser.add_argument("--sampler", help="of launch.py; by default what it takes for so many")
    parser.add_argument("--stopper")
    parser.add_argument("--wandb", default="off", choices=["off", "offline"])
    parser.add_argument("--every", type=int, default=250, help="trials between two lines")
    parser.add_argument("--profile", action="store_true", help="say which functions take the time")
    parser.add_argument("--out", type=Path, help="keep the run here, as OUT/big")
    given = parser.parse_args()
    with nullcontext(given.out) if given.out else tempfile.TemporaryDirectory() as folder:
        options = Options(
            space=given.space,
            scale="laptop",
            trials=given.trials,
            name="big",
            out=Path(folder),
            finalists="off",
            wandb=given.wandb,
            sampler=given.sampler,
            stopper=given.stopper,
            serial=True,
        )
        losses = {n: (n + 1) * 3 * given.trials // (given.lose + 1) for n in range(given.lose)}
        cluster = SimulatedCluster(given.nodes, given.slots, losses)
        with _profile(given.profile):
            job = _search(options, cluster, given.every)
        _check(job, given.trials)


def _search(options: Options, cluster: SimulatedCluster, every: int) -> Job:
    console = PlainConsole(file=io.StringIO(), width=120)
    interrupt = Interrupt()
    job = prepare(console, options, Machine("a simulated cluster", 512.0, 0.0), interrupt)
    battery = tuple((a["name"], a["eps"]) for a in job.header.battery)
    meter = Meter(every)
    job.study.ledger.readers.append(meter)
    most = 0

    @contextmanager
    def backend(_job: Job, _interrupt: Interrupt) -> Iterator[Callable[[Study, Run], None]]:
        def run(study: Study, _run: Run) -> None:
            nonlocal most
            most = cluster.search(study, InstantRun(battery), interrupt)

        yield run

    began = time.perf_counter()
    code, note = run_job(console, job, interrupt, backend)
    meter.print_line()
    used = time.process_time() - meter.first[2]
    print(
        f"exit {code}{note and ', ' + note}: {time.perf_counter() - began:.0f} s, {used:.0f} s of "
        f"processor time; {most} trials at once at most; terminal {console.file.tell():,} bytes"
    )
    job.study.ledger.close()
    return job


def _check(job: Job, trials: int) -> None:
    """Read the ledger again; print what it holds, and fail if a trial is missing."""
    began = time.perf_counter()
    view = read(job.folder / LEDGER)
    states = Counter(trial.state for trial in view.trials.values())
    print(
        f"ledger {(job.folder / LEDGER).stat().st_size / 1e6:.0f} MB, read again in "
        f"{time.perf_counter() - began:.1f} s: {dict(states)}; report "
        f"{(job.folder / REPORT).stat().st_size / 1e6:.1f} MB"
    )
    assert sorted(view.trials) == list(range(trials)), "a trial is missing"
    assert not states["running"], "a trial has not ended"


@contextmanager
def _profile(wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    profile = cProfile.Profile()
    profile.enable()
    try:
        yield
    finally:
        profile.disable()
        text = io.StringIO()
        pstats.Stats(profile, stream=text).sort_stats("cumulative").print_stats(70)
        print(text.getvalue())


if __name__ == "__main__":
    main()
