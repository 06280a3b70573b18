"""Stored nets attacked again: what a run is worth under another battery, without any training.

Values of two batteries never mix. The new ones are collected beside the old, and take their place
at once when the last is known; a run that is cut off goes on with what is missing. Nets that are
not there any more have no value under the new battery, and leave the front.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from adv import evaluate
from search.finals.train_finalist import Final, stored
from search.record.ledger import Ledger
from search.record.trial import Trial
from search.record.trial_result import TrialResult
from search.record.view import View
from search.session.plan import commit, described
from search.study import why
from search.trials.train_trial import BEST, Training, intervals_of, objectives_of, score_fields

TRIALS, FINALS = "trial", "final"


@dataclass(frozen=True)
class Item:
    """A stored net: the `trial` or `final` of that number, and what is known of it."""

    kind: str
    number: int
    params: Mapping[str, Any]
    seed: int
    weights: Path
    result: TrialResult


@dataclass(frozen=True)
class Rescoring:
    """Judges a stored net as `training` would judge it today; the line to torch."""

    training: Training

    @property
    def id(self) -> str:
        """12 hex digits that change whenever an attack, a judge or the images do.

        The one of the finals' battery is `search.finals.strong_battery.Strong.id`.
        """
        scale = self.training.scale
        return hashlib.sha256(repr((scale.battery(), scale.images)).encode()).hexdigest()[:12]

    @property
    def final(self) -> Final:
        """Judges finalists, on the test split."""
        return Final(self.training)

    def __call__(self, item: Item) -> TrialResult:
        """The net's result under today's battery.

        Raises:
          CheckpointError: its weights are not there, or are not those of the net.
        """
        began = time.perf_counter()
        net = stored(self.training, item.params, item.seed, item.weights)
        split = self.training.data.validation.head(self.training.scale.images)
        score = evaluate(net, split, self.training.scale.battery())
        gap = None
        if item.kind == TRIALS and self.training.scale.gap_images:
            gap = self.training.gap_of(net, split, score)
        details = replace(item.result.details, last=None, masking_gap=gap, **score_fields(score))
        details = replace(details, evaluate_seconds=time.perf_counter() - began)
        objectives = objectives_of(score)
        if item.kind == TRIALS:
            return TrialResult(objectives, intervals_of(score), details)
        details = replace(details, validation=objectives)
        result = TrialResult(objectives, intervals_of(score), details)
        return self.final.judged(net, result, item.weights.parent.name)


def items(view: View, folder: Path) -> tuple[list[Item], dict[str, str]]:
    """The nets of a run that can be judged again, and why others cannot.

    Returns:
      The nets; and of those that are not there a line under `trial 3` or `final 3`.
    """
    found: list[Item] = []
    missing: dict[str, str] = {}
    runs = view.finals.in_state("finished") if view.finals else []
    for kind, trials in ((TRIALS, view.in_state("finished")), (FINALS, runs)):
        for trial in trials:
            item = _item(kind, trial, folder)
            if item is None:
                continue
            if item.weights.is_file():
                found.append(item)
            else:
                missing[f"{kind} {trial.number}"] = f"no weights at {item.weights}"
    return found, missing


def there(view: View, folder: Path) -> bool:
    """Whether there is a net of a finished trial to judge again."""
    return any(item.kind == TRIALS for item in items(view, folder)[0])


def _item(kind: str, trial: Trial, folder: Path) -> Item | None:
    if trial.result is None:
        return None
    place = folder / ("finals" if kind == FINALS else "") / "trials" / trial.name / BEST
    known = trial.result.details.weights
    weights = folder / known if known else place
    return Item(kind, trial.number, trial.params, trial.seed, weights.absolute(), trial.result)


def rescore(
    ledger: Ledger,
    run: Rescoring,
    way: Callable[[Rescoring, Iterable[Item]], Iterator[tuple[Item, TrialResult | str]]],
    say: Callable[[str], None],
) -> dict[str, str]:
    """Judge every stored net again, then make the new values the run's own.

    What an earlier session judged already, under the same battery of the same commit, is not
    judged again.

    Args:
      ledger: of the run; takes an event for each net, and one at the end.
      run: judges.
      way: maps a rescoring over nets, in this process or on a cluster; gives a result, or why not.
      say: takes a line for each net.

    Returns:
      Why others could not be judged, by `trial 3` or `final 3`.
    """
    view, folder = ledger.view, ledger.path.parent
    nets, missing = items(view, folder)
    here = commit()[:9]  # the same settings may attack in another way
    strong = run.final.strong.id
    batteries = {TRIALS: f"{run.id} {here}", FINALS: f"{strong} {here}"}
    done = {
        TRIALS: view.rescored.get(batteries[TRIALS], {}),
        FINALS: view.finals.rescored.get(batteries[FINALS], {}) if view.finals else {},
    }
    to_do = [item for item in nets if item.number not in done[item.kind]]
    for line in (f"{name}: {reason}" for name, reason in missing.items()):
        say(f"not re-scored: {line}")
    for n, (item, outcome) in enumerate(way(run, to_do), 1):
        name = f"{item.kind} {item.number}"
        if isinstance(outcome, str):
            missing[name] = outcome
            say(f"not re-scored: {name}: {outcome}")
            continue
        _append(ledger, item, batteries[item.kind], outcome)
        before, after = item.result.point, outcome.point
        say(
            f"{n}/{len(to_do)} {name}: natural accuracy {100 * before[0]:.1f} to "
            f"{100 * after[0]:.1f} %, attacked score {before[1]:.1f} to {after[1]:.1f}"
        )
    _rebuild(ledger, run, batteries, missing)
    return missing


def _append(ledger: Ledger, item: Item, battery: str, result: TrialResult) -> None:
    content = {"event": "rescored", "trial": item.number, "battery": battery, **result.to_json()}
    if item.kind == TRIALS:
        ledger.append(**content)
    else:
        ledger.append("final", part=content)


def _rebuild(
    ledger: Ledger, run: Rescoring, batteries: Mapping[str, str], missing: Mapping[str, str]
) -> None:
    """The events that make the new values the run's own, the trials' last."""
    lost = {kind: _of(kind, missing) for kind in (TRIALS, FINALS)}
    if ledger.view.finals:
        strong = {**ledger.view.finals_header.to_json(), **run.final.strong.describe()}
        part = {"battery": batteries[FINALS], "header": strong, "missing": lost[FINALS]}
        ledger.append("final", part={"event": "rebuilt", **part})
    scale = run.training.scale
    header = {"scale": asdict(scale), "battery": described(scale)}
    ledger.append("rebuilt", battery=batteries[TRIALS], header=header, missing=lost[TRIALS])


def _of(kind: str, missing: Mapping[str, str]) -> dict[str, str]:
    """The reasons of one kind, by number."""
    said = ([*name.split(), reason] for name, reason in missing.items())
    return {
        number: f"not re-scored: {reason}"
        for found, number, *rest in said
        for reason in rest
        if found == kind
    }


def judged(run: Rescoring, item: Item) -> TrialResult | str:
    """Its result, or one line that says why there is none."""
    try:
        return run(item)
    except Exception as error:  # a file may be damaged in any way
        return " ".join(why(error).split())[:500]


def with_sizes(training: Training, steps: int | None, images: int | None) -> Training:
    """The training with other steps of the battery and other images, where they are given.

    Raises:
      ValueError: there are not as many validation images.
    """
    scale, have = training.scale, len(training.data.validation)
    if images is not None and images > have - scale.watch_images:
        raise ValueError(
            f"--images {images}: {have - scale.watch_images} of the {have} validation images are "
            "free, the others choose each trial's epoch"
        )
    changes = {"battery_steps": steps, "images": images}
    given: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
    return replace(training, scale=replace(scale, **given))
