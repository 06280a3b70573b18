"""Train a grid of configurations of a space many times, and write what each training scores.

    python benchmarks/truth.py --space rse_sigmas
    python benchmarks/truth.py --space tradeoff --seeds 10 --jobs 2
    python benchmarks/truth.py --space tradeoff --show          # only print the table of means

What a demonstration of the README claims is compared with these tables. Each training is that of a
search at scale `laptop`, with a seed that no search uses. Its best epoch is scored by the final
battery on all held-out images, validation and test, but those that chose the epoch. The rows lie in
`benchmarks/truth/SPACE.csv`, one for a training; a command that was interrupted goes on where it
ended, all first seeds before all second ones. Rows of another battery are refused.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import rich_click as click
import torch

import spaces
from adv import Data, Split, evaluate, is_random, load, train, watch
from search.backends.process_tree import end_with_parent
from search.command_line import run_command
from search.finals.final_battery import FinalBattery
from spaces import Choice, Params, Scale, Space

FOLDER = Path(__file__).parent / "truth"
FIRST_SEED = 10_000_000
GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "rse_sigmas": {
        "sigma_init": (0.0, 0.1, 0.2, 0.3, 0.4),
        "sigma_inner": (0.0, 0.075, 0.15, 0.225, 0.3),
    }
}
"""The values of each hyperparameter, for spaces whose hyperparameters are no choices."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--space", required=True, help="Name of the space.")
@click.option("--seeds", default=10, show_default=True, type=click.IntRange(1))
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1), help="Processes.")
@click.option("--show", is_flag=True, help="Print the table, train nothing.")
def main(space: str, seeds: int, jobs: int, show: bool) -> None:
    """Train what is missing in the table of a space, and print the means."""
    path = FOLDER / f"{space}.csv"
    if not show:
        _train_missing(space, grid(space), seeds, jobs, path)
    names = list(spaces.load(space).knobs)
    print("| " + " | ".join((*names, "trainings", "natural accuracy", "attacked score")) + " |")
    print("|" + "---|" * (len(names) + 3))
    for values, scores in group_rows(read_rows(path), names).items():
        print("| " + " | ".join((*values, str(len(scores)), *_describe(scores))) + " |")


def group_rows(
    rows: list[dict[str, str]], names: list[str]
) -> dict[tuple[str, ...], np.ndarray[Any, np.dtype[np.float64]]]:
    """Return for each configuration the values of its trainings, [seeds, 2].

    Args:
      rows: of a table.
      names: of the hyperparameters.
    """
    groups: dict[tuple[str, ...], list[tuple[float, float]]] = {}
    for row in rows:
        key = tuple(row[name] for name in names)
        groups.setdefault(key, []).append((float(row["natural"]), float(row["attacked"])))
    return {key: np.array(values) for key, values in sorted(groups.items())}


def _describe(scores: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[str, str]:
    """Return the mean of both objectives with its standard error over seeds."""
    means, n = scores.mean(axis=0) * (100, 1), len(scores)
    if n == 1:
        return f"{means[0]:.1f} %", f"{means[1]:.0f}"
    errors = scores.std(axis=0, ddof=1) * (100, 1) / n**0.5
    return f"{means[0]:.1f} ± {errors[0]:.1f} %", f"{means[1]:.0f} ± {errors[1]:.0f}"


def grid(name: str) -> list[Params]:
    """Return the configurations of the table of a space.

    Raises:
      ValueError: there is no such space, or nobody says which values its hyperparameters take.
    """
    space = spaces.load(name).for_scale("laptop")
    values = GRIDS.get(name) or {
        key: knob.options for key, knob in space.knobs.items() if isinstance(knob, Choice)
    }
    if set(values) != set(space.knobs):
        raise ValueError(f"{name} is no grid: add its values to GRIDS in benchmarks/truth.py")
    points: list[Params] = []
    for row in itertools.product(*values.values()):
        params = dict(zip(values, row, strict=True))
        params = {key: params[key] for key, _ in space.active(params)}
        if params not in points:  # without what does not exist there, some are equal
            points.append(params)
    return points


def name_point(params: Params, names: list[str]) -> tuple[str, ...]:
    """Return hyperparameters as the table has them; "" for one that does not exist."""
    return tuple(str(params.get(name, "")) for name in names)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a table, none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _train_missing(name: str, points: list[Params], seeds: int, jobs: int, path: Path) -> None:
    scale = _scale(spaces.load(name))
    data = load(scale.data, image_size=scale.image_size)
    judge = FinalBattery(replace(scale, test_images=len(_held_out(data, scale))), len(data.classes))
    rows = read_rows(path)
    if any(row["judge"] != judge.id for row in rows):
        raise ValueError(f"{path} holds rows of another battery than {judge.id}: remove it first")
    names = list(spaces.load(name).knobs)
    done = {(*(row[key] for key in names), int(row["seed"])) for row in rows}
    wanted = itertools.product(range(seeds), points)
    tasks = [(p, s) for s, p in wanted if (*name_point(p, names), s) not in done]
    path.parent.mkdir(exist_ok=True)
    for row in _run(name, tasks, jobs):
        full = {**row, "judge": judge.id}
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(full), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(full)
        print(*(f"{key}={value}" for key, value in row.items()), flush=True)


def _run(name: str, tasks: list[tuple[Params, int]], jobs: int) -> Iterator[dict[str, Any]]:
    if jobs == 1:
        yield from (train_and_judge(name, params, seed) for params, seed in tasks)
        return
    with make_pool(jobs) as pool:
        futures = [pool.submit(train_and_judge, name, params, seed) for params, seed in tasks]
        for future in as_completed(futures):
            yield future.result()


def make_pool(jobs: int) -> ProcessPoolExecutor:
    """Return so many processes, which end when this one is killed."""
    return ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent)


def train_and_judge(name: str, params: Params, seed: int) -> dict[str, Any]:
    """Return the row of one training: its configuration, its seed and both objectives."""
    torch.set_num_threads(1)
    space = spaces.load(name)
    scale = _scale(space)
    data = load(scale.data, image_size=scale.image_size)
    recipe = scale.apply(space.build(**params))
    watched = data.validation.tail(scale.watch_images)
    epochs = train(recipe, data.train, classes=len(data.classes), seed=FIRST_SEED + seed)
    best: dict[str, torch.Tensor] = {}
    for step in watch(epochs, watched, scale.watch(), patience=recipe.patience):
        net = step.epoch.net
        if step.is_best:
            best = {key: value.clone() for key, value in net.state_dict().items()}
    net.load_state_dict(best)
    judge = FinalBattery(scale, len(data.classes)).battery(is_random(net))
    split = _held_out(data, scale)
    score = evaluate(net, split, judge)
    return {
        **dict(zip(space.knobs, name_point(params, list(space.knobs)), strict=True)),
        "seed": seed,
        "natural": round(score.natural_accuracy, 5),
        "attacked": round(score.attacked_score, 3),
        "images": len(split),
    }


def _scale(space: Space) -> Scale:
    return spaces.scale("laptop", **space.for_scale("laptop").scale)


def _held_out(data: Data, scale: Scale) -> Split:
    """Return all images that no training sees: validation, without those that watch, and test."""
    rest = data.validation.head(len(data.validation) - scale.watch_images)
    images = torch.cat([rest.images, data.test.images])
    return Split(images, torch.cat([rest.labels, data.test.labels]))


if __name__ == "__main__":
    run_command(main, "truth.py")
