"""Measure what a search costs besides its trials: reading the ledger, measure_proposals, and Ray.

    python benchmarks/overhead.py                 # all three, about three minutes on two cores
    python benchmarks/overhead.py --only load propose

`load`: read a ledger of 10,000 finished trials of 12 epochs. `propose`: processor time for one
proposal by each sampler after 5,000 finished trials, and after 500 with values at two rungs for the
default, `portfolio`, and its dearest proposer, `kriging`. `ray`: seconds from the end of a trial to
the start of the next one on the same worker, in our search and in plain Ray Tune with and without
reused actors.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from search.record.event_lines import encode_line  # noqa: E402
from search.record.ledger import Ledger, read  # noqa: E402
from search.record.trial import EpochReport, Rung, Trial  # noqa: E402
from search.record.trial_result import ResultDetails, TrialResult  # noqa: E402
from search.record.view import View  # noqa: E402
from search.samplers.initial_design import random_params  # noqa: E402
from search.samplers.table import make_sampler  # noqa: E402
from search.study import Study  # noqa: E402
from spaces import Choice, Float, Int, Params, Space, load  # noqa: E402

KNOBS = {
    "lr": Float(1e-4, 1.0, log=True),
    "decay": Float(1e-5, 1e-2, log=True),
    "sigma": Float(0.0, 0.4),
    "depth": Int(2, 8),
    "model": Choice(("cnn", "vit")),
    "width": Int(1, 4, when={"model": "cnn"}),
}
SPACE = Space(
    "six hyperparameters, one of them conditional", KNOBS, lambda **_: load("smoke").build(0.1, 0.1)
)
ATTACKS = tuple(f"pgd20-{eps}" for eps in (0.01, 0.02, 0.03, 0.04, 0.06, 0.1))


def score(params: Params) -> dict[str, float]:
    """Return two objectives in conflict, so that there is a front."""
    sigma, lr = float(params["sigma"]), float(params["lr"])
    return {"natural_accuracy": 0.9 - sigma - 0.01 * abs(lr - 0.1), "attacked_score": 600 * sigma}


def main() -> None:
    """Run the chosen measurements and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=["load", "propose", "ray"])
    parser.add_argument(
        "--trials", type=int, default=10_000, help="trials in the ledger that is read"
    )
    parser.add_argument("--epochs", type=int, default=12, help="epochs of each trial")
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.file:
        print(json.dumps(_time_read(given.file)))
        return
    parts = given.only or ["load", "propose", "ray"]
    if "load" in parts:
        measure_loading(given.trials, given.epochs)
    if "propose" in parts:
        measure_proposals(5000, "tpe", "nsga2", "random", "qmc")
        measure_proposals(500, "portfolio", "kriging", rungs=True)
    if "ray" in parts:
        measure_gaps(12)


