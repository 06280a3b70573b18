"""Attack stored nets again under another battery, without training.

Results of two batteries never mix. The new ones are collected beside the old ones and replace them
all at once when the last is known; a re-scoring that is interrupted resumes with what is missing. A
trial whose net cannot be scored again stays finished. It has no result under the new battery, and
is not on the front, until a later re-scoring can give it one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from adv import evaluate
from search.backends.scratch import scratch_folder
from search.errors import describe_error, find_storage_error
from search.finals.final_battery import hash_battery
from search.finals.train_finalist import FinalTraining, load_trained_net
from search.formatting import format_objective, objective_title
from search.interrupt import Interrupted, raises_on_interrupt
from search.record.ledger import Ledger
from search.record.provenance import read_commit
from search.record.run_files import is_inside
from search.record.run_folder import trial_name
from search.record.trial_result import TrialResult
from search.record.view import View
from search.session.header import describe_battery, sources
from search.session.stored_nets import FINAL, TRIAL, StoredNet, find_stored_nets
from search.storage.location import Location
from search.storage.store import Store
from search.storage.trial_files import download
from search.trials.score_fields import score_fields
from search.trials.train_trial import Training


@dataclass(frozen=True)
class Rescoring:
    """Scores a stored net as `training` would score it today.

    Args:
      training: of the run.
      location: of the run in a store from which workers fetch nets; None: they see its folder.
    """

    training: Training
    location: Location | None = None

    @property
    def id(self) -> str:
        """The id of the battery: a hash of the attacks, the votes and the images, 12 hex digits.

        The id of the battery of the finals is `Rescoring.final.final_battery.id`.
        """
        scale = self.training.scale
        return hash_battery((scale.battery(), scale.images))

    @property
    def final(self) -> FinalTraining:
        """The final training whose battery scores finalists again on the test split."""
        return FinalTraining(self.training)

    def __call__(self, net: StoredNet) -> TrialResult:
        """Return the result of a net under today's battery.

        Raises:
          LostNetError: its weights are missing, or have changed.
          CheckpointError: they are those of another net.
        """
        began = time.perf_counter()
        with self._fetch(net) as here:
            model = load_trained_net(self.training, net.params, net.seed, here.find())
        split = self.training.data.validation.head(self.training.scale.images)
        score = evaluate(model, split, self.training.scale.battery())
        gap = None
        if net.kind == TRIAL and self.training.scale.gap_images:
            gap = self.training.measure_gap(model, split, score)
        details = replace(net.result.details, last=None, masking_gap=gap, **score_fields(score))
        details = replace(details, evaluate_seconds=time.perf_counter() - began)
        recipe, known = self.training.recipe(net.params), net.result.objectives
        timed = {name: known[name] for name in ("latency", "training_seconds") if name in known}
        result = self.training.make_result(recipe, model, split, score, details, timed)
        if net.kind == TRIAL:
            return result
        result = replace(result, details=replace(details, validation=dict(result.objectives)))
        return self.final.score(model, result, trial_name(net.number), net.params)

    @contextmanager
    def _fetch(self, net: StoredNet) -> Iterator[StoredNet]:
        """Give the net with the files that the store has of it."""
        if self.location is None:
            yield net
            return
        with scratch_folder() as folder:
            for name in filter(is_inside, net.files):
                download(Store(self.location), name, folder / name)
            yield replace(net, folder=folder)


MapNets = Callable[[Rescoring, Iterable[StoredNet]], Iterator[tuple[StoredNet, TrialResult | str]]]
"""Maps a rescoring over nets, in a worker or on a cluster: a result, or why there is none."""


def rescore(
    ledger: Ledger, run: Rescoring, map_nets: MapNets, say: Callable[[str], None]
) -> dict[str, str]:
    """Score every stored net again, then replace the results of the run by the new ones.

    A net that an earlier session scored under the same battery of the same commit is not scored
    again.

    Args:
      ledger: of the run; takes an event for each net, and one at the end.
      run: scores a net.
      map_nets: applies `run` to nets.
      say: takes a line for each net.

    Returns:
      Why others could not be scored, by name: `trial 3` or `final 3`.

    Raises:
      ValueError: no net of a trial could be scored; nothing is replaced.
    """
    nets, missing = find_stored_nets(ledger.view, ledger.path.parent)
    batteries = _name_batteries(run)
    done = _find_scored(ledger.view, batteries)
    remaining = [net for net in nets if net.number not in done[net.kind]]
    for name, reason in missing.items():
        say(f"not re-scored: {name}: {reason}")
    for n, (net, outcome) in enumerate(map_nets(run, remaining), 1):
        name = f"{net.kind} {net.number}"
        if isinstance(outcome, str):
            missing[name] = outcome
            say(f"not re-scored: {name}: {outcome}")
            continue
        _append(ledger, net, batteries[net.kind], outcome)
        before, after = net.result.objectives, outcome.objectives
        changes = (
            f"{objective_title(one)} {format_objective(one, before[one]).removesuffix(' %')} to "
            f"{format_objective(one, after[one])}"
            for one in outcome.aims
            if one in before
        )
        say(f"{n}/{len(remaining)} {name}: {', '.join(changes)}")
    if not ledger.view.rescored.get(batteries[TRIAL]):
        raise ValueError(
            f"no net of {ledger.path.parent} could be scored again, so nothing was replaced: "
            + "; ".join(f"{name}: {reason}" for name, reason in [*missing.items()][:3])
        )
    _rebuild(ledger, run, batteries, missing)
    return missing


def _name_batteries(run: Rescoring) -> dict[str, str]:
    """Return an id for the battery of each kind of net, the commit of the program included."""
    commit = read_commit()[:9]  # another commit may attack differently with the same settings
    return {TRIAL: f"{run.id} {commit}", FINAL: f"{run.final.final_battery.id} {commit}"}


def _find_scored(view: View, batteries: Mapping[str, str]) -> dict[str, Mapping[int, TrialResult]]:
    """Return the results that earlier sessions have collected, by kind and number."""
    finals = view.finals.rescored if view.finals else {}
    return {
        TRIAL: view.rescored.get(batteries[TRIAL], {}),
        FINAL: finals.get(batteries[FINAL], {}),
    }


def _append(ledger: Ledger, net: StoredNet, battery: str, result: TrialResult) -> None:
    content = {"event": "rescored", "trial": net.number, "battery": battery, **result.to_json()}
    if net.kind == TRIAL:
        ledger.append(**content)
    else:
        ledger.append("final", part=content)


def _rebuild(
    ledger: Ledger, run: Rescoring, batteries: Mapping[str, str], missing: Mapping[str, str]
) -> None:
    """Append the events that replace the results of the run, the one of the trials last."""
    lost = {kind: _reasons(kind, missing) for kind in (TRIAL, FINAL)}
    if ledger.view.finals:
        strong = {**ledger.view.finals_header.to_json(), **run.final.final_battery.describe()}
        part = {"battery": batteries[FINAL], "header": strong, "missing": lost[FINAL]}
        ledger.append("final", part={"event": "rebuilt", **part})
    scale = run.training.scale
    header = {"scale": asdict(scale), "battery": describe_battery(scale), "sources": sources()}
    ledger.append("rebuilt", battery=batteries[TRIAL], header=header, missing=lost[TRIAL])


def _reasons(kind: str, missing: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons of one kind of net, by number."""
    split = ((*name.split(), reason) for name, reason in missing.items())
    return {
        number: f"not scored under this battery: {reason}"
        for of, number, reason in split
        if of == kind
    }


def rescore_net(run: Rescoring, net: StoredNet) -> TrialResult | str:
    """Return the result of a net, or in one line why there is none.

    Raises:
      StorageError: a disk or mount failed, which says nothing about the net.
    """
    try:
        return run(net)
    except Interrupted:
        raise
    except BaseException as error:  # of a damaged file, or of the code of a space: anything
        if isinstance(error, KeyboardInterrupt) and raises_on_interrupt():
            raise
        if storage := find_storage_error(error):
            raise storage from error
        return describe_error(error)


def change_battery(
    training: Training,
    score: str | None,
    steps: int | None,
    images: int | None,
    battery: str | None = None,
) -> Training:
    """Return the training with another score, battery, steps and images, where they are given.

    Raises:
      ValueError: there are not as many validation images.
    """
    scale, have = training.scale, len(training.data.validation)
    free = have - scale.watch_images
    if images is not None and images > free:
        raise ValueError(
            f"--images {images}: {free} of the {have} validation images are free, the others "
            "choose the best epoch of each trial"
        )
    changes = {"score": score, "battery_steps": steps, "images": images, "threat_model": battery}
    given: dict[str, Any] = {k: v for k, v in changes.items() if v is not None}
    return replace(training, scale=replace(scale, **given))
