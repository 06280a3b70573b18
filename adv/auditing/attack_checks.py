"""Checks of an attack's strength: what must do more harm, does it (Carlini et al. 2019)?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from adv.attacks import FGSM, L2, PGD, Attack, Ball, Square, Worst
from adv.attacks.attack import loss_and_grad
from adv.attacks.losses import is_correct
from adv.auditing.context import AuditContext, JointAttack
from adv.auditing.finding import Finding, difference, share
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed

POINTS = 20
QUERIES = 200


def strength(context: AuditContext) -> Iterator[Finding]:
    """All checks that attack, weakest attack first."""
    yield zero_gradients(context)
    yield from _single_step(context)
    yield from _more_steps(context)
    yield _more_restarts(context)
    yield _monotone(context)
    yield _large_radius(context)
    yield _losses(context)
    yield from _blind(context)


def zero_gradients(context: AuditContext) -> Finding:
    """The share of images at which cross-entropy has no slope at all, at the attack's start."""
    generator = torch.Generator().manual_seed(context.battery.seed)
    flat = torch.zeros(context.n, dtype=torch.bool)
    target = context.target(max(context.battery.draws, 1))
    with frozen(context.model), use_seed(context.model, context.battery.seed):
        for ids in context.batches(context.natural):
            x, y = context.pixels(ids)
            gradient = loss_and_grad(target, context.ball.sample(x, generator), y).gradient
            flat[ids] = (gradient.nan_to_num(0.0).flatten(1) == 0).all(1).cpu()
    found, interval = share(flat[context.natural]) if context.natural.any() else (0.0, (0.0, 0.0))
    return Finding(
        "zero gradients", found, 0.05, interval, "%",
        "an honest net has hardly any, a broken one half of them or all",
        f"At {100 * found:.1f} % of the images the slope of the loss is exactly zero.",
        "Something in the net kills the gradient: logits so large that the softmax is exactly 1, "
        "a rounding or a step, dead units. The attack does not know where to go and stands still.",
    )  # fmt: skip


def _single_step(context: AuditContext) -> Iterator[Finding]:
    """A single step must neither do more harm than many, nor nearly none where they do much."""
    once = context.right(FGSM(context.ball))
    seen = f"PGD-{context.steps} leaves {_pc(context.plain)} standing, a single step {_pc(once)}."
    found, interval = difference(context.plain, once)
    yield Finding(
        "iterative against single step", found, 0.01, interval, "points",
        "many small steps can do what one large one does; a point for images on the edge",
        seen,
        "One step does more harm than many: the slope leads the small steps astray, so the "
        "gradient is masked.",
    )  # fmt: skip
    found, interval = difference(once, context.plain)
    yield Finding(
        "single step flatters", found, 0.35, interval, "points",
        "honest nets, undefended ones too, lose up to 30 points between one step and many; those "
        "that overfitted to single steps lose nearly all",
        seen,
        "The net has learned to beat the single step alone, not the ball around the image "
        "(catastrophic overfitting): a score by FGSM says nothing about it.",
    )  # fmt: skip


def _more_steps(context: AuditContext) -> Iterator[Finding]:
    """The doubted attacks, with twice their steps."""
    longer = tuple(_twice(attack) for _, attack in context.battery.attacks)
    known = [n for _, attack in context.battery.attacks if (n := _steps(attack))]
    if not known:
        return
    more = context.right(longer, None if context.random else context.standing)
    found, interval = difference(context.standing, more)
    yield Finding(
        "more steps", found, 0.01, interval, "points",
        "an attack has converged if twice its steps change less than a point",
        f"With {max(known)} steps {_pc(context.standing)} stand, with twice as many {_pc(more)}.",
        "The attack stops before it has arrived: give it more steps, or longer ones.",
    )  # fmt: skip


def _more_restarts(context: AuditContext) -> Finding:
    attacks = tuple(attack for _, attack in context.battery.attacks)
    if context.random:
        more = context.right(attacks * 3)
        again = 3
    else:
        more, again = context.standing, 5
        for n in range(1, again):
            more = context.right(attacks, more, again=n)
    found, interval = difference(context.standing, more)
    return Finding(
        "more restarts", found, 0.03, interval, "points",
        "good starts are no matter of luck: on honest nets five of them cost up to a point or two",
        f"From one start {_pc(context.standing)} stand, from {again} starts {_pc(more)}.",
        "Which image falls is a matter of luck: the loss is so rugged, or the net so random, that "
        "one start does not find what the next one does.",
    )  # fmt: skip


