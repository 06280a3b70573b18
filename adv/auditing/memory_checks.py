"""A check of memory: does an answer depend on what the net was asked before?

A net that answers near-repeats with its first answer resists every attack that asks for one image
many times, and is as easy to fool as any other by whoever asks once.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from adv.attacks.gradient import loss_and_grad
from adv.auditing.consistency_checks import ROUNDING, relative_difference
from adv.auditing.context import AuditContext
from adv.auditing.finding import Finding, exact_interval
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed

IMAGES = 32
_ROUNDS = 5  # some nets begin to remember after several near-repeats only
_LENGTHS = (0.05, 0.25, 1.0)  # distances of near-repeats, as parts of the radius


def check_memory(context: AuditContext) -> Finding:
    """Ask copies of the net for the same images, after other questions and in another order.

    The images are upside down and negative, unlike any that the net was asked before the audit. One
    copy is asked for them, then for near-repeats as of an attack; another for near-repeats first,
    and in another order.
    """
    found, how = _compare_copies(context)
    return Finding(
        "same outputs whatever was asked",
        found,
        ROUNDING,
        exact_interval(found),
        "%",
        "a net without memory answers a question in the same way at any time",
        how,
        "The net remembers what it was asked: an attack, which asks for one image many times, gets "
        "other answers than somebody who asks once. The score says how well it remembers.",
    )


def _compare_copies(context: AuditContext) -> tuple[float, str]:
    """Return the largest relative difference between two copies, and a sentence."""
    try:
        guide, first, second = (copy.deepcopy(context.model) for _ in range(3))
    except Exception as error:  # torch and nets of others raise errors of any type
        return 0.0, f"The net cannot be copied ({type(error).__name__}): its memory is not tested."
    x, _ = context.pixels(torch.arange(min(IMAGES, context.n)))
    images = 1 - x.flip(2, 3)
    moves = _attack_moves(context, guide, images)
    repeats = [(images + part * moves).clamp(0, 1) for part in _LENGTHS]
    for asked in (images, *repeats * (_ROUNDS - 1)):
        _ask(context, first, asked)
    answers = [_ask(context, first, asked) for asked in (*repeats, images)]
    fresh = [_ask(context, second, asked) for asked in (*repeats[::-1], images)]
    others = (*fresh[-2::-1], fresh[-1])
    found = max(map(relative_difference, answers, others))
    return found, (
        f"After other questions the outputs of a copy differ by {100 * found:.3g} % of the largest "
        "output from those of a copy that was asked in another order."
    )


def _attack_moves(context: AuditContext, guide: nn.Module, images: Tensor) -> Tensor:
    """Return the changes by a step of the radius along the gradient; random ones if it is zero."""
    generator = torch.Generator().manual_seed(context.battery.seed)
    with frozen(guide), use_seed(guide, context.battery.seed):
        classes = guide(images).argmax(1)
        gradient = loss_and_grad(guide, images, classes).gradient
    ascended = context.ball.ascend(images, gradient, context.ball.eps)
    random = context.ball.sample(images, generator)
    still = (gradient.nan_to_num(0.0) == 0).flatten(1).all(1)
    return torch.where(still[:, None, None, None], random, ascended) - images


def _ask(context: AuditContext, net: nn.Module, images: Tensor) -> Tensor:
    """Return the outputs of a copy; a random net gets the same draws at each call."""
    seed = context.battery.seed
    devices = [images.device] if images.is_cuda else []
    with frozen(net), use_seed(net, seed), torch.no_grad(), torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        out: Tensor = net(images)
    return out.float()
