"""Run a demonstration of the README with several seeds, and compare what it says with the truth.

    python benchmarks/demonstrations.py --space rse_sigmas --out runs/demonstrations
    python benchmarks/demonstrations.py --space tradeoff --out runs/demonstrations --show

Each search is the README's command with another seed, in a process of its own. The output is
Markdown: a row for each search and a summary. The truth is the table that `benchmarks/truth.py`
wrote; between its points it is interpolated linearly. Memory and idle time are read from /proc.

A verdict is right if it is of the true kind, and the net that it calls best is truly within the
margin of the best values of the table. There truly is no trade-off if one point of the table is
within the margin of the best value in both objectives. Precision and recall compare the nets
reported as the front with the trials of that search which are truly on it.

A command that was interrupted goes on where it ended.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
from scipy.interpolate import RegularGridInterpolator
from truth import FOLDER, group_rows, name_point, read_rows

import spaces
from search.backends.process_tree import adopt_orphans, list_descendants
from search.command_line import run_command
from search.finals.standings import compute_standings
from search.finals.verdict import MARGIN, Verdict
from search.outcome.front import find_front
from search.outcome.roles import find_verdict
from search.record.ledger import read
from search.record.pareto import front
from search.record.view import View
from spaces import Choice, Params

LAUNCH = Path(__file__).parent.parent / "launch.py"
MARGINS = MARGIN * np.array([1.0, 600.0])
Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one search beside the truth.

    Args:
      seed: of the search.
      minutes: from the start of the command to its end.
      gigabytes: of memory, of all its processes together, at most.
      idle: share of the cores' time that nothing used.
      verdict: its kind.
      right: whether the verdict is.
      reported: how many nets are reported as the front.
      precision: share of these that are truly on it.
      recall: share of the true front that is reported.
      seeds: fewest fresh seeds of a reported net.
    """

    seed: int
    minutes: float
    gigabytes: float
    idle: float
    verdict: str
    right: bool
    reported: int
    precision: float
    recall: float
    seeds: int


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--space", required=True, help="Name of the space.")
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the runs.")
@click.option("--show", is_flag=True, help="Print the finished ones, run nothing.")
def main(space: str, seeds: int, out: Path, show: bool) -> None:
    """Run the searches that are missing, and print the table."""
    truth = Truth(space)
    print(f"The truth: {truth.kind}, from {truth.trainings} trainings.\n")
    outcomes = []
    for seed in range(seeds):
        folder = out / f"{space}-{seed}"
        if not show and not (folder / "cost.json").exists():
            _search(space, seed, folder)
        if (folder / "cost.json").exists():
            outcomes.append(judge(folder, seed, truth))
    print_table(outcomes)


class Truth:
    """The mean values of a space's configurations, from the table of `benchmarks/truth.py`."""

    def __init__(self, space: str) -> None:
        self.knobs = spaces.load(space).for_scale("laptop").knobs
        groups = group_rows(read_rows(FOLDER / f"{space}.csv"), list(self.knobs))
        self.means = {key: values.mean(axis=0) for key, values in groups.items()}
        self.trainings = sum(len(values) for values in groups.values())
        self.best = np.max(list(self.means.values()), axis=0)
        numeric = not any(isinstance(knob, Choice) for knob in self.knobs.values())
        self._between = self._interpolate() if numeric else None

    @property
    def kind(self) -> str:
        """The true verdict."""
        near = any(self.is_best(values) for values in self.means.values())
        return "no trade-off" if near else "trade-off"

    def is_best(self, values: Array) -> bool:
        """Return whether values are within the margin of the best ones in both objectives."""
        return bool((values >= self.best - MARGINS).all())

    def __call__(self, params: Params) -> Array:
        """Return the true natural accuracy and attacked score of a configuration."""
        if self._between is None:
            return self.means[name_point(params, list(self.knobs))]
        found: Array = self._between([float(params[name]) for name in self.knobs])[0]
        return found

    def _interpolate(self) -> Any:
        axes = [sorted({float(key[i]) for key in self.means}) for i in range(len(self.knobs))]
        values = np.empty((*map(len, axes), 2))
        for key, mean in self.means.items():
            where = tuple(axis.index(float(v)) for axis, v in zip(axes, key, strict=True))
            values[where] = mean
        return RegularGridInterpolator(axes, values)


