"""Adversarial training as a generator: it yields after each epoch, and nobody calls back.

The caller scores, saves, or stops asking. `Epoch.state()` is all that is needed to go on from
there, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from adv.augment import augmented, mixed
from adv.data.datasets import Split
from adv.defences.input_noise import without_input_noise
from adv.models.net import FittedModule
from adv.runtime.precision import conv_precision
from adv.runtime.random_streams import RngStream, attach, derive_seed
from adv.training import catastrophic_overfitting
from adv.training.cuda_graphs import CapturedStep, GraphCache, replay_attack, shape_of
from adv.training.lesson import Lesson
from adv.training.objectives import Batch, Outcome
from adv.training.recipe import Recipe, build
from adv.training.schedules import at
from adv.training.weight_averaging import WINDOW, Average


@dataclass(frozen=True)
class Epoch:
    """The net after an epoch, counted from 1. The net is live: the next epoch changes it.

    With `recipe.ema` it is the average, in evaluation mode.

    `metrics` are means over the epoch: loss, clean_accuracy and attacked_accuracy on the training
    images as they came by (attacked ones under the lesson's attack), beside the lesson's eps,
    steps and fraction, the last learning rate, and the figures of each defence. After one-step
    attacks also one_step_accuracy, pgd_accuracy and catastrophic_overfitting (0 or 1, see
    `adv.training.catastrophic_overfitting`), of `CAT` also lesson and worst_case_accuracy on what it holds out.
    """

    number: int
    total: int
    net: nn.Module
    seconds: float
    metrics: Mapping[str, float]
    _training: _Training = field(repr=False)

    def state(self) -> dict[str, Any]:
        """A copy of everything that training goes on from; `torch.save` takes it.

        Raises:
          ValueError: the next epoch has begun, so this one's weights are gone.
        """
        if self._training.begun != self.number:
            raise ValueError(f"epoch {self.number} is gone: take its state before the next begins")
        return self._training.state(self.number)


def train(
    recipe: Recipe,
    data: Split,
    *,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
    state: Mapping[str, Any] | None = None,
    replay: bool | None = None,
) -> Iterator[Epoch]:
    """Train a net adversarially.

    Args:
      recipe: how.
      data: training images.
      classes: how many there are.
      seed: of the weights, the order, the choice of generated images, the augmentation, the
        attack's starts and the net's noise.
      device: where to train; the data is brought there once.
      state: go on after the epoch that `Epoch.state()` was taken at.
      replay: run attack steps and gradients as CUDA graphs (`adv.training.cuda_graphs`); None: on CUDA. On a CPU
        the same code runs uncaptured and gives the same net.

    Yields:
      An `Epoch` after each pass over the data.

    Raises:
      ValueError: no images, `state` is of another recipe or seed, or began with other generated
        images; a file of these that cannot be used.
    """
    if not len(data):
        raise ValueError("there is no image to train on")
    training = _Training(recipe, data.to(device), classes, seed, torch.device(device))
    if replay or (replay is None and training.device.type == "cuda"):
        training.replays = GraphCache(training.net, training.stream, training.device)
    done = training.restore(state) if state is not None else 0
    while done < recipe.epochs and not training.course.over:
        began = time.perf_counter()
        with without_input_noise(training.net, every=False), conv_precision("tf32"):
            metrics = training.epoch(done)
        seconds = time.perf_counter() - began
        done += 1
        yield Epoch(done, recipe.epochs, training.shown, seconds, metrics, training)


def eval_weights(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Of what `Epoch.state()` gave: the `state_dict` of the epoch's net."""
    weights: Mapping[str, Tensor] = (state["average"] or state)["net"]
    return weights


class _Training:
    """What changes while a net trains."""

    def __init__(
        self, recipe: Recipe, data: Split, classes: int, seed: int, device: torch.device
    ) -> None:
        self.recipe, self.classes, self.seed = recipe, classes, seed
        self.course = recipe.curriculum.course(data)
        self.data = data = self.course.split
        source = recipe.generated
        self.pool = None if source is None else source.pool(data, classes)
        self.begun = 0
        self.device = data.images.device
        self.replays: GraphCache | None = None
        self.net = build(recipe, classes, seed)
        for module in self.net.modules():
            if isinstance(module, FittedModule):
                module.fit(data.images)
        self.net = self.net.to(device).to(memory_format=torch.channels_last)
        self.optimizer = recipe.optimizer(self.net)
        self.stream = RngStream(derive_seed(seed, 1))
        attach(self.net, self.stream)
        self.order, self.draws, self.starts, self.choice = self.generators = [
            torch.Generator().manual_seed(derive_seed(seed, n)) for n in (2, 3, 4, 5)
        ]
        self.average = Average(self.net, recipe.ema, derive_seed(seed, 6)) if recipe.ema else None

    @property
    def shown(self) -> nn.Module:
        return self.net if self.average is None else self.average.net

    def epoch(self, epoch: int) -> dict[str, float]:
        self.begun = epoch + 1
        self.course.begin(self)
        lesson = self.course.lesson(epoch / self.recipe.epochs)
        order = torch.randperm(len(self.data), generator=self.order)
        batches = order.to(self.device).split(self.recipe.batch)
        drive = None if self.replays is None else functools.partial(replay_attack, self.replays)
        totals, counts = torch.zeros(3, device=self.device), [0, 0]
        self.net.train()
        for i, ids in enumerate(batches):
            t = (epoch + i / len(batches)) / self.recipe.epochs
            rate = self.recipe.optimizer.lr * at(self.recipe.optimizer.decay, t)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            x, y = self._images(ids)
            batch = Batch(x, y, lesson, t, self.recipe.smoothing, self.starts, drive)
            sums, met = self._step(batch, i - max(0, len(batches) - WINDOW))
            totals += sums
            counts = [a + b for a, b in zip(counts, met, strict=True)]
        (loss, clean, robust), (clean_n, attacked_n) = totals.tolist(), counts
        metrics = {
            "loss": loss / len(self.data),
            "eps": lesson.attack.ball.eps,
            "steps": float(lesson.attack.steps),
            "fraction": self.recipe.objective.share(lesson),
            "lr": rate,
        }
        if clean_n:
            metrics["clean_accuracy"] = clean / clean_n
        if attacked_n:
            metrics["attacked_accuracy"] = robust / attacked_n
        for defence in self.recipe.defences:
            metrics |= defence.figures(self.shown)
        if attacked_n:
            metrics |= self._overfitting(lesson)
        return metrics | self.course.end(self, metrics.get("attacked_accuracy", 0.0))

    def _overfitting(self, lesson: Lesson) -> dict[str, float]:
        """Of the net that is attacked in training: its average may lag behind."""
        attack = catastrophic_overfitting.one_step(lesson)
        if attack is None:
            return {}
        images = catastrophic_overfitting.looked_at(self.data)
        return catastrophic_overfitting.figures(self.net, images, attack, derive_seed(self.seed, 7))

    def _step(self, batch: Batch, place: int) -> Counted:
        """One update, the n-th of those whose batch an average looks at."""
        objective = self.recipe.objective
        with self._lowered():
            adv = objective.attacked(self.net, batch)
            learn = self._gradient if self.replays is None else self._replayed
            counted = learn(batch, adv)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.net)
            if place >= 0:
                with self._lowered():
                    self.average.look(lambda net: objective.outcome(net, batch, adv), place)
        return counted

    def _lowered(self) -> torch.autocast:
        """The recipe's precision; a graph must not meet weights that were cast before it."""
        low = self.recipe.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=low, cache_enabled=False)

    def _gradient(self, batch: Batch, adv: Tensor) -> Counted:
        """Leave the gradient of the loss in the weights, in place of the last one."""
        self.optimizer.zero_grad(set_to_none=True)
        outcome = self.recipe.objective.learn(self.net, batch, adv)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
        return _counted(outcome, batch)

    def _replayed(self, batch: Batch, adv: Tensor) -> Counted:
        """The same, from places that a graph knows; the optimizer finds the gradients there.

        Its update stays outside: it is one kernel, and its state is replaced when it is restored.
        """
        assert self.replays is not None
        values = (batch.x, batch.y, adv)
        weights = list(self.net.parameters())

        def make() -> CapturedStep:
            x, y, bad = places = tuple(value.clone() for value in values)
            still = replace(batch, x=x, y=y)

            def work() -> tuple[Counted, list[Tensor | None]]:
                return self._gradient(still, bad), [weight.grad for weight in weights]

            return CapturedStep(places, work)

        phase = self.recipe.objective.phase(batch.elapsed)
        learn = self.replays((phase, *map(shape_of, values)), make)
        learn.load(values)
        counted, gradients = learn()
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return counted

    def _images(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Images in [0, 1], generated ones among them, varied; labels, mixed where they are."""
        if self.pool is None:
            images, y = self.data.images[ids], self.data.labels[ids]
        else:
            images, y = self.pool.draw_batch(self.data, ids, self.choice)
        x = augmented(self.recipe.augment, images.float() / 255, self.draws)
        if self.recipe.augment.cutmix:
            x, y = mixed(self.recipe.augment, x, y, self.classes, self.draws)
        return x.contiguous(memory_format=torch.channels_last), y

    def weights(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": None if self.average is None else self.average.state(),
            }
        )

    def take(self, weights: Mapping[str, Any]) -> None:
        self.net.load_state_dict(weights["net"])
        # Copied: the optimiser would go on in the very tensors it is given.
        self.optimizer.load_state_dict(copy.deepcopy(weights["optimizer"]))
        if self.average is not None:
            self.average.restore(weights["average"])

    def state(self, done: int) -> dict[str, Any]:
        return {
            "recipe": repr(self.recipe),
            "seed": self.seed,
            "epoch": done,
            **self.weights(),
            "stream": self.stream.state(),
            "generators": [generator.get_state() for generator in self.generators],
            "generated": self.pool and self.pool.fingerprint,
            "course": copy.deepcopy(self.course.state()),
        }

    def restore(self, state: Mapping[str, Any]) -> int:
        if (state["recipe"], state["seed"]) != (repr(self.recipe), self.seed):
            raise ValueError("this state belongs to another recipe or seed")
        if self.pool is not None:
            self.pool.check(state["generated"])
        self.take(state)
        self.stream.restore(state["stream"])
        for generator, saved in zip(self.generators, state["generators"], strict=True):
            generator.set_state(saved)
        self.course.restore(copy.deepcopy(state["course"]))
        return int(state["epoch"])


Counted = tuple[Tensor, tuple[int, int]]
"""The summed loss and the hits on clean and on attacked images [3], and how many these are."""


def _counted(outcome: Outcome, batch: Batch) -> Counted:
    hits = outcome.hits(batch.y)
    sums = [outcome.loss.detach() * len(batch.x), *(hit.sum().float() for hit in hits)]
    return torch.stack(sums), (len(hits[0]), len(hits[1]))
