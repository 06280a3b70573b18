"""Compare the fronts of several runs: hypervolumes and their best nets, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adv.evaluation.image_table import PER_IMAGE, per_image_objectives
from adv.intervals import paired_interval
from search.comparison.sampled_front import SampledFront, finals_front, reported, search_front
from search.finals.seed_noise import Floats
from search.record.pareto import front, hypervolume
from search.record.view import View
from spaces import find_objective

Interval = tuple[float, float]
IMAGES = "bootstrap over the images that all runs have in common"
SEEDS = "posterior over seeds, bootstrap over the test images that all runs have in common"


@dataclass(frozen=True)
class Difference:
    """By how much a second figure is ahead of a first.

    Args:
      of: what the figure is of, such as "hypervolume" or "most accurate nets, trials 3 and 5".
      figure: its name: "hypervolume" or an objective.
      value: second minus first, larger is better, as recorded.
      interval: at 95 %; None: not known.
    """

    of: str
    figure: str
    value: float
    interval: Interval | None

    @property
    def told_apart(self) -> bool:
        """True if the interval excludes zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True)
class RunComparison:
    """The fronts of several runs, compared with that of the first.

    Args:
      names: of the runs.
      finals: True if the fronts are those of the finals, False if those that the searches saw.
      fronts: of each run.
      joint: for each run which members no member of any run dominates, [n] booleans.
      hypervolumes: of each run, in [0, 1], with its 95 % interval; None: not known.
      differences: for each further run its differences from the first.
    """

    names: tuple[str, ...]
    finals: bool
    fronts: tuple[SampledFront, ...]
    joint: tuple[tuple[bool, ...], ...]
    hypervolumes: tuple[tuple[float, Interval | None], ...]
    differences: tuple[tuple[Difference, ...], ...]

    @property
    def method(self) -> str:
        """The sources of chance that the intervals are over."""
        return SEEDS if self.finals else IMAGES


def compare_views(runs: Mapping[str, View]) -> RunComparison:
    """Compare the fronts of two runs or more.

    Fronts are those of the finals if all runs have finals under one battery, else those of the
    searches.

    Args:
      runs: their views by name; the first is the one that others are compared with.

    Raises:
      ValueError: the runs cannot be compared, or one has no front.
    """
    views = list(runs.values())
    check_comparable(runs)
    finals = _have_equal_finals(views)
    fronts = [
        finals_front(view, seed) if finals else search_front(view)
        for seed, view in enumerate(views)
    ]
    for name, found in zip(runs, fronts, strict=True):
        if not found.numbers:
            raise ValueError(f"{name} has no finished trial, so it has no front to compare")
    low, span = _box(views, fronts)
    volumes = [_volumes(one, low, span) for one in fronts]
    joint = front(np.concatenate([one.points for one in fronts])).tolist()
    ends = np.cumsum([len(one.numbers) for one in fronts]).tolist()
    return RunComparison(
        tuple(runs),
        finals,
        tuple(fronts),
        tuple(
            tuple(joint[end - len(one.numbers) : end])
            for end, one in zip(ends, fronts, strict=True)
        ),
        tuple((value, _centred(value, some)) for value, some in volumes),
        tuple(
            (
                _volume_difference(volumes[0], volumes[k]),
                *_net_differences(views[0], fronts[0], views[k], fronts[k], finals),
            )
            for k in range(1, len(fronts))
        ),
    )


def check_comparable(runs: Mapping[str, View]) -> None:
    """Raise ValueError, in one line, unless runs have figures of one kind on the same images."""
    (first, one), *others = runs.items()
    for name, view in others:
        for what, a, b in _facts(one, view):
            if a != b:
                raise ValueError(
                    f"{first} and {name} cannot be compared: they differ in their {what}"
                    + (f" ({a}; {b})" if isinstance(a, str) and a and b else "")
                )


def _facts(one: View, other: View) -> list[tuple[str, object, object]]:
    """Return what two runs must agree in, in words, with the values of both."""
    a, b = one.header, other.header
    attacks = [[{**attack} for attack in head.battery] for head in (a, b)]
    images = [str(head.scale.get("images", "")) for head in (a, b)]
    return [
        ("objectives", ", ".join(a.aims), ", ".join(b.aims)),
        ("data", a.data, b.data),
        ("images or labels", a.data_fingerprint, b.data_fingerprint),
        ("classes", str(a.classes), str(b.classes)),
        ("image shape", str(a.image_shape), str(b.image_shape)),
        ("score", a.score, b.score),
        ("attacks", attacks[0], attacks[1]),
        ("number of images", images[0], images[1]),
    ]


