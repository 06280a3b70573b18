"""Checks of consistency: a net must give the same outputs to an attack, an evaluation and a user.

They need no attack and come first, because what they find explains what the attacks find.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adv.auditing.context import AuditContext
from adv.auditing.dead_units import check_dead_units
from adv.auditing.finding import Finding, exact_interval, share_with_interval
from adv.defences.spectral_norm import SpectralDivision
from adv.runtime.frozen import frozen
from adv.runtime.random_layers import Dropout
from adv.runtime.random_streams import is_declared_random, use_seed

IMAGES = 64  # images that these checks use
ALONE = 8  # of these are asked one at a time
ROUNDING = 1e-3
_ROUNDING_REASON = (
    "sums in another order differ by a hundredth of this, in half precision by about this much"
)
# Layers that are expected to depend on the training flag.
_FLAG_DEPENDENT = (
    *(nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, Dropout),
    *(
        SpectralDivision,
        nn.utils.parametrizations._SpectralNorm,
    ),  # both take a step of power iteration
)
_FLAG_DEPENDENT_NAMES = ("StochasticDepth", "DropPath")


def check_consistency(context: AuditContext) -> Iterator[Finding]:
    """Yield the findings of all checks that need no attack."""
    x, _ = context.pixels(torch.arange(min(IMAGES, context.n)))
    model, seed = context.model, context.battery.seed
    with frozen(model), torch.no_grad():
        with use_seed(model, seed):
            first, second = model(x).float(), model(x).float()
        yield _check_logits(first)
        yield _check_repeatable(context, x, first, second)
        yield _check_training_flag(context, x)
        yield _check_grad_mode(context, x, first)
        if not context.random:
            yield _check_batching(context, x, first)
        yield check_dead_units(context, x)


def _check_logits(out: Tensor) -> Finding:
    """Check that the outputs are finite, and logits rather than probabilities."""
    bad = ~out.isfinite().all(1)
    likely = (out >= -1e-6).all(1) & ((out.sum(1) - 1).abs() < 1e-3)
    found, _ = share_with_interval(bad | likely)
    logs = bool((out.logsumexp(1).abs() < 1e-3).all())
    kind = "log-probabilities, as good as logits" if logs else "logits"
    wrong = "not finite" if bad.any() else "probabilities"
    flat = (
        "Cross-entropy takes logits: on probabilities it is nearly flat, so the attack has hardly "
        "any gradient to follow. Return logits or their log-softmax."
    )
    lost = (
        "Where outputs are not finite there is no predicted class and no gradient to follow: the "
        "weights have diverged, or an intermediate value has overflowed."
    )
    return Finding(
        "outputs are logits",
        found,
        0.0,
        exact_interval(found),
        "%",
        "the logits of an image do not add up to one by chance",
        f"The outputs are {wrong if found else kind}.",
        lost if bad.any() else flat,
    )


def _check_repeatable(context: AuditContext, x: Tensor, first: Tensor, second: Tensor) -> Finding:
    """Check that outputs repeat: always, or for a random net with the same draws."""
    with use_seed(context.model, context.battery.seed):
        again = context.model(x).float()
    found = relative_difference(first, again if context.random else second)
    if not context.random:
        found = max(found, relative_difference(first, again))
    how = (
        "declared random, and used with the same draws" if context.random else "not declared random"
    )
    return Finding(
        "same outputs twice",
        found,
        ROUNDING,
        exact_interval(found),
        "%",
        _ROUNDING_REASON,
        f"The net is {how}: two outputs differ by {_percent(found)} of the largest output.",
        "The net draws random numbers without declaring it: each gradient belongs to another net "
        "than the prediction, and each evaluation gives another score. Make the layer "
        "an `adv.runtime.random_streams.RandomModule` and draw from its `stream`; then the attack "
        "averages over draws.",
    )


def _check_training_flag(context: AuditContext, x: Tensor) -> Finding:
    """Check that the outputs do not depend on the training flag, dropout and the like aside."""
    model, seed = context.model, context.battery.seed
    with use_seed(model, seed), _WithoutDropout():
        plain = model(x).float()
    with use_seed(model, seed), _in_training_mode(model), _WithoutDropout():
        flagged = model(x).float()
    found = relative_difference(plain, flagged)
    return Finding(
        "same outputs in training mode",
        found,
        ROUNDING,
        exact_interval(found),
        "%",
        _ROUNDING_REASON,
        f"Apart from dropout, batch normalisation and declared noise, the training flag changes "
        f"the outputs by {_percent(found)}.",
        "The net depends on its training flag: in evaluation it is another net than the one that "
        "was trained, or that runs where nobody calls eval(). A defence must not depend on it.",
    )


def _check_grad_mode(context: AuditContext, x: Tensor, first: Tensor) -> Finding:
    """Check that the outputs do not change when a gradient is computed."""
    with use_seed(context.model, context.battery.seed), torch.enable_grad():
        asked = context.model(x.clone().requires_grad_()).detach().float()
    found = relative_difference(first, asked)
    return Finding(
        "same outputs under attack",
        found,
        ROUNDING,
        exact_interval(found),
        "%",
        _ROUNDING_REASON,
        f"When a gradient is computed, the net's outputs change by {_percent(found)}.",
        "The net detects that it is attacked and gives other outputs: the attack sees another net "
        "than the evaluation.",
    )


def _check_batching(context: AuditContext, x: Tensor, first: Tensor) -> Finding:
    """Check that the output for an image does not depend on its batch, nor on its place there."""
    quarters, singles = x.split(max(1, len(x) // 4)), x[:ALONE].split(1)
    found = max(
        relative_difference(first, torch.cat([context.model(some).float() for some in quarters])),
        relative_difference(first, context.model(x.flip(0)).float().flip(0)),
        relative_difference(
            first[:ALONE], torch.cat([context.model(one).float() for one in singles])
        ),
    )
    return Finding(
        "same outputs in another batch",
        found,
        ROUNDING,
        exact_interval(found),
        "%",
        _ROUNDING_REASON,
        f"In smaller batches, alone, and in another order the outputs change by {_percent(found)}.",
        "An image's class depends on the images beside it, as with batch normalisation that is "
        "left in training mode: the score depends on how the images are split into batches.",
    )


class _WithoutDropout(TorchFunctionMode):
    """Switches functional dropout off, whatever the training flag says."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if "dropout" in name:
            return args[0] if args else kwargs["input"]
        if "dropout_p" in kwargs:  # scaled_dot_product_attention
            kwargs["dropout_p"] = 0.0
        if name == "multi_head_attention_forward":
            kwargs["training"] = False
        return func(*args, **kwargs)


@contextmanager
def _in_training_mode(model: nn.Module) -> Iterator[None]:
    """Set the training flag of all layers except those that are expected to depend on it."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = not _may_depend_on_flag(module)
        yield
    finally:
        for module, training in before:
            module.training = training


def _may_depend_on_flag(module: nn.Module) -> bool:
    """Return whether a layer is expected to depend on the training flag."""
    known = isinstance(module, _FLAG_DEPENDENT) or type(module).__name__ in _FLAG_DEPENDENT_NAMES
    return known or is_declared_random(module)


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two outputs relative to the largest output.

    Equal outputs differ by 0; a NaN in only one of them gives NaN.
    """
    same = torch.equal(one, other)
    return 0.0 if same else float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))


def _percent(value: float) -> str:
    """Return a share as text."""
    return f"{100 * value:.3g} %"
