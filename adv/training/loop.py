"""Adversarial training as a generator: it yields after each epoch, and has no callbacks.

The caller evaluates, saves, or stops iterating. `Epoch.state()` is all that is needed to resume
from there, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from adv.data.datasets import Split
from adv.defences.input_noise import without_input_noise
from adv.runtime.foreign_nets import protect_images
from adv.runtime.precision import conv_precision
from adv.runtime.random_streams import derive_seed
from adv.runtime.ranks import ALONE, Ranks
from adv.training import catastrophic_overfitting
from adv.training.batches import load_batch, shuffle
from adv.training.cuda_graphs import GraphCache, replay_attack
from adv.training.data_parallel import check_splittable, split_batches
from adv.training.frozen_layers import set_training_mode
from adv.training.image_fetcher import place
from adv.training.lesson import Lesson
from adv.training.objective import Batch
from adv.training.recipe import Recipe
from adv.training.schedules import value_at
from adv.training.training_state import TrainingState
from adv.training.update import BatchTotals, Update
from adv.training.weight_averaging import WINDOW


@dataclass(frozen=True)
class Epoch:
    """The net after an epoch, counted from 1. The net is live: the next epoch changes it.

    With `recipe.ema` it is the average of the weights, in evaluation mode.

    `metrics` holds means over the epoch's training images: loss, clean_accuracy and
    attacked_accuracy (under the lesson's attack); the lesson's eps, steps and fraction; lr, the
    last learning rate; and the metrics of each defence. After one-step attacks also
    one_step_accuracy, pgd_accuracy and catastrophic_overfitting (0 or 1, see
    `adv.training.catastrophic_overfitting`); with `CAT` also lesson and worst_case_accuracy on the
    images that it holds out.
    """

    number: int
    total: int
    net: nn.Module
    seconds: float
    metrics: Mapping[str, float]
    _training: TrainingState = field(repr=False)

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that training resumes from; `torch.save` takes it.

        Raises:
          ValueError: the next epoch has begun, so this one's weights are gone.
        """
        if self._training.epoch != self.number:
            raise ValueError(f"epoch {self.number} is gone: take its state before the next begins")
        return self._training.state()


def train(  # noqa: PLR0913 - all but two have a default
    recipe: Recipe,
    data: Split,
    *,
    classes: int,
    seed: int,
    device: torch.device | str = "cpu",
    state: Mapping[str, Any] | None = None,
    replay: bool | None = None,
    ranks: Ranks = ALONE,
) -> Iterator[Epoch]:
    """Train a net adversarially.

    Args:
      recipe: how to train it.
      data: training images.
      classes: number of classes.
      seed: of the weights, the order of the images, the choice of generated images, the
        augmentation, the starts of attacks and the net's noise.
      device: where to train; the data is copied there once, or, if it takes more than half of its
        memory, a batch ahead.
      state: resume after the epoch whose `Epoch.state()` this is.
      replay: run attack steps and gradients as CUDA graphs (`adv.training.cuda_graphs`); None: only
        on CUDA. On a CPU the same code runs uncaptured and trains the same net.
      ranks: the processes that train the net together, each of which calls this with the same
        arguments (`adv.training.data_parallel`). They replay no CUDA graphs.

    Yields:
      An `Epoch` after each pass over the data.

    Raises:
      ValueError: there are no images; `state` is of another recipe or seed, or was begun with other
        generated images; the file of generated images or of initial weights cannot be used; or the
        net cannot be made or trained.
    """
    if not len(data):
        raise ValueError("there is no image to train on")
    training = TrainingState(
        *(recipe, place(data, torch.device(device)), classes, seed, torch.device(device)),
        resumes=state is not None,
    )
    graphs = None
    if ranks.count > 1:
        check_splittable(training.net)
    elif replay or (replay is None and training.device.type == "cuda"):
        graphs = GraphCache(training.net, training.stream, training.device)
    if state is not None:
        training.restore(state)
    while training.epoch < recipe.epochs and not training.curriculum.finished:
        began = time.perf_counter()
        training.epoch += 1
        with (
            without_input_noise(training.net, every=False),
            conv_precision("tf32"),
            protect_images(training.net),  # an objective may pass the same images twice
            protect_images(training.eval_net),
        ):
            metrics = _train_epoch(training, graphs, ranks)
        seconds = time.perf_counter() - began
        yield Epoch(training.epoch, recipe.epochs, training.eval_net, seconds, metrics, training)


def _train_epoch(
    training: TrainingState, graphs: GraphCache | None, ranks: Ranks
) -> dict[str, float]:
    """Train for one pass over the images; return the epoch's metrics."""
    recipe, curriculum, elapsed = training.recipe, training.curriculum, training.epoch - 1
    curriculum.begin_epoch(training)
    lesson = curriculum.lesson(elapsed / recipe.epochs)
    batches = shuffle(training)
    drive = None if graphs is None else functools.partial(replay_attack, graphs)
    update = Update(training, graphs)
    totals = BatchTotals(torch.zeros(3, device=training.device), 0, 0)
    set_training_mode(training.net)
    nets = dict.fromkeys((training.net, training.eval_net))  # one without an average
    with split_batches(ranks, *nets):
        for i, indices in enumerate(batches):
            t = (elapsed + i / len(batches)) / recipe.epochs
            lr = _set_learning_rate(training, t)
            x, y = load_batch(training, indices)
            if i + 1 < len(batches):
                training.images.announce(batches[i + 1])
            batch = Batch(
                *(x, y, lesson, t, recipe.smoothing, training.starts, drive),
                number=i,
                indices=indices,
                memory=training.memory,
            )
            from_window = i - max(0, len(batches) - WINDOW)
            totals = totals.plus(update(batch, from_window if from_window >= 0 else None))
    metrics = _metrics(training, lesson, totals, lr)
    return metrics | curriculum.end_epoch(training, metrics.get("attacked_accuracy", 0.0))


def _set_learning_rate(training: TrainingState, t: float) -> float:
    """Set learning rate and weight decay as scheduled at t, and return the learning rate.

    t is the share of the training that is over.
    """
    settings = training.recipe.optimizer
    lr = settings.lr * value_at(settings.decay, t)
    for group in training.optimizer.param_groups:
        group["lr"] = lr
    if not isinstance(settings.weight_decay, int | float):  # the first group is the one that decays
        training.optimizer.param_groups[0]["weight_decay"] = value_at(settings.weight_decay, t)
    return lr


def _metrics(
    training: TrainingState, lesson: Lesson, totals: BatchTotals, lr: float
) -> dict[str, float]:
    loss, clean, attacked = totals.sums.tolist()
    metrics = {
        "loss": loss / len(training.data),
        "eps": lesson.attack.ball.eps,
        "steps": float(lesson.attack.steps),
        "fraction": training.recipe.objective.attacked_share(lesson),
        "lr": lr,
    }
    if totals.clean:
        metrics["clean_accuracy"] = clean / totals.clean
    if totals.attacked:
        metrics["attacked_accuracy"] = attacked / totals.attacked
    for defence in training.recipe.defences:
        metrics |= defence.figures(training.eval_net)
    if totals.attacked:
        metrics |= _overfitting_metrics(training, lesson)
    return metrics


def _overfitting_metrics(training: TrainingState, lesson: Lesson) -> dict[str, float]:
    """Check the net that is attacked in training, not its average, which may lag behind."""
    attack = catastrophic_overfitting.one_step_attack(lesson)
    if attack is None:
        return {}
    images = catastrophic_overfitting.probe_images(training.data).to(training.device)
    seed = derive_seed(training.seed, 7)
    return catastrophic_overfitting.measure(training.net, images, attack, seed)
