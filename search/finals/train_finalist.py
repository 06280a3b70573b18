"""The run behind a final: train with a fresh seed, then attack strongly on the test split."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from adv import Score, build, evaluate, is_random
from adv.checkpoints.checkpoint import load_weights, read_checkpoint
from adv.intervals import MASKING_GAP_LIMIT
from adv.runtime.devices import on_device
from search.finals.strong_battery import Strong
from search.record.run_folder import FINALS, TRIALS
from search.record.trial import EpochReport
from search.record.trial_result import MaskingGap, ResultDetails, TrialResult
from search.trials.train_trial import BEST, Training, intervals_of, objectives_of, score_fields
from spaces import Params


@dataclass(frozen=True)
class Final:
    """A `Run`: what `training` makes of a seed, judged by the strong battery on test images."""

    training: Training

    @property
    def strong(self) -> Strong:
        """How it is judged."""
        return Strong(self.training.scale, len(self.training.data.classes))

    @property
    def plain(self) -> Training:
        """The training without what only a search needs: rungs, and its own masking gap."""
        scale = replace(self.training.scale, gap_images=0)
        return replace(self.training, scale=scale, rungs=False)

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Train as the search does, then attack the epoch that was kept."""
        for values in self.plain(params, seed, folder):
            if values.result is None:
                yield values
                continue
            net = stored(self.training, params, seed, folder / BEST)
            yield replace(values, result=self.judged(net, values.result, folder.name))

    def judged(self, net: nn.Module, trained: TrialResult, name: str) -> TrialResult:
        """The result on the test split; what the validation images said stands in its details."""
        began = time.perf_counter()
        split = self.training.data.test.head(self.training.scale.test_images)
        strong = evaluate(net, split, self.strong.battery(is_random(net)))
        claimed = evaluate(net, split, self.training.scale.battery())
        known = trained.details
        details = ResultDetails(
            **score_fields(strong),
            best_epoch=known.best_epoch,
            parameters=known.parameters,
            validation=dict(trained.objectives) if known.validation is None else known.validation,
            claimed=objectives_of(claimed),
            masking_gap=_gap(claimed, strong),
            battery=self.strong.id,
            weights=f"{FINALS}/{TRIALS}/{name}/{BEST}",
            evaluate_seconds=(known.evaluate_seconds or 0.0) + time.perf_counter() - began,
        )
        return TrialResult(objectives_of(strong), intervals_of(strong), details)


def stored(training: Training, params: Params, seed: int, weights: Path) -> nn.Module:
    """The net whose weights lie at that path, on the best device.

    Raises:
      CheckpointError: there are none, or they are another net's.
    """
    torch.set_num_threads(max(1, int(training.scale.cpus)))
    net = build(training.recipe(params), len(training.data.classes), seed)
    load_weights(net, read_checkpoint(weights)[0])
    return on_device(net)


def _gap(claimed: Score, strong: Score) -> MaskingGap:
    """What the strong battery takes from the mean attacked accuracy, in pairs of images."""
    lost = claimed.ok[1:].double().mean(0) - strong.ok[1:].double().mean(0)
    half = 1.96 * float(lost.std()) / len(lost) ** 0.5 if len(lost) > 1 else 1.0
    gap = float(lost.mean())
    return MaskingGap(
        gap=gap,
        interval=(gap - half, gap + half),
        flagged=gap - half > MASKING_GAP_LIMIT,
        claimed=claimed.mean,
        strong=strong.mean,
        images=len(lost),
    )
