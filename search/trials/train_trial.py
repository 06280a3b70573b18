"""The run behind every real search: train a point of a space, keep its best epoch, attack that.

A trial is scored by its best epoch by robust accuracy on validation images that the score itself
does not use, because adversarial training overfits late (Rice et al. 2020); the values of the last
epoch are recorded beside.
"""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import spaces
from adv import (
    Best,
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
from adv.files import write_atomic
from adv.runtime.devices import default_device, on_device
from adv.training.loop import eval_weights
from search.record.run_folder import TRIALS
from search.record.trial import EpochReport
from search.record.trial_result import Interval, MaskingGap, ResultDetails, TrialResult
from search.trials.latency import measure_latency
from search.trials.rung_evaluation import Stairs
from spaces import Params, Scale

STATE, BEST = "state.pt", "best.safetensors"


@dataclass(frozen=True)
class Training:
    """A `Run` that trains: the space's name, the scale, and the data, which travels once.

    With `rungs` a net is measured at those epochs after which it may be stopped.
    """

    space: str
    scale: Scale
    data: Data
    rungs: bool = False

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        """Train, watch each epoch, keep the best, attack it at the end."""
        torch.set_num_threads(max(1, int(self.scale.cpus)))  # the same sums wherever it runs
        recipe = self.recipe(params)
        memory = _recall(folder / STATE)
        yield from memory.told
        if memory.told and memory.told[-1].result:
            return
        card = self.card(params, seed)
        stairs = Stairs(recipe, self.scale, self.watched)
        rungs = stairs.epochs if self.rungs else ()
        net = None
        for seen in self._epochs(recipe, seed, memory):
            epoch = seen.epoch
            if seen.is_best:
                save_checkpoint(folder / BEST, epoch.net, {**card, "epoch": epoch.number})
            metrics = {
                **epoch.metrics,
                "watched_natural": seen.score.natural_accuracy,
                "watched_robust": seen.score.mean,
            }
            rung, seconds = None, seen.seconds
            if epoch.number in rungs:
                began = time.perf_counter()
                rung = stairs.measure(epoch)
                seconds += time.perf_counter() - began
            values = EpochReport(epoch.number, epoch.total, seconds, metrics, rung=rung)
            memory = _Memory((*memory.told, values), epoch.state(), seen.best)
            _remember(folder / STATE, memory)
            yield values
            net = epoch.net
        values = self._finish(recipe, memory, net, folder, seed)
        _remember(folder / STATE, replace(memory, told=(*memory.told, values)))
        yield values

    def recipe(self, params: Params) -> Recipe:
        """The recipe of a point at this scale."""
        return self.scale.apply(spaces.load(self.space).build(**params))

    def train_split(self) -> Split:
        """The training images that this scale uses."""
        return self.data.train.head(self.scale.train_images or len(self.data.train))

    @property
    def watched(self) -> Split:
        """The images on which epochs are watched and rungs measured, but no trial is scored."""
        return self.data.validation.tail(self.scale.watch_images)

    def card(self, params: Params, seed: int) -> dict[str, Any]:
        """What makes the net again."""
        return {
            "space": self.space,
            "params": dict(params),
            "recipe": repr(self.recipe(params)),
            "seed": seed,
            "scale": asdict(self.scale),
            "data": self.data.name,
            "classes": list(self.data.classes),
        }

    def _epochs(self, recipe: Recipe, seed: int, memory: _Memory) -> Iterator[Watched]:
        """The epochs that are still to come."""
        epochs = train(
            recipe,
            self.train_split(),
            classes=len(self.data.classes),
            seed=seed,
            device=default_device(),
            state=memory.training,
        )
        return watch(
            epochs, self.watched, self.scale.watch(), patience=recipe.patience, best=memory.best
        )

    def _finish(
        self,
        recipe: Recipe,
        memory: _Memory,
        net: torch.nn.Module | None,
        folder: Path,
        seed: int,
    ) -> EpochReport:
        began = time.perf_counter()
        if net is None:  # all epochs were trained before this session
            net = build(recipe, len(self.data.classes), seed)
            load_weights(net, eval_weights(memory.training) if memory.training else {})
        net = on_device(net)
        split = self.data.validation.head(self.scale.images)
        last_epoch = memory.told[-1].epoch
        last = evaluate(net, split, self.scale.battery())
        best = last
        if memory.best.epoch != last_epoch:
            load_weights(net, read_checkpoint(folder / BEST)[0])
            best = evaluate(net, split, self.scale.battery())
        details = ResultDetails(
            **score_fields(best),
            best_epoch=memory.best.epoch,
            last=objectives_of(last),
            parameters=sum(p.numel() for p in net.parameters()),
            latency=measure_latency(net, split.images[0], best.votes),
            weights=f"{TRIALS}/{folder.name}/{BEST}",
            masking_gap=self.gap_of(net, split, best) if self.scale.gap_images else None,
        )
        details = replace(details, evaluate_seconds=time.perf_counter() - began)
        result = TrialResult(objectives_of(best), intervals_of(best), details)
        return EpochReport(last_epoch, last_epoch, 0.0, {}, result)

    def gap_of(self, net: torch.nn.Module, split: Split, score: Score) -> MaskingGap:
        """How much of the score a stronger attack takes back; `net` is the one that was kept."""
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
        )


def objectives_of(score: Score) -> dict[str, float]:
    """Both objectives under the names of `spaces.OBJECTIVES`."""
    return {"natural_accuracy": score.natural_accuracy, "attacked_score": score.attacked_score}


def intervals_of(score: Score) -> dict[str, Interval]:
    """Return the 95 % intervals of both objectives, under the names of `spaces.OBJECTIVES`."""
    return {
        "natural_accuracy": score.natural_interval,
        "attacked_score": score.attacked_interval,
    }


def score_fields(score: Score) -> dict[str, Any]:
    """Return the fields of `ResultDetails` that a score determines."""
    return {
        "curve": [list(row) for row in score.curve],
        "mean": score.mean,
        "worst": score.worst,
        "aurc": score.area,
        "images": score.images,
        "votes": score.votes,
        "draws": score.draws,
        "random": score.votes > 1,
        "table": score.packed(),
    }


@dataclass(frozen=True)
class _Memory:
    """What a trial keeps on disk between epochs."""

    told: tuple[EpochReport, ...] = ()
    training: Mapping[str, Any] | None = None
    best: Best = field(default_factory=Best)


def _remember(path: Path, memory: _Memory) -> None:
    buffer = io.BytesIO()
    torch.save(
        {
            "told": [report.to_json() for report in memory.told],
            "training": memory.training,
            "best": asdict(memory.best),
        },
        buffer,
    )
    write_atomic(path, buffer.getvalue())


def _recall(path: Path) -> _Memory:
    """What is on disk; nothing where there is no state, or one that cannot be read."""
    try:
        plain = torch.load(path, map_location="cpu", weights_only=True)
        told = tuple(EpochReport.from_json(report) for report in plain["told"])
        return _Memory(told, plain["training"], Best(**plain["best"]))
    except FileNotFoundError:
        return _Memory()
    except Exception:  # a file damaged from outside: begin the trial anew
        return _Memory()