def measure_loading(trials: int, epochs: int) -> None:
    """Read a large ledger in its own process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        _write(path, trials, epochs)
        size = path.stat().st_size / 2**20
        command = [sys.executable, __file__, "--file", str(path)]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    print(
        f"load     {trials:,} trials of {epochs} epochs, {size:.0f} MiB: {found['seconds']:.1f} s, "
        f"{found['cpu']:.1f} s of processor time, {found['memory']:.0f} MiB in all, "
        f"{found['added']:.0f} of them the view; its front in {found['front']:.3f} s"
    )


def _time_read(path: Path) -> dict[str, float]:
    before, began, cpu = _peak_memory(), time.perf_counter(), time.process_time()
    view = read(path)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    after, began = _peak_memory(), time.perf_counter()
    view.front()
    front = time.perf_counter() - began
    return {
        "seconds": seconds,
        "cpu": cpu,
        "memory": after,
        "added": after - before,
        "front": front,
    }


def _peak_memory() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _write(path: Path, trials: int, epochs: int) -> None:
    """Write a ledger like that of a search at full scale: per-image tables, rungs, epochs."""
    chance = random.Random(0)
    table = {
        "names": ATTACKS,
        "eps": [0.03] * 6,
        "images": 1000,
        "votes": 1,
        "draws": 1,
        "ok": base64.b64encode(bytes(7 * 125)).decode(),
    }
    rung_table = {**table, "images": 512, "ok": base64.b64encode(bytes(7 * 64)).decode()}
    metrics = {
        "loss": 1.2345678,
        "eps": 0.0345678,
        "steps": 20.0,
        "fraction": 0.5,
        "lr": 0.00123,
        "clean_accuracy": 0.5678,
        "attacked_accuracy": 0.4567,
        "watched_natural": 0.5678,
        "watched_robust": 0.3456,
    }
    details = {
        "curve": [[0.01, 0.5, 0.4, 0.6]] * 7,
        "mean": 0.3,
        "worst": 0.1,
        "aurc": 0.2,
        "images": 1000,
        "table": table,
        "best_epoch": 7,
        "parameters": 77850,
    }
    with path.open("wb") as file:
        numbers = itertools.count()

        def append(event: str, **content: object) -> None:
            number = next(numbers)
            record = {"event": event, "time": 1.7e9, **content}
            file.write(encode_line(record, number, float(number)))

        append("study", format=1)
        append("session", pid=1)
        for n in range(trials):
            params = random_params(SPACE, chance)
            values = score(params)
            append("proposed", trial=n, params=params, seed=n, origin="tpe")
            for epoch in range(1, epochs + 1):
                append("epoch", trial=n, epoch=epoch, epochs=epochs, seconds=1.5, metrics=metrics)
                if epoch == epochs // 2:
                    append(
                        "rung",
                        trial=n,
                        epoch=epoch,
                        strength=0.5,
                        objectives=values,
                        sds={},
                        table=rung_table,
                        action="go on",
                        reason="3 of 9, 4 go on",
                    )
            intervals = {name: [value - 0.01, value + 0.01] for name, value in values.items()}
            append("finished", trial=n, objectives=values, intervals=intervals, details=details)


def measure_proposals(trials: int, *names: str, rungs: bool = False) -> None:
    """Time a proposal of each sampler after `count` finished trials, with eight running."""
    view, chance = View(), random.Random(1)
    for n in range(trials + 8):
        params = random_params(SPACE, chance)
        trial = Trial(n, params, n, "random")  # not chosen by a model, so that one may learn of it
        if rungs:
            trial.rungs = {(epoch, 0): Rung(epoch, 1.0, score(params)) for epoch in (3, 9)}
        if n < trials:
            trial.state, trial.result = "finished", TrialResult(score(params))
            trial.epochs[1] = EpochReport(1, 1, 1.0 + float(params["depth"]))
        view.trials[n] = trial
    for name in names:
        ask, taken = make_sampler(name, SPACE, seed=0, start=16), []
        for _ in range(12):
            began = time.process_time()
            params, origin = ask.propose(view) or ({}, "")
            if origin != "random" or name == "random":
                taken.append(time.process_time() - began)
            n = len(view.trials)
            view.trials[n] = Trial(n, params, n, origin)
        first, *rest = taken
        print(
            f"propose  {name} at {trials:,} finished trials: {statistics.median(rest):.3f} s in "
            f"the median, {max(rest):.3f} s at most; the first in a session {first:.2f} s"
        )


@dataclass(frozen=True)
class TimestampedRun:
    """A run of three short epochs that records when it starts and ends."""

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Sleep, and record the times."""
        began = time.time()
        for epoch in (1, 2, 3):
            time.sleep(0.05)
            result = (
                TrialResult(score(params), {}, ResultDetails(extra={"began": began}))
                if epoch == 3
                else None
            )
            if result:
                result = TrialResult(
                    score(params), {}, ResultDetails(extra={"began": began, "ended": time.time()})
                )
            yield EpochReport(epoch, 3, 0.05, {"loss": 1.0}, result)


def record_timestamps(config: dict[str, float]) -> None:
    """Run the same trials with plain Ray Tune."""
    from ray import tune  # noqa: TID251

    began = time.time()
    for epoch in (1, 2, 3):
        time.sleep(0.05)
        tune.report({"epoch": epoch, "began": began, "ended": time.time(), **score(config)})


def measure_gaps(trials: int) -> None:
    """Measure the seconds between two trials on one worker, in our search and in Ray Tune."""
    from search.backends import ray_tune
    from search.interrupt import Interrupt

    ray_tune.connect(None, project=PROJECT)
    try:
        with tempfile.TemporaryDirectory() as folder:
            ledger = Ledger(Path(folder) / "ledger.jsonl")
            study = Study(SPACE, ledger, trials=trials, seed=0)
            ray_tune.search(study, TimestampedRun(), Interrupt(), ray_tune.Resources(concurrent=1))
            done = [t.result.details for t in ledger.view.in_state("finished") if t.result]
            _print_gaps(
                "this search, warm actors", [(d.extra["began"], d.extra["ended"]) for d in done]
            )
            for warm in (True, False):
                name = f"plain Ray Tune, {'warm' if warm else 'cold'} actors"
                _print_gaps(name, _plain_tune(trials, warm, Path(folder)))
    finally:
        ray_tune.disconnect()


def _plain_tune(trials: int, warm: bool, folder: Path) -> list[tuple[float, float]]:
    from ray import tune  # noqa: TID251

    tuner = tune.Tuner(
        tune.with_resources(record_timestamps, {"cpu": 1}),
        param_space={"sigma": tune.uniform(0.0, 0.4), "lr": tune.loguniform(1e-4, 1.0)},
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1, reuse_actors=warm),
        run_config=tune.RunConfig(name=f"plain-{warm}", storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    return [(r.metrics["began"], r.metrics["ended"]) for r in results if r.metrics]


def _print_gaps(name: str, times: list[tuple[float, float]]) -> None:
    times = sorted(times)
    gaps = [times[i + 1][0] - times[i][1] for i in range(1, len(times) - 1)]  # the first is cold
    low, high = min(gaps), max(gaps)
    print(
        f"ray      {name}: {statistics.median(gaps):.3f} s between two trials in the median of "
        f"{len(gaps)} ({low:.3f} to {high:.3f})"
    )


if __name__ == "__main__":
    main()
