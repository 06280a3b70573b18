"""`audit`: an evaluation that doubts itself.

A score says how often one attack failed. Whether the net is robust or the attack was weak shows
only when one asks again in other ways (Carlini et al. 2019, "On evaluating adversarial robustness";
Athalye et al. 2018, "Obfuscated gradients"). All checks here use the same `evaluate` that made the
score, and know nothing of how the net was made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from adv.attacks.attack import loss_and_grad
from adv.auditing.attack_checks import strength
from adv.auditing.consistency_checks import answers
from adv.auditing.context import AuditContext, audit_context
from adv.auditing.finding import Finding
from adv.auditing.gradient_masking import masking
from adv.auditing.randomness_checks import chance
from adv.auditing.side_effect_checks import Traces, left, untouched
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
    """Doubt an evaluation: is the net as robust as it says, or was the attack weak?

    Checks the net (does it answer the same whoever asks), the attacks (does what must be stronger
    do more harm), and of a random net the number of draws and votes. A check passes unless the
    interval of its figure lies above its limit as a whole. The net and all global generators come
    out as they went in, whatever the net does.

    Args:
      model: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images; 256 tell apart what differs by a few points, and take about a minute for a
        small net on a CPU.
      battery: the evaluation that is doubted: its attacks, its draws and votes. None: PGD-20 at
        `eps`, with `Battery`'s own draws and votes.
      eps: of the battery's radii the nearest to this one is audited.
      score: what `evaluate` said of this net, these images and this battery, if it is known.
      batch: images at a time, as for `evaluate`.

    Returns:
      A finding for each check, what explains most first; `verdict` puts them in words.

    Raises:
      ValueError: there is no image, or the battery attacks at radius 0 only.
    """
    asked = audit_context(model, split, battery, eps, batch, score)
    with untouched(model) as before:
        return tuple(_findings(_linked(asked), model, before))


def _findings(context: AuditContext, model: nn.Module, before: Traces) -> Iterator[Finding]:
    yield from answers(context)
    _ = context.claim
    yield left(model, before)
    yield from chance(context)
    yield from strength(context)
    yield masking(context)


def _linked(context: AuditContext) -> AuditContext:
    """The case with a net through which a gradient of zero comes, where none came at all.

    An attack raises where the images are not part of the graph. Here it is to stand still, so that
    the checks can say what that means.
    """
    x, y = context.pixels(torch.arange(1))
    with frozen(context.model):
        try:
            loss_and_grad(context.model, x, y)
        except (ValueError, RuntimeError):
            return replace(context, model=_Linked(context.model))
    return context


class _Linked(nn.Module):
    """A net whose outputs hang on its images by a thread that carries nothing."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x)
        return out + 0 * x.flatten(1).sum(1, keepdim=True)
