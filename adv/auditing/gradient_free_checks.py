"""Checks with attacks that use no gradient: they must not beat those that do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Ball, Square
from adv.attacks.attack import default_generator
from adv.attacks.losses import is_correct
from adv.auditing.context import AuditContext
from adv.auditing.finding import Finding, paired_difference, share_with_interval
from adv.runtime.frozen import frozen

POINTS = 20
QUERIES = 200


def check_gradient_free(context: AuditContext) -> Iterator[Finding]:
    """Attack without gradients the images that withstand the attacks with gradients."""
    white_box = (context.pgd, replace(context.pgd, loss="margin"))
    standing = context.evaluate_under(white_box, context.standing)
    again = context.evaluate_under(white_box, standing, again=1) if context.random else standing
    retry = f", a second try with the gradient {int((standing & ~again).sum())}"
    square = Square(context.ball, queries=QUERIES // (2 if context.random else 1))
    noise = RandomNoise(context.ball, POINTS)
    for name, attack, what in (
        ("random noise is weaker", noise, f"The worst of {POINTS} random points of the ball"),
        ("black box is weaker", square, f"{square.queries} queries of Square"),
    ):
        after = context.evaluate_under(attack, standing)
        lost = (
            paired_difference(again, after)
            if context.random
            else share_with_interval(standing & ~after)
        )
        found, interval = lost
        yield Finding(
            name,
            found,
            0.01,
            interval,
            "points",
            "for each image an attack with gradients finds at least what an attack without them "
            "finds; one point allows for chance",
            f"{what} fooled {int((standing & ~after).sum())} of the {int(standing.sum())} images "
            f"that withstood the gradient{retry if context.random else ''}.",
            "Guessing beats the gradient, so the gradient must be masked: the score says how well "
            "the net hides it, not how robust the net is.",
        )


@dataclass(frozen=True)
class RandomNoise(Attack):
    """Random search: for each image the first of `points` random points of the ball that fools."""

    ball: Ball
    points: int = POINTS

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        worst = x.detach().float().clone()
        standing = torch.arange(len(x), device=x.device)
        generator = generator or default_generator()
        with frozen(model), torch.no_grad():
            for _ in range(self.points):
                if not len(standing):
                    break
                worst[standing] = self.ball.sample(x[standing].float(), generator)
                standing = standing[is_correct(model(worst[standing]), y[standing])]
        return worst
