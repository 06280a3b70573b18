"""Checks of the gradient itself: does it say how the net's outputs change?

Every attack with gradients shares the net's gradient. If that is wrong (half of it masked, a custom
backward pass, a detached branch), all of them are weak together and agree with each other. Finite
differences need forward passes only, so nothing in a backward pass can mislead them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.auditing.context import AuditContext
from adv.auditing.finding import Finding, share_with_interval
from adv.intervals import WRONG_GRADIENTS_LIMIT
from adv.runtime.frozen import frozen
from adv.runtime.precision import DoublePrecision, FullPrecision
from adv.runtime.random_streams import use_seed

IMAGES = 32
_STEPS = (1e-5, 1e-3, 1e-2)  # l2 lengths; the next one serves where outputs are rounded too much
_SIGNS = 2  # random directions besides that of the gradient
_ENOUGH = 0.8  # of the images: those that are left lie at kinks
_TOLERANCE = {torch.float64: 0.02, torch.float32: 0.1}
_SHORT = 1 / 8  # of the radius: a short step of an attack
_KEPT = 0.5  # part of the promised rise
_MOST_UNTESTED = 0.5


@dataclass(frozen=True)
class GradientTest:
    """Comparison of gradients with finite differences at n images.

    Args:
      tested: [n] booleans; False at a kink, and where rounding hides the difference.
      wrong: [n] booleans; the gradient differs from the difference in some direction.
      kept: [n] the rise of the margin by a short step, divided by what the gradient promises.
    """

    tested: Tensor
    wrong: Tensor
    kept: Tensor

    @property
    def wrong_share(self) -> float:
        """The share of wrong gradients among those that could be tested; 0 if none could."""
        return int(self.wrong.sum()) / max(1, int(self.tested.sum()))


def check_gradient(context: AuditContext) -> Iterator[Finding]:
    """Yield whether gradients agree with finite differences, exist, and hold for a step."""
    test = differentiate(context, IMAGES)
    tested, n = int(test.tested.sum()), len(test.tested)
    found, interval = share_with_interval(test.wrong, tested) if tested else (0.0, (0.0, 0.0))
    yield Finding(
        "gradient against differences",
        found,
        WRONG_GRADIENTS_LIMIT,
        interval,
        "%",
        "sound nets have none: kinks, as of ReLU and max-pooling, are left out",
        f"At {int(test.wrong.sum())} of {tested} images the gradient is not the slope of the "
        f"outputs, measured by finite differences ({n - tested} of {n} could not be tested).",
        "The backward pass of the net does not belong to its forward pass: part of the gradient "
        "is missing, or replaced by another one. Attacks that follow it are weak, and all of them "
        "in the same way.",
    )
    untested, interval = share_with_interval(~test.tested)
    yield Finding(
        "outputs have slopes",
        untested,
        _MOST_UNTESTED,
        interval,
        "%",
        "on sound nets nearly all images can be tested",
        f"At {n - tested} of {n} images the outputs jump between points that lie ever closer, or "
        "are rounded more coarsely than they change.",
        "The outputs have no slope there that a gradient could give: the net adds noise that "
        "depends on the image, or rounds what it computes.",
    )
    lost = test.kept < _KEPT
    found, interval = share_with_interval(lost)
    yield Finding(
        "gradient holds for a step",
        found,
        0.5,
        interval,
        "%",
        "on sound nets an eighth of the radius is short: at hardly any image is so much lost",
        f"At {100 * found:.1f} % of the images a step of an eighth of eps along the gradient "
        f"reaches less than {100 * _KEPT:.0f} % of the rise that the gradient promises.",
        "The gradient is right at a point and wrong beside it: small ripples, steps or rounding "
        "hide the direction in which the outputs change.",
    )


def differentiate(context: AuditContext, images: int) -> GradientTest:
    """Compare the gradients of the first images with finite differences.

    The function is the logit of the likeliest wrong class minus that of the right one, at a random
    point of the ball around each image. It is computed in float64 by a copy of the net, or where a
    net does not allow that in float32. A random net gets the same draws for each difference. The
    gradient is compared in its own direction and in random ones, [-1, 1]^d: in its own direction a
    gradient that is masked at some pixels is right.

    Args:
      context: the net and its images.
      images: how many to test.
    """
    ids = torch.arange(min(images, context.n))
    generator = torch.Generator().manual_seed(context.battery.seed)
    parts = []
    with _exact_net(context) as (net, dtype):
        for some in ids.split(32):
            x, y = context.pixels(some)
            point = 0.001 + 0.998 * context.ball.sample(x, generator)  # no pixel at its limit
            margin = _Margin(net, point.to(dtype), y, context.battery.seed)
            parts.append(_test_batch(margin, context, generator))
    tested, wrong, kept = (torch.cat(column) for column in zip(*parts, strict=True))
    return GradientTest(tested, wrong, kept)


class _Margin:
    """A difference of two logits as a function of n images: at each call with the same draws.

    Attributes:
      x: [n, c, h, w] where the gradient is tested.
      value: [n] at `x`.
      gradient: [n, c, h, w] at `x`, NaN replaced by 0.
      resolution: [n] how far rounding may change a value.
    """

    def __init__(self, net: nn.Module, x: Tensor, y: Tensor, seed: int) -> None:
        self.net, self.x, self.seed = net, x, seed
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = self._ask(x)
            others = logits.detach().scatter(1, y[:, None], -torch.inf)
            self.pair = torch.stack([others.argmax(1), y], 1)
            value = self._difference(logits)
            (gradient,) = (
                torch.autograd.grad(value.sum(), x, allow_unused=True)
                if value.requires_grad
                else (None,)
            )
        zeros = torch.zeros_like(x)
        self.gradient = (zeros if gradient is None else gradient.nan_to_num(0.0)).detach()
        self.value = self(self.x)
        size = logits.detach().abs().amax(1).double()
        self.resolution = 50 * torch.finfo(logits.dtype).eps * size

    def __call__(self, x: Tensor) -> Tensor:
        """Return the margin [n] at other images."""
        with torch.no_grad():
            return self._difference(self._ask(x))

    def _difference(self, logits: Tensor) -> Tensor:
        wrong, right = logits.double().gather(1, self.pair).unbind(1)
        return wrong - right

    def _ask(self, x: Tensor) -> Tensor:
        devices = [x.device] if x.is_cuda else []
        with use_seed(self.net, self.seed), torch.random.fork_rng(devices=devices):
            torch.manual_seed(self.seed)
            out: Tensor = self.net(x)
        return out


def _test_batch(
    margin: _Margin, context: AuditContext, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return [n] `tested`, `wrong` and `kept` of `GradientTest`, on the CPU."""
    length = margin.gradient.flatten(1).norm(dim=1)
    unit = margin.gradient / _spread(length.clamp(min=1e-300))
    tested = torch.ones_like(length, dtype=torch.bool)
    wrong = torch.zeros_like(tested)
    pixels = margin.gradient[0].numel()
    directions = [(unit, 1.0)]
    for _ in range(_SIGNS):
        signs = torch.randint(0, 2, unit.shape, generator=generator).mul_(2).sub_(1)
        directions.append((signs.to(unit) / pixels**0.5, pixels**-0.5))
    for direction, part in directions:
        expected = (margin.gradient * direction).flatten(1).sum(1).double()
        known, differs = _compare(margin, direction, expected, part * length.double())
        tested &= known
        wrong |= differs
    return (tested | wrong).cpu(), wrong.cpu(), _measure_step(margin, context, unit).cpu()


