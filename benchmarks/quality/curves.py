"""Real adversarial trainings as problems: `runs.csv` and `curves.csv.gz` in a folder.

They come from the public logs of locuslab/robust_overfitting and csdongxian/AWP (87 trainings, one
seed each): test accuracy, natural and under PGD, after each epoch. One of them was trained without
attacks and its robust accuracy was not measured, so 86 remain. "at-cifar10" holds those on CIFAR-10
with Linf 8/255, "at-all" all of them, with data set and norm as hyperparameters. The trainings are
110 to 500 epochs long: each is sampled at 40 equal steps of its own length, and a step is what the
benchmark calls an epoch. The values of the last epoch are the final ones.
"""

from __future__ import annotations

import csv
import gzip
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from search.replay.recorded_trials import BenchmarkError, RecordedTrial, TrialBenchmark, no_recipe
from search.stopping.rung_schedule import rung_epochs
from spaces import Choice, Float, Int, Knob, Params, Space, Value, exists

STEPS = 40
NOISE = (0.004, 0.5)  # standard errors of accuracies on 10,000 images: .4 and .5 points
Row = Mapping[str, str]


def load_problems(folder: Path) -> list[TrialBenchmark]:
    """Load both problems.

    Raises:
      BenchmarkError: the folder does not hold both files.
    """
    try:
        with (folder / "runs.csv").open(newline="") as lines:
            runs = list(csv.DictReader(lines))
        with gzip.open(folder / "curves.csv.gz", "rt") as lines:
            curves: dict[str, list[tuple[float, float]]] = defaultdict(list)
            for row in csv.DictReader(lines):
                curves[row["run"]].append((float(row["test_acc"]), 100 * float(row["test_racc"])))
    except (OSError, KeyError) as error:
        raise BenchmarkError(f"{folder} holds no runs.csv and curves.csv.gz: {error}") from None
    attacked = [run for run in runs if run["attack"] != "none"]
    here = [run for run in attacked if _data(run) == "cifar10" and run["norm"] == "l_inf"]
    return [_table("at-cifar10", here, curves), _table("at-all", attacked, curves)]


def _table(
    name: str, runs: Sequence[Row], curves: Mapping[str, Sequence[tuple[float, float]]]
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
        at = np.round(np.arange(1, STEPS + 1) * len(seen) / STEPS).astype(int) - 1
        kept: dict[str, Value] = {}
        for knob, settings in space.knobs.items():
            if exists(settings, kept):
                kept[knob] = point[knob]
        final = float(seen[-1, 0]), float(seen[-1, 1])
        rungs = rung_epochs([1.0] * STEPS)
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
