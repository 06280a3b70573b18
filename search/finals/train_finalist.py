"""The training of a finalist: with a fresh seed, then attacked by the final battery."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from adv import Score, build, evaluate, is_random
from adv.auditing.confidence import mean_confidence
from adv.auditing.gradient_masking import missed_share_limit
from adv.checkpoints.checkpoint import load_weights, read_checkpoint
from adv.intervals import gap_limit
from adv.runtime.devices import on_device
from adv.runtime.ranks import ALONE, Ranks
from search.finals.final_battery import FinalBattery
from search.record.run_files import unchanged_file
from search.record.run_folder import FINALS, TRIALS
from search.record.trial import EpochReport
from search.record.trial_result import MaskingGap, ResultDetails, TrialResult
from search.trials.examples import save_examples
from search.trials.figures import cheap_figures
from search.trials.phase import report_attacks
from search.trials.rank_count import count_ranks
from search.trials.rank_task import NoRoomError, find_helpers
from search.trials.ranks import run_on_ranks
from search.trials.score_fields import score_fields
from search.trials.train_trial import Training
from search.trials.trial_state import BEST
from spaces import Params

WORTHWHILE = 20.0  # seconds that the search's scoring of a net takes; helpers take ten to start
_TIMED = ("latency", "training_seconds")  # measured in the search's own scoring


@dataclass(frozen=True)
class FinalTraining:
    """A `Run` that trains as the search does, and scores the net on test images.

    Args:
      training: the run of the search.
      nested: see `FinalBattery`.
    """

    training: Training
    nested: bool = True

    @property
    def final_battery(self) -> FinalBattery:
        """The battery that scores the net."""
        return FinalBattery(self.training.scale, len(self.training.data.classes), self.nested)

    @property
    def without_search_scores(self) -> Training:
        """The training without rungs, masking gap and examples, which only a search needs."""
        scale = replace(self.training.scale, gap_images=0)
        return replace(self.training, scale=scale, rungs=False, examples=False)

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Train as the search does, then attack the best epoch with the final battery."""
        count = count_ranks(self.training.ranks, self.training.scale.gpus)
        if count > 1 and self.team.count == 1:
            yield from run_on_ranks(self, count, params, seed, folder)
            return
        for report in self.without_search_scores(params, seed, folder):
            if report.result is None:
                yield report
                continue
            yield from self._share_scoring(
                FinalScoring(self, report, self.team), params, seed, folder
            )

    def _share_scoring(
        self, scoring: FinalScoring, params: Params, seed: int, folder: Path
    ) -> Iterator[EpochReport]:
        """Score the net, with the help of what is free on the cluster if that takes long."""
        helpers, trained = find_helpers(), scoring.report.result
        long = trained is not None and (trained.details.evaluate_seconds or 0.0) > WORTHWHILE
        if helpers and long and self.team.count == 1 and (free := helpers.count()):
            with suppress(NoRoomError):
                yield from run_on_ranks(scoring, 1 + free, params, seed, folder, helpers.start)
                return
        yield from scoring(params, seed, folder)

    @property
    def team(self) -> Ranks:
        """The ranks that this process is one of."""
        return self.training.team

    def on_ranks(self, team: Ranks) -> FinalTraining:
        """Return the run of one of several ranks."""
        return replace(self, training=self.training.on_ranks(team))

    def score(
        self,
        net: nn.Module,
        trained: TrialResult,
        name: str,
        params: Params,
        team: Ranks = ALONE,
    ) -> TrialResult:
        """Score a net on the test split; its validation scores are kept in the details.

        Args:
          net: on its device.
          trained: its result as in a search, on validation images.
          name: of the training's folder.
          params: its configuration.
          team: the ranks that score it together; the first has the result.
        """
        began = time.perf_counter()
        split = self.training.data.test.head(self.training.scale.test_images)
        strong = evaluate(net, split, self.final_battery.battery(is_random(net)), ranks=team)
        own = self.training.scale.battery()
        claimed = evaluate(net, split, own, ranks=team)
        if team.rank > 0:
            return trained
        known = trained.details
        details = ResultDetails(
            **score_fields(strong),
            best_epoch=known.best_epoch,
            parameters=known.parameters,
            validation=dict(trained.objectives) if known.validation is None else known.validation,
            claimed={
                name: figure
                for name, figure in {**trained.objectives, **cheap_figures(claimed, split)}.items()
                if name in trained.objectives
            },
            masking_gap=_masking_gap(
                claimed,
                strong,
                missed_share_limit(own, lambda: mean_confidence(net, split, own.seed)),
            ),
            battery=self.final_battery.id,
            weights=f"{FINALS}/{TRIALS}/{name}/{BEST}",
            weights_sha256=known.weights_sha256,
            remark=known.remark,
            evaluate_seconds=(known.evaluate_seconds or 0.0) + time.perf_counter() - began,
        )
        recipe = self.training.recipe(params)
        timed = {n: trained.objectives[n] for n in _TIMED if n in trained.objectives}
        return self.training.make_result(recipe, net, split, strong, details, timed)


