"""The run behind every real search: train a configuration, keep its best epoch, score that.

A trial is scored by its best epoch by robust accuracy on validation images that the score does not
use, because adversarial training overfits late (Rice et al. 2020). The objectives of the last epoch
are recorded too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import spaces
from adv import (
    Data,
    Recipe,
    Score,
    Split,
    Watched,
    build,
    evaluate,
    masking_gap,
    train,
    watch,
)
from adv.checkpoints.checkpoint import load_weights, read_checkpoint, save_checkpoint
from adv.evaluation.class_balance import is_imbalanced
from adv.net_flags import already_said
from adv.runtime.devices import default_device, on_device
from adv.runtime.ranks import ALONE, Ranks
from adv.training.training_state import eval_weights
from adv.user_code import named_files, register_all, trust
from search.record.run_files import LostNetError, compute_sha256, unchanged_file
from search.record.run_folder import TRIALS
from search.record.trial import EpochReport
from search.record.trial_result import MaskingGap, ResultDetails, TrialResult
from search.trials.examples import save_examples
from search.trials.figures import Figures, static_figures
from search.trials.gpu_share import measure_usage
from search.trials.latency import measure_latency
from search.trials.phase import report_attacks
from search.trials.rank_count import count_ranks
from search.trials.ranks import run_on_ranks
from search.trials.rung_evaluation import RungEvaluator
from search.trials.score_fields import intervals_of, objectives_of, score_fields
from search.trials.trial_state import BEST, TrialState, begin_anew, load_state, save_state
from spaces import OBJECTIVES, Params, Scale


@dataclass(frozen=True)
class Training:
    """A `Run` that trains a configuration of a space and scores its best epoch.

    Args:
      space: name of the space.
      scale: how big a trial is.
      data: to train and to score on; it is sent to each worker once.
      rungs: whether nets are evaluated at the epochs after which a trial may be stopped.
      files: of code that the user has named, which a worker may run.
      objects: a space or a battery that was given in Python, by its reference.
      aims: the two objectives of the search.
      asked: other figures to measure, because the search has a bound on them.
      parts: fields of each recipe that stand in place of the space's, such as `net`.
      examples: whether a trial leaves examples of its predictions beside its weights.
      ranks: how many processes train a trial together; 0: one for each of its GPUs.
      team: the ranks that this process is one of.
    """

    space: str
    scale: Scale
    data: Data
    rungs: bool = False
    files: tuple[str, ...] = field(default_factory=named_files)
    objects: Mapping[str, Any] = field(default_factory=dict, compare=False)
    aims: tuple[str, str] = OBJECTIVES
    asked: tuple[str, ...] = ()
    parts: Mapping[str, Any] = field(default_factory=dict)
    examples: bool = True
    ranks: int = 0
    team: Ranks = ALONE

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Train and validate each epoch, save the best one, score it at the end.

        A trial that was interrupted resumes from its state in `folder`: the reports of its earlier
        epochs are yielded again. It begins anew if its state or its best net is damaged.
        """
        count = count_ranks(self.ranks, self.scale.gpus)
        if count > 1 and self.team.count == 1:
            yield from run_on_ranks(self, count, params, seed, folder)
            return
        # The same sums on each machine.
        torch.set_num_threads(max(1, int(self.scale.cpus) // self.team.count))
        state = self.team.from_first(lambda: load_state(folder))
        with already_said():
            try:
                yield from self._continue(params, seed, folder, state)
            except LostNetError:  # since it was written, or its epoch was not the best one again
                yield from self._continue(params, seed, folder, begin_anew("best net"))

    def on_ranks(self, team: Ranks) -> Training:
        """Return the run of one of several ranks."""
        return replace(self, team=team)

    def _continue(
        self, params: Params, seed: int, folder: Path, state: TrialState
    ) -> Iterator[EpochReport]:
        """Yield the reports of a state, and those of what is left to do."""
        recipe = self.recipe(params)
        yield from state.reports
        if state.reports and state.reports[-1].result:
            return
        metadata = self.metadata(params, seed)
        evaluator = self._rung_evaluator(recipe)
        net = None
        for validated in self._train(recipe, seed, state):
            epoch = validated.epoch
            sha256 = state.best_sha256
            if validated.is_best and self.team.rank == 0:
                card = {**metadata, "epoch": epoch.number}
                sha256 = save_checkpoint(folder / BEST, epoch.net, card)
            sha256 = self.team.share(sha256)
            report = self._report(validated, evaluator)
            reports = (*state.reports, report)
            state = TrialState(reports, epoch.state(), validated.best, sha256, state.remark)
            self._save(folder, state)
            yield report
            net = epoch.net
        first = self.team.rank == 0
        with report_attacks(folder) if first else nullcontext():
            report = self._score(recipe, state, net, folder, seed)
        self._save(folder, replace(state, reports=(*state.reports, report)))
        yield report

    def _save(self, folder: Path, state: TrialState) -> None:
        if self.team.rank == 0:  # all ranks have the same
            save_state(folder, state)

    def recipe(self, params: Params) -> Recipe:
        """Return the recipe of a configuration at this scale."""
        recipe = spaces.load_any(self.space).build(**params)
        return self.scale.apply(replace(recipe, **self.parts))

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the run in a worker, which may run the files that the driver's user named."""
        vars(self).update(state)
        trust(self.files)
        register_all(self.objects)

    def _rung_evaluator(self, recipe: Recipe) -> RungEvaluator:
        known = (
            {}
            if self.aims == OBJECTIVES
            else static_figures(recipe, len(self.data.classes), self.data.shape)
        )
        return RungEvaluator(recipe, self.scale, self.watch_split, self.aims, known, self.team)

    @property
    def train_split(self) -> Split:
        """The training images that this scale uses."""
        return self.data.train.head(self.scale.train_images or len(self.data.train))

    @property
    def watch_split(self) -> Split:
        """The images that validate epochs and rungs; no trial is scored on them."""
        return self.data.validation.tail(self.scale.watch_images)

    def metadata(self, params: Params, seed: int) -> dict[str, Any]:
        """Return the metadata of a checkpoint, from which its net can be built again."""
        return {
            "space": self.space,
            "params": dict(params),
            "recipe": repr(self.recipe(params)),
            "seed": seed,
            "scale": asdict(self.scale),
            "data": self.data.name,
            "classes": list(self.data.classes),
        }

    def _train(self, recipe: Recipe, seed: int, state: TrialState) -> Iterator[Watched]:
        """Yield the epochs that are still to be trained, each validated."""
        epochs = train(
            recipe,
            self.train_split,
            classes=len(self.data.classes),
            seed=seed,
            device=default_device(),
            state=state.training,
            ranks=self.team,
        )
        return watch(
            epochs,
            self.watch_split,
            self.scale.watch(),
            patience=recipe.patience,
            best=state.best,
            ranks=self.team,
        )

    def _report(self, validated: Watched, evaluator: RungEvaluator) -> EpochReport:
        """Return the report of an epoch, with a rung if one is due."""
        epoch, seconds = validated.epoch, validated.seconds
        metrics = {
            **epoch.metrics,
            "watched_natural": validated.score.natural_accuracy,
            "watched_robust": validated.score.mean,
            **measure_usage(),
        }
        rung = None
        if self.rungs and epoch.number in evaluator.epochs:
            began = time.perf_counter()
            rung = evaluator.measure(epoch)
            seconds += time.perf_counter() - began
        return EpochReport(epoch.number, epoch.total, seconds, metrics, rung=rung)

    def _score(
        self,
        recipe: Recipe,
        state: TrialState,
        net: torch.nn.Module | None,
        folder: Path,
        seed: int,
    ) -> EpochReport:
        """Score the best epoch; `net` is that of the last one, None if it is only in `state`.

        Raises:
          LostNetError: the net of the best epoch has changed since it was written.
        """
        began = time.perf_counter()
        kept = self.team.from_first(lambda: unchanged_file(folder, BEST, state.best_sha256))
        if net is None:
            net = build(recipe, len(self.data.classes), seed, self.data.shape)
            load_weights(net, eval_weights(state.training) if state.training else {})
        net = on_device(net)
        split = self.data.validation.head(self.scale.images)
        last_epoch = state.reports[-1].epoch
        last = evaluate(net, split, self.scale.battery(), ranks=self.team)
        best = last
        if state.best.epoch != last_epoch:
            load_weights(net, self.team.from_first(lambda: read_checkpoint(kept)[0]))
            best = evaluate(net, split, self.scale.battery(), ranks=self.team)
        if self.team.rank > 0:  # the first rank measures the rest, and shares it
            return self.team.share(state.reports[-1])
        details = ResultDetails(
            **score_fields(best),
            best_epoch=state.best.epoch,
            last=objectives_of(last),
            parameters=sum(p.numel() for p in net.parameters()),
            latency=measure_latency(net, split.images[0], best.votes),
            weights=f"{TRIALS}/{folder.name}/{BEST}",
            weights_sha256=state.best_sha256 or compute_sha256(kept),
            remark=state.remark or None,
            masking_gap=self.measure_gap(net, split, best) if self.scale.gap_images else None,
        )
        known = {
            "latency": details.latency or 0.0,
            "training_seconds": sum(report.seconds for report in state.reports),
        }
        result = self.make_result(recipe, net, split, best, details, known)
        if self.examples:
            save_examples(folder, net, split, "validation", self.scale.battery(), self.data.classes)
        details = replace(details, evaluate_seconds=time.perf_counter() - began)
        result = replace(result, details=details)
        return self.team.share(EpochReport(last_epoch, last_epoch, 0.0, {}, result))

    def make_result(
        self,
        recipe: Recipe,
        net: torch.nn.Module,
        split: Split,
        score: Score,
        details: ResultDetails,
        known: Mapping[str, float],
    ) -> TrialResult:
        """Return the result of a scored net, with the figures that the search has named.

        Args:
          recipe: of the net.
          net: that has the score.
          split: on which it was scored.
          score: under the battery of the scale, or the final one.
          details: of the result.
          known: figures that are known already.
        """
        objectives = objectives_of(score)
        names = [*(name for name in self.aims if name not in objectives), *self.asked]
        if is_imbalanced(self.data.train.labels):
            names.append("balanced_accuracy")
        if names:
            classes = len(self.data.classes)
            figures = Figures(recipe, self.scale, classes, net, split, score, known)
            objectives |= figures.measure(names)
        return TrialResult(objectives, intervals_of(score, names), details, self.aims)

    def measure_gap(self, net: torch.nn.Module, split: Split, score: Score) -> MaskingGap:
        """Attack a scored net with a stronger attack, and return how much lower its accuracy is.

        Args:
          net: that has the score.
          split: on which it was scored.
          score: under the battery of the scale.
        """
        some = split.head(self.scale.gap_images)
        gap = masking_gap(net, some, self.scale.battery(), score=score)
        return MaskingGap(
            gap=gap.gap,
            interval=gap.interval,
            flagged=gap.flagged,
            eps=gap.eps,
            claimed=gap.claimed,
            strong=gap.strong,
            images=gap.images,
            limit=gap.limit,
            wrong_gradients=gap.wrong_gradients,
        )
