"""Real adversarial trainings as problems, from the files of a folder.

`runs.csv` and `curves.csv.gz` come from the public logs of locuslab/robust_overfitting and
csdongxian/AWP (87 trainings, one seed each): test accuracy, natural and under PGD, after each
epoch. One of them was trained without attacks and its robust accuracy was not measured, so 86
remain. "at-cifar10" holds those on CIFAR-10
with Linf 8/255, "at-all" all of them, with data set and norm as hyperparameters. The trainings are
110 to 500 epochs long: each is sampled at 40 equal steps of its own length, and a step is what the
benchmark calls an epoch. The values of the last epoch are the final ones. No trial is measured at a
rung before its learning rate has begun to fall.

`curves-cifar10.csv.gz` comes from the logs of FastAT_Benchmark (arXiv 2604.22853): 21 methods of
fast adversarial training, three seeds each, validation accuracy and that under PGD after each of
100 epochs (free_at: 50). "fast-at" has a method and a seed as hyperparameters. Early values tell
little of the end there, and the learning rates are not recorded.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.replay.recorded_trials import BenchmarkError, RecordedTrial, TrialBenchmark, no_recipe
from search.stopping.rung_schedule import rung_epochs
from spaces import Choice, Float, Int, Knob, Params, Space, Value, exists

STEPS = 40
FAST = "curves-cifar10.csv.gz"
NOISE = (0.004, 0.5)  # standard errors of accuracies on 10,000 images: .4 and .5 points
Row = Mapping[str, str]
Epochs = NDArray[np.intp]


def load_problems(folder: Path) -> list[TrialBenchmark]:
    """Load the problems of a folder: "fast-at", or "at-cifar10" and "at-all".

    Raises:
      BenchmarkError: the folder holds neither kind of files.
    """
    if (folder / FAST).is_file():
        return [_load_fast(folder / FAST)]
    try:
        with (folder / "runs.csv").open(newline="") as lines:
            runs = list(csv.DictReader(lines))
        with gzip.open(folder / "curves.csv.gz", "rt") as lines:
            curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
            rates: dict[str, list[float]] = defaultdict(list)
            for row in csv.DictReader(lines):
                curves[row["run"]].append((float(row["test_acc"]), 100 * float(row["test_racc"])))
                rates[row["run"]].append(float(row["lr"]))
    except (OSError, KeyError) as error:
        raise BenchmarkError(
            f"{folder} holds neither {FAST} nor runs.csv and curves.csv.gz: {error}"
        ) from None
    attacked = [run for run in runs if run["attack"] != "none"]
    here = [run for run in attacked if _data(run) == "cifar10" and run["norm"] == "l_inf"]
    return [_table("at-cifar10", here, curves, rates), _table("at-all", attacked, curves, rates)]


def _load_fast(path: Path) -> TrialBenchmark:
    try:
        with gzip.open(path, "rt") as lines:
            curves: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
            for row in csv.DictReader(lines):
                point = float(row["val_acc"]), 100 * float(row["pgd_acc"])
                curves[row["method"], int(row["seed"])].append(point)
    except (OSError, KeyError, ValueError) as error:
        raise BenchmarkError(f"{path} is not as described: {error}") from None
    methods = tuple(sorted({method for method, _ in curves}))
    seeds = [seed for _, seed in curves]
    space = Space(
        f"which of {len(curves)} recorded trainings?",
        {"method": Choice(methods), "seed": Int(min(seeds), max(seeds))},
        no_recipe,
    )
    records = []
    for (method, seed), values in curves.items():
        seen = np.array(values)
        at = _steps(len(seen))
        rungs = rung_epochs([1.0] * STEPS)
        final = float(seen[-1, 0]), float(seen[-1, 1])
        params: Params = {"method": method, "seed": seed}
        records.append(RecordedTrial(params, seen[at], final, NOISE, rungs))
    return TrialBenchmark("fast-at", space, records, group="real")


def _steps(epochs: int) -> Epochs:
    """Return the epochs, counted from 0, at the end of each of `STEPS` equal steps."""
    return np.round(np.arange(1, STEPS + 1) * epochs / STEPS).astype(int) - 1


def _table(
    name: str,
    runs: Sequence[Row],
    curves: Mapping[str, Sequence[tuple[float, float]]],
    rates: Mapping[str, Sequence[float]],
) -> TrialBenchmark:
    points = [_point(run) for run in runs]
    columns: dict[str, list[Value]] = defaultdict(list)
    for point in points:
        for knob, value in point.items():
            columns[knob].append(value)
    space = Space(
        f"which of {len(runs)} recorded trainings?",
        {knob: _knob(values) for knob, values in columns.items() if len(set(values)) > 1},
        no_recipe,
    )
    records: dict[str, RecordedTrial] = {}
    for run, point in zip(runs, points, strict=True):
        seen = np.array(curves[run["run"]])
        at = _steps(len(seen))
        kept: dict[str, Value] = {}
        for knob, settings in space.knobs.items():
            if exists(settings, kept):
                kept[knob] = point[knob]
        final = float(seen[-1, 0]), float(seen[-1, 1])
        rungs = rung_epochs([1.0] * STEPS, lr=[rates[run["run"]][i] for i in at])
        records[repr(kept)] = RecordedTrial(
            kept, seen[at], final, NOISE, rungs
        )  # repeats: the last
    return TrialBenchmark(name, space, list(records.values()), group="real")


def _data(run: Row) -> str:
    return run["run"].split("/")[1].split("_")[0]


def _point(run: Row) -> Params:
    """Return the configuration, with the value that means "none" for what was not varied."""
    wide = "wide" in run["run"] or "wrn" in run["run"]

    def number(name: str, none: float) -> float:
        text = run.get(name) or "None"
        return none if text == "None" else float(text)

    mixup = run["mixup"] == "True"
    schedule = run["lr_schedule"]
    return {
        "data": _data(run),
        "norm": run["norm"],
        "net": "wrn34" if wide else "preact18",
        "width": int(number("width_factor", 10)) if wide else 0,
        "attack": run["attack"],
        "alpha": number("fgsm_alpha", 1.0) if run["attack"] == "fgsm" else 0.0,
        "cutout": int(number("cutout_len", 0)) if run["cutout"] == "True" else 0,
        "mixup": number("mixup_alpha", 1.0) if mixup else 0.0,
        "l1": max(1e-8, number("l1", 0.0)),
        "l2": max(1e-5, number("l2", 0.0)),
        "lr": number("lr_max", 0.1),
        "schedule": schedule,
        "drop_epoch": int(number("lr_drop_epoch", 100)) if schedule == "onedrop" else 100,
        "drop_lr": number("lr_one_drop", 0.01) if schedule == "onedrop" else 0.01,
        "epochs": int(number("epochs", 200)),
        "awp": number("awp_size", 0.0) if run["run"].startswith("AWP") else 0.0,
        "extra": "semisupervised" in run["run"],
        "validation": run.get("val") == "True",
        "author": run["run"].split("/")[0],
    }


def _knob(values: Sequence[Value]) -> Knob:
    if isinstance(values[0], str | bool):
        return Choice(tuple(sorted(set(values), key=str)))
    numbers = sorted({float(v) for v in values if not isinstance(v, str)})
    low, high = numbers[0], numbers[-1]
    if len(numbers) == 2:
        return Choice(tuple(sorted(set(values), key=float)))
    if isinstance(values[0], int):
        return Int(int(low), int(high))
    return Float(low, high, log=low > 0 and high / low >= 100)