@dataclass(frozen=True)
class FinalScoring:
    """The scoring of a final training: a run that several ranks can share.

    Args:
      final: the training.
      report: its last one, with the result of a search.
      team: the ranks that this process is one of.
    """

    final: FinalTraining
    report: EpochReport
    team: Ranks = ALONE

    def on_ranks(self, team: Ranks) -> FinalScoring:
        """Return the run of one of several ranks."""
        return replace(self, team=team)

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Attack the best epoch with the final battery, and yield the report with the result."""
        trained, training = self.report.result, self.final.training
        assert trained is not None
        sha256 = trained.details.weights_sha256
        weights = self.team.from_first(functools.partial(_read_best, folder, sha256))
        net = make_trained_net(training, params, seed, weights)
        first = self.team.rank == 0
        with report_attacks(folder, "attacking strongly") if first else nullcontext():
            result = self.final.score(net, trained, folder.name, params, self.team)
        if first:
            split = training.data.test.head(training.scale.test_images)
            own = training.scale.battery()
            save_examples(folder, net, split, "test", own, training.data.classes)
        yield replace(self.report, result=result)


def load_trained_net(training: Training, params: Params, seed: int, weights: Path) -> nn.Module:
    """Build the net of a configuration, load its stored weights, and move it to the best device.

    Raises:
      CheckpointError: there are no weights, or they belong to another net.
    """
    return make_trained_net(training, params, seed, read_checkpoint(weights)[0])


def make_trained_net(
    training: Training, params: Params, seed: int, weights: Mapping[str, torch.Tensor]
) -> nn.Module:
    """Build the net of a configuration with these weights, and move it to the best device.

    Raises:
      CheckpointError: the weights belong to another net.
    """
    torch.set_num_threads(max(1, int(training.scale.cpus) // training.team.count))
    data = training.data
    net = build(training.recipe(params), len(data.classes), seed, data.shape)
    load_weights(net, weights)
    return on_device(net)


def _read_best(folder: Path, sha256: str | None) -> Mapping[str, torch.Tensor]:
    """Return the weights of a training's best epoch."""
    return read_checkpoint(unchanged_file(folder, BEST, sha256))[0]


def _masking_gap(claimed: Score, strong: Score, missed: float) -> MaskingGap:
    """Return by how much the final battery lowers the mean attacked accuracy, paired by image.

    Args:
      claimed: under the battery of the search.
      strong: under the final battery.
      missed: the share of the images that can be fooled which the first may miss.
    """
    lost = claimed.ok[1:].double().mean(0) - strong.ok[1:].double().mean(0)
    half = 1.96 * float(lost.std()) / len(lost) ** 0.5 if len(lost) > 1 else 1.0
    gap = float(lost.mean())
    limit = gap_limit(strong.natural_accuracy, strong.mean, missed)
    return MaskingGap(
        gap=gap,
        interval=(gap - half, gap + half),
        flagged=gap - half > limit,
        claimed=claimed.mean,
        strong=strong.mean,
        images=len(lost),
        limit=limit,
    )