def _have_equal_finals(views: Sequence[View]) -> bool:
    """Return whether all runs report nets from finals on the same images under one battery."""
    kinds = {(view.finals_header.battery, view.finals_header.images) for view in views}
    return len(kinds) == 1 and all(view.finals and reported(view) for view in views)


def _box(views: Sequence[View], fronts: Sequence[SampledFront]) -> tuple[Floats, Floats]:
    """Return the corner from which hypervolumes are measured, and the sides of the unit.

    Accuracies go from 0 to 1, attacked scores from 0 to their largest; a figure without such ends
    from the worst value of any trial to the best on any front.
    """
    header = views[0].header
    scored = [trial.result.point for view in views for trial in view.scored() if trial.result]
    every = np.concatenate([np.array(scored).reshape(-1, 2), *(one.points for one in fronts)])
    low, top = np.zeros(2), np.ones(2)
    for m, name in enumerate(header.aims):
        unit = find_objective(name).unit
        if unit == "points":
            top[m] = 100.0 * max(1, len(header.battery))
        elif unit != "%":
            low[m], top[m] = every[:, m].min(), every[:, m].max()
    return low, np.where(top > low, top - low, 1.0)


def _volumes(one: SampledFront, low: Floats, span: Floats) -> tuple[float, Floats | None]:
    """Return the hypervolume of a front, and of each of its samples."""
    value = hypervolume((one.points - low) / span, (0.0, 0.0))
    if one.samples is None:
        return value, None
    scaled = ((one.samples - low) / span).clip(0, 1)
    return value, np.array([hypervolume(points, (0.0, 0.0)) for points in scaled])


def _centred(value: float, samples: Floats | None) -> Interval | None:
    """Return the interval of samples, moved to a value.

    The largest of several noisy values is too large on average, so samples of a hypervolume lie
    above it.
    """
    if samples is None:
        return None
    low, high = np.quantile(samples - samples.mean(), [0.025, 0.975])
    return value + min(0.0, float(low)), value + max(0.0, float(high))


def _volume_difference(
    first: tuple[float, Floats | None], second: tuple[float, Floats | None]
) -> Difference:
    value = second[0] - first[0]
    paired = None if first[1] is None or second[1] is None else second[1] - first[1]
    return Difference("hypervolume", "hypervolume", value, _centred(value, paired))


def _net_differences(
    one: View, a: SampledFront, other: View, b: SampledFront, finals: bool
) -> list[Difference]:
    """Return how the best nets in each objective differ, in both objectives."""
    aims = one.header.aims
    best: dict[tuple[int, int], list[str]] = {}
    for m, aim in enumerate(aims):
        pair = int(np.argmax(a.points[:, m])), int(np.argmax(b.points[:, m]))
        best.setdefault(pair, []).append(find_objective(aim).title)
    found = []
    for (i, j), titles in best.items():
        of = f"best in {' and '.join(titles)}: trials {a.numbers[i]} and {b.numbers[j]}"
        for k, name in enumerate(aims):
            value = float(b.points[j, k] - a.points[i, k])
            if not finals:
                interval = _paired(one, a.numbers[i], other, b.numbers[j], name)
            elif a.samples is None or b.samples is None:
                interval = None
            else:
                interval = _centred(value, b.samples[:, j, k] - a.samples[:, i, k])
            found.append(Difference(of, name, value, interval))
    return found


def _paired(one: View, i: int, other: View, j: int, name: str) -> Interval | None:
    """Return the interval of Bonett and Price of a figure of two trials, None if there is none."""
    results = one.trials[i].result, other.trials[j].result
    tables = [result.details.table for result in results if result and result.details.table]
    if len(tables) < 2 or name not in PER_IMAGE:
        return None
    a, b = (per_image_objectives(table, (name,))[0] for table in tables)
    largest = 100.0 * len(tables[0]["names"]) if find_objective(name).unit == "points" else 1.0
    apart = b - a
    return paired_interval(
        float(apart.sum()),
        float((apart**2).sum()),
        len(apart),
        differing=int(np.count_nonzero(apart)),
        largest=largest,
    )
