"""`audit`: check whether the score of an evaluation can be trusted.

A score says how often certain attacks failed. Whether the net is robust or the attacks were weak
shows only when the net is evaluated in other ways (Carlini et al. 2019, "On evaluating adversarial
robustness"; Athalye et al. 2018, "Obfuscated gradients"). All checks use the same `evaluate` that
made the score, and know nothing about how the net was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from adv.attacks.gradient import loss_and_grad
from adv.auditing.accuracy_checks import check_accuracy
from adv.auditing.attack_checks import check_attacks
from adv.auditing.consistency_checks import check_consistency
from adv.auditing.context import AuditContext, audit_context
from adv.auditing.finding import Finding
from adv.auditing.fixed_noise_checks import check_fixed_noise
from adv.auditing.gradient_checks import check_gradient
from adv.auditing.gradient_masking import check_masking_gap
from adv.auditing.memory_checks import check_memory
from adv.auditing.randomness_checks import check_randomness
from adv.auditing.side_effect_checks import Snapshot, check_side_effects, restore_afterwards
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.score import Score
from adv.runtime.frozen import frozen


def audit(
    model: nn.Module,
    split: Split,
    battery: Battery | None = None,
    *,
    eps: float = 8 / 255,
    score: Score | None = None,
    batch: int | None = None,
) -> tuple[Finding, ...]:
    """Check an evaluation: is the net as robust as its score says, or were the attacks weak?

    The checks ask whether the net gives the same outputs in all circumstances, whether attacks that
    must be stronger do more harm, and whether a random net has enough draws and votes. A check
    passes unless the interval of its figure lies above its limit as a whole. The net and all global
    generators are restored afterwards, whatever the net does.

    Args:
      model: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images; 256 suffice to detect differences of a few points, and take about a minute
        for a small net on a CPU.
      battery: the evaluation to check: its attacks, its draws and votes. None: PGD-20 at `eps`,
        with `Battery`'s default draws and votes.
      eps: the battery's radius closest to this one is audited.
      score: the result of `evaluate` for this net, these images and this battery, if it is known.
      batch: images at a time, as for `evaluate`.

    Returns:
      A finding for each check, in the order in which they explain each other; `verdict` sums them
      up in words.

    Raises:
      ValueError: there is no image, or the battery attacks at radius 0 only.
    """
    context = audit_context(model, split, battery, eps, batch, score)
    with restore_afterwards(model) as before:
        return tuple(_run_checks(_with_gradient(context), model, before))


def _run_checks(context: AuditContext, model: nn.Module, before: Snapshot) -> Iterator[Finding]:
    """Yield the findings of all checks."""
    yield from check_consistency(context)
    yield check_memory(context)
    _ = context.claim  # evaluate before looking for side effects
    yield check_side_effects(model, before)
    yield check_accuracy(context)
    yield from check_randomness(context)
    yield from check_fixed_noise(context)
    yield from check_gradient(context)
    yield from check_attacks(context)
    yield from check_masking_gap(context)


def _with_gradient(context: AuditContext) -> AuditContext:
    """Return the context; if its net has no gradient with respect to the images, make it zero.

    An attack raises an error if the images are not part of the graph. With a zero gradient it
    leaves the images unchanged instead, so that the checks can report what that means.
    """
    x, y = context.pixels(torch.arange(1))
    with frozen(context.model):
        try:
            loss_and_grad(context.model, x, y)
        except (ValueError, RuntimeError):
            return replace(context, model=_ZeroGradient(context.model))
    return context


class _ZeroGradient(nn.Module):
    """A net whose outputs depend on its images with a gradient of zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out + 0 * x.flatten(1).sum(1, keepdim=True)