def judge(folder: Path, seed: int, truth: Truth) -> Outcome:
    """Return what the search in a run folder said, compared with the truth."""
    view = read(folder / "ledger.jsonl")
    verdict = find_verdict(view, find_front(view))
    trials = [trial for trial in view.scored() if view.feasible(trial)]
    on_front = front(np.array([truth(trial.params) for trial in trials]))
    true = {t.number for t, on in zip(trials, on_front, strict=True) if on}
    members = [f for f in compute_standings(view) if f.on_front]
    reported = {f.trial.number for f in members}
    both = len(reported & true)
    return Outcome(
        seed=seed,
        verdict=verdict.kind if verdict else "none",
        right=bool(verdict and is_right(verdict, view, truth)),
        reported=len(reported),
        precision=both / max(1, len(reported)),
        recall=both / max(1, len(true)),
        seeds=min((len(f.runs) for f in members), default=0),
        **json.loads((folder / "cost.json").read_text()),
    )


def is_right(verdict: Verdict, view: View, truth: Truth) -> bool:
    """Return whether a verdict is that of the table."""
    if verdict.kind != truth.kind:
        return False
    if verdict.best is not None:
        return truth.is_best(truth(view.trials[verdict.best].params))
    assert verdict.trade
    accurate, robust = (
        truth(view.trials[n].params) for n in (verdict.trade.ahead, verdict.trade.of)
    )
    return bool(accurate[0] > robust[0] and robust[1] > accurate[1])


def _search(space: str, seed: int, folder: Path) -> None:
    """Run the search, and write beside its ledger what it cost."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, str(LAUNCH), "--space", space, "--seed", str(seed)]
    if folder.exists():
        words = [sys.executable, str(LAUNCH), "--resume", str(folder)]
    else:
        words += ["--out", str(folder.parent), "--name", folder.name, "--wandb", "off"]
    adopt_orphans()  # so that Ray's processes are found, whoever started them
    began, peak = time.monotonic(), 0.0
    used: dict[int, float] = {}
    with (folder.parent / f"{folder.name}.log").open("a") as log:
        process = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _measure(used))
            time.sleep(1)
    if process.returncode:
        raise ValueError(f"seed {seed} ended with status {process.returncode}: see {log.name}")
    seconds = time.monotonic() - began
    busy = sum(used.values()) / (seconds * len(os.sched_getaffinity(0)))
    cost = {"minutes": seconds / 60, "gigabytes": peak / 2**30, "idle": max(0.0, 1 - busy)}
    (folder / "cost.json").write_text(json.dumps(cost))


def _measure(used: dict[int, float]) -> float:
    """Return the bytes of memory of all descendants, shared pages once; note their seconds."""
    kilobytes, ticks = 0, os.sysconf("SC_CLK_TCK")
    for pid in list_descendants():
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
        kilobytes += int(found[1]) if found else 0
        used[pid] = (int(times[11]) + int(times[12])) / ticks
    return 1024.0 * kilobytes


def print_table(outcomes: list[Outcome]) -> None:
    """Print a row for each search, and how many reach the targets."""
    print(
        "| seed | minutes | GB | idle | verdict | right | nets | fresh seeds | precision | recall |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for o in outcomes:
        cells = (
            f"{o.seed} | {o.minutes:.1f} | {o.gigabytes:.1f} | {100 * o.idle:.0f} % | {o.verdict}",
            f"{'yes' if o.right else 'no'} | {o.reported} | {o.seeds}",
            f"{o.precision:.2f} | {o.recall:.2f}",
        )
        print(f"| {' | '.join(cells)} |")
    if not outcomes:
        return
    rows = [asdict(o) for o in outcomes]
    mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0] if key != "verdict"}
    print(
        f"\n{sum(o.right for o in outcomes)} of {len(outcomes)} verdicts are right. On average "
        f"{mean['reported']:.1f} nets (three or more in {sum(o.reported > 2 for o in outcomes)}), "
        f"precision {mean['precision']:.2f}, recall {mean['recall']:.2f}, {mean['minutes']:.1f} "
        f"minutes; at most {max(o.minutes for o in outcomes):.1f} minutes and "
        f"{max(o.gigabytes for o in outcomes):.1f} GB."
    )


if __name__ == "__main__":
    run_command(main, "demonstrations.py")