def _compare(
    margin: _Margin, direction: Tensor, expected: Tensor, usual: Tensor
) -> tuple[Tensor, Tensor]:
    """Compare slopes along a direction with those that the gradient promises.

    Args:
      margin: the function.
      direction: [n, c, h, w] of length 1.
      expected: [n] slopes by the gradient.
      usual: [n] how large a slope of this gradient is in such a direction.

    Returns:
      [n] booleans whether the slope could be measured, and whether it differs.
    """
    tolerance = _TOLERANCE[margin.x.dtype]
    known = torch.zeros(len(expected), dtype=torch.bool, device=expected.device)
    differs = known.clone()
    for h in _STEPS:
        after, before = (margin(margin.x + sign * h * direction) for sign in (1, -1))
        right, left = (after - margin.value) / h, (margin.value - before) / h
        slope = (right + left) / 2
        scale = torch.maximum(usual, slope.abs())
        flat = (usual == 0) & (slope == 0)
        exact = (right - left).abs() <= tolerance * scale
        clear = scale * h > margin.resolution
        now = ~known & (flat | (exact & clear))
        differs |= now & ~flat & ((slope - expected).abs() > 2 * tolerance * scale)
        known |= now
        if known.double().mean() > _ENOUGH:
            break
    return known, differs


def _measure_step(margin: _Margin, context: AuditContext, unit: Tensor) -> Tensor:
    """Return [n]: the rise by a short step along the gradient, divided by what it promises.

    Where the gradient is 0 it promises nothing, and 1 is returned.
    """
    step = _SHORT * context.ball.eps
    moved = context.ball.ascend(margin.x, unit, step).clamp(0, 1)
    promised = (margin.gradient * (moved - margin.x)).flatten(1).sum(1).double()
    rise = margin(moved) - margin.value
    return torch.where(promised > 0, rise / promised.clamp(min=1e-300), torch.ones_like(rise))


@contextmanager
def _exact_net(context: AuditContext) -> Iterator[tuple[nn.Module, torch.dtype]]:
    """Yield a copy of the net in float64; if it does not run in that, the net in full float32."""
    x, _ = context.pixels(torch.arange(1))
    with ExitStack() as stack:
        try:
            net, dtype = copy.deepcopy(context.model).double(), torch.float64
            with DoublePrecision(), frozen(net), torch.no_grad():
                net(x.double())
            stack.enter_context(DoublePrecision())
        except Exception:  # a device without float64, a net that cannot be copied or is compiled
            net, dtype = context.model, torch.float32
            stack.enter_context(FullPrecision())
        yield stack.enter_context(frozen(net)), dtype


def _spread(values: Tensor) -> Tensor:
    """Return values [n] as [n, 1, 1, 1]."""
    return values[:, None, None, None]