def _monotone(context: AuditContext) -> Finding:
    rows = [context.right(_sized(context, part)) for part in (0.5, 2.0)]
    rows = [context.natural, rows[0], context.plain, rows[1]]
    rises = [difference(more, less) for less, more in itertools.pairwise(rows)]
    found, interval = max(rises, key=lambda rise: rise[0])
    told = ", ".join(f"{100 * float(row.double().mean()):.1f}" for row in rows)
    return Finding(
        "monotone in eps", found, 0.01, interval, "points",
        "a larger ball holds the smaller one; a point for images on the edge",
        f"At 0, a half, one and two eps {told} % stand.",
        "A larger ball does less harm than a smaller one that lies in it: the attack gets lost.",
    )  # fmt: skip


def _large_radius(context: AuditContext) -> Finding:
    x, _ = context.pixels(torch.arange(1))
    eps = 0.5 * x[0].numel() ** 0.5 if isinstance(context.ball, L2) else 0.5
    stands = context.right(replace(context.white, ball=replace(context.ball, eps=eps)))
    found, interval = share(stands)
    counts = context.split.labels.bincount()
    chance = float(counts.max()) / context.n
    return Finding(
        "a large radius reaches chance", found, chance, interval, "%",
        "at eps 0.5 every image can be made plain grey, so nobody can do better than to guess",
        f"At eps {eps:.3g} {100 * found:.1f} % stand, guessing gives {100 * chance:.1f} %.",
        "Images that no longer show anything are still told apart: the attack does not get there, "
        "so the gradient is masked.",
    )  # fmt: skip


def _losses(context: AuditContext) -> Finding:
    few = context.classes < 3
    other = context.right(replace(context.white, loss="margin" if few else "dlr"))
    found, interval = difference(context.plain, other)
    what = "the margin" if few else "DLR, a ratio of differences,"
    return Finding(
        "cross-entropy against DLR", found, 0.03, interval, "points",
        "on honest nets PGD by cross-entropy overstates by up to three points",
        f"By cross-entropy {_pc(context.plain)} stand, by {what} of the logits {_pc(other)}.",
        "The scale of the logits hides the slope of the cross-entropy: a loss that no scale "
        "changes finds what it misses.",
    )  # fmt: skip


def _blind(context: AuditContext) -> Iterator[Finding]:
    """Attacks that use no gradient, on images that stand against those that do."""
    white = (context.white, replace(context.white, loss="margin"))
    stands = context.right(white, context.standing)
    again = context.right(white, stands, again=1) if context.random else stands
    noise = RandomNoise(context.ball, POINTS)
    square = Square(context.ball, queries=QUERIES // (2 if context.random else 1))
    tried = f", a second try with the gradient {int((stands & ~again).sum())}"
    second = tried if context.random else ""
    for name, attack, what in (
        ("random noise is weaker", noise, f"the worst of {POINTS} random points of the ball"),
        ("black box is weaker", square, f"{square.queries} queries of Square"),
    ):
        after = context.right(attack, stands)
        found, interval = difference(again, after) if context.random else share(stands & ~after)
        yield Finding(
            name, found, 0.01, interval, "points",
            "per image, whoever sees the gradient finds at least what a blind attack finds; a "
            "point for luck",
            f"{what[0].upper()}{what[1:]} fooled {int((stands & ~after).sum())} of the "
            f"{int(stands.sum())} images that stood against the gradient{second}.",
            "Guessing beats the gradient: it must be masked, so the score says how well the net "
            "hides, not how robust it is.",
        )  # fmt: skip


@dataclass(frozen=True)
class RandomNoise(Attack):
    """Random points of the ball: for each image the first of `points` that fools the model."""

    ball: Ball
    points: int = POINTS

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        worst = x.detach().float().clone()
        standing = torch.arange(len(x), device=x.device)
        generator = generator or torch.Generator().manual_seed(0)
        with frozen(model), torch.no_grad():
            for _ in range(self.points):
                if not len(standing):
                    break
                worst[standing] = self.ball.sample(x[standing].float(), generator)
                standing = standing[is_correct(model(worst[standing]), y[standing])]
        return worst


def _sized(context: AuditContext, part: float) -> PGD:
    return replace(context.white, ball=replace(context.ball, eps=part * context.ball.eps))


def _steps(attack: Attack) -> int:
    if isinstance(attack, Worst | JointAttack):
        return max(_steps(member) for member in attack.attacks)
    return int(getattr(attack, "steps", 0))


def _twice(attack: Attack) -> Attack:
    """The attack with twice its steps; or queries; those that count none stay as they are."""
    if isinstance(attack, Worst | JointAttack):
        return Worst(tuple(_twice(member) for member in attack.attacks))
    names = {field.name for field in fields(attack) if field.init}  # type: ignore[arg-type]
    changed: dict[str, Any] = {
        name: 2 * getattr(attack, name) for name in ("steps", "queries") if name in names
    }
    return replace(attack, **changed)  # type: ignore[type-var]


def _pc(row: Tensor) -> str:
    return f"{100 * float(row.double().mean()):.1f} %"
