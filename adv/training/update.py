"""One update of the weights: attack a batch, take the gradient of the loss, step the optimizer."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from adv.training.cuda_graphs import CapturedStep, GraphCache, shape_of
from adv.training.objective import Batch, Outcome
from adv.training.recipe import AUTOCAST_DTYPES
from adv.training.training_state import TrainingState


class BatchTotals(NamedTuple):
    """The sums over one batch that an epoch's metrics are made of.

    Args:
      sums: the loss and the correct predictions on clean and on attacked images [3].
      clean: number of clean images.
      attacked: number of attacked images.
    """

    sums: Tensor
    clean: int
    attacked: int

    def plus(self, other: BatchTotals) -> BatchTotals:
        """Return the sums over both batches."""
        return BatchTotals(
            self.sums + other.sums, self.clean + other.clean, self.attacked + other.attacked
        )


class Update:
    """Updates the net of a training, batch by batch.

    Args:
      training: whose net, optimizer and average are updated, in place.
      graphs: replays the gradient as a CUDA graph; None runs it uncaptured.
    """

    def __init__(self, training: TrainingState, graphs: GraphCache | None) -> None:
        self.training, self.graphs = training, graphs
        self.recipe = training.recipe

    def __call__(self, batch: Batch, statistics_batch: int | None) -> BatchTotals:
        """Update the weights, and then their average.

        Args:
          batch: images, labels and lesson.
          statistics_batch: which of the batches this is, from 0, that the average takes its
            BatchNorm statistics from; None if it takes none from this one.
        """
        net, average, objective = self.training.net, self.training.average, self.recipe.objective
        with self._autocast():
            adv = objective.attack(net, batch)
            phase = objective.phase(batch.elapsed)
            totals = (
                self._gradient(batch, adv)
                if self.graphs is None or phase is None
                else self._replay_gradient(self.graphs, phase, batch, adv)
            )
        self.training.optimizer.step()
        if average is not None:
            average.update(net)
            if statistics_batch is not None:
                with self._autocast():
                    average.update_bn(
                        lambda averaged: objective.forward(averaged, batch, adv), statistics_batch
                    )
        return totals

    def _autocast(self) -> torch.autocast:
        """The recipe's precision; a graph must not meet weights that were cast before it."""
        dtype = AUTOCAST_DTYPES[self.recipe.precision]
        return torch.autocast(
            self.training.device.type,
            dtype or torch.bfloat16,
            enabled=dtype is not None,
            cache_enabled=False,
        )

    def _gradient(self, batch: Batch, adv: Tensor) -> BatchTotals:
        """Leave the gradient of the loss in the weights, in place of the previous one."""
        self.training.optimizer.zero_grad(set_to_none=True)
        outcome = self.recipe.objective.backward(self.training.net, batch, adv)
        if self.recipe.clip is not None:
            nn.utils.clip_grad_norm_(self.training.net.parameters(), self.recipe.clip)
        return _total(outcome, batch)

    def _replay_gradient(
        self, graphs: GraphCache, phase: int, batch: Batch, adv: Tensor
    ) -> BatchTotals:
        """Leave the gradient of the loss in the weights by replaying a captured CUDA graph.

        The graph is captured at the first batch of its shapes; later batches are copied into it.

        The optimizer's step stays outside the graph: it is one kernel, and its state is replaced
        when a training is restored.
        """
        weight = torch.full((), self.recipe.objective.term_weight(batch.elapsed), device=adv.device)
        inputs = (batch.x, batch.y, adv, weight)
        weights = list(self.training.net.parameters())

        def capture() -> CapturedStep:
            x, y, fixed_adv, fixed_weight = places = tuple(value.clone() for value in inputs)
            fixed_batch = replace(batch, x=x, y=y, term_weight=fixed_weight)

            def work() -> tuple[BatchTotals, list[Tensor | None]]:
                totals = self._gradient(fixed_batch, fixed_adv)
                return totals, [weight.grad for weight in weights]

            return CapturedStep(places, work)

        step = graphs((phase, *map(shape_of, inputs)), capture)
        step.load(inputs)
        totals, gradients = step()
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = gradient
        return totals


def _total(outcome: Outcome, batch: Batch) -> BatchTotals:
    clean, attacked = outcome.correct(batch.y)
    sums = [outcome.loss.detach() * len(batch.x), clean.sum().float(), attacked.sum().float()]
    return BatchTotals(torch.stack(sums), len(clean), len(attacked))
