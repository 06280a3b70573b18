"""Checks of what a net answers: the same net must stand before the attack, the judge and the user.

No attack is needed for them; they are first, because what they find explains what attacks find.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from adv.auditing.context import AuditContext
from adv.auditing.finding import Finding, exact, share
from adv.defences.spectral_norm import Normed
from adv.runtime.frozen import frozen
from adv.runtime.random_layers import Dropout
from adv.runtime.random_streams import is_declared_random, use_seed

ASKED = 64  # images that these checks ask about
UNITS = 16  # of a layer, from which on dead ones are counted
ROUNDING = 1e-3
_ROUNDING_REASON = (
    "sums in another order differ by a hundredth of this, even in half precision by about as much"
)
_BY_THE_FLAG = (
    *(nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase, Dropout),
    *(Normed, nn.utils.parametrizations._SpectralNorm),  # both take a step of power iteration
)
_BY_NAME = ("StochasticDepth", "DropPath")


def answers(context: AuditContext) -> Iterator[Finding]:
    """All checks that only ask the net."""
    x, _ = context.pixels(torch.arange(min(ASKED, context.n)))
    model, seed = context.model, context.battery.seed
    with frozen(model), torch.no_grad():
        with use_seed(model, seed):
            first, second = model(x).float(), model(x).float()
        yield _logits(first)
        yield _repeats(context, x, first, second)
        yield _training_flag(context, x)
        yield _gradients_asked(context, x, first)
        if not context.random:
            yield _alone(context, x, first)
        if any(isinstance(module, nn.ReLU) for module in model.modules()):
            yield _dead_units(context, x)


def _logits(out: Tensor) -> Finding:
    bad = ~out.isfinite().all(1)
    likely = (out >= -1e-6).all(1) & ((out.sum(1) - 1).abs() < 1e-3)
    found, _ = share(bad | likely)
    logs = bool((out.logsumexp(1).abs() < 1e-3).all())
    kind = "log-probabilities, as good as logits" if logs else "logits"
    wrong = "not finite" if bad.any() else "probabilities"
    flat = (
        "Cross-entropy takes logits: of probabilities it is nearly flat, so that the attack "
        "hardly knows where to go. Return logits or their log-softmax."
    )
    lost = (
        "Where outputs are not finite there is no class to judge and no slope to follow: the "
        "weights have diverged, or a number became too large on the way."
    )
    return Finding(
        "outputs are logits", found, 0.0, exact(found), "%",
        "no image's logits add up to one by chance",
        f"The outputs are {wrong if found else kind}.",
        lost if bad.any() else flat,
    )  # fmt: skip


def _repeats(context: AuditContext, x: Tensor, first: Tensor, second: Tensor) -> Finding:
    """A net that is not declared random answers twice alike; a declared one if its stream does."""
    with use_seed(context.model, context.battery.seed):
        again = context.model(x).float()
    found = _apart(first, again if context.random else second)
    if not context.random:
        found = max(found, _apart(first, again))
    how = "declared random, asked with the same draws" if context.random else "not declared random"
    return Finding(
        "the same answer twice", found, ROUNDING, exact(found), "%", _ROUNDING_REASON,
        f"The net is {how}: two answers differ by {_percent(found)} of the largest output.",
        "The net draws numbers that nobody knows of: each gradient fits another net than the one "
        "that is judged, and each evaluation gives another score. Make the layer "
        "an `adv.runtime.random_streams.RandomModule` and draw from its `stream`; then the attack "
        "averages over draws.",
    )  # fmt: skip


def _training_flag(context: AuditContext, x: Tensor) -> Finding:
    with use_seed(context.model, context.battery.seed), _Settled():
        plain = context.model(x).float()
    with use_seed(context.model, context.battery.seed), _flagged(context.model), _Settled():
        flagged = context.model(x).float()
    found = _apart(plain, flagged)
    return Finding(
        "the same answer in training mode", found, ROUNDING, exact(found), "%", _ROUNDING_REASON,
        f"Apart from dropout, batch normalisation and declared noise, the training flag changes "
        f"the outputs by {_percent(found)}.",
        "The net looks at its training flag: in evaluation it is another net than the one that "
        "was trained, or that runs where nobody calls eval(). A defence must not hang on the flag.",
    )  # fmt: skip


def _gradients_asked(context: AuditContext, x: Tensor, first: Tensor) -> Finding:
    with use_seed(context.model, context.battery.seed), torch.enable_grad():
        asked = context.model(x.clone().requires_grad_()).detach().float()
    found = _apart(first, asked)
    return Finding(
        "the same answer under attack", found, ROUNDING, exact(found), "%", _ROUNDING_REASON,
        f"Asked for a gradient, the net's outputs change by {_percent(found)}.",
        "The net knows when it is attacked and answers differently: the attack meets another net "
        "than the judge.",
    )  # fmt: skip


def _alone(context: AuditContext, x: Tensor, first: Tensor) -> Finding:
    parts = x.split(max(1, len(x) // 4))
    found = _apart(first, torch.cat([context.model(part).float() for part in parts]))
    return Finding(
        "the same answer in another batch", found, ROUNDING, exact(found), "%", _ROUNDING_REASON,
        f"In smaller batches the outputs change by {_percent(found)}.",
        "An image's class depends on the images beside it, as with batch normalisation that is "
        "left in training mode: the score depends on how the images are dealt into batches.",
    )  # fmt: skip


def _dead_units(context: AuditContext, x: Tensor) -> Finding:
    """The largest share of one layer's ReLU units (channels) that are 0 on every image.

    A layer of a few units, such as a squeeze-excitation's, may be dead by chance and do no harm.
    """
    alive: dict[nn.Module, Tensor] = {}

    def look(module: nn.Module, _: Any, out: Tensor) -> None:
        lit = (out > 0).flatten(2).any(2) if out.dim() > 2 else out > 0
        if lit.shape[1] >= UNITS:
            alive[module] = lit.any(0) | alive.get(module, torch.zeros_like(lit[0]))

    relus = [module for module in context.model.modules() if isinstance(module, nn.ReLU)]
    hooks = [module.register_forward_hook(look) for module in relus]
    try:
        with use_seed(context.model, context.battery.seed):
            context.model(x)
    finally:
        for hook in hooks:
            hook.remove()
    found = max((float((~lit).double().mean()) for lit in alive.values()), default=0.0)
    return Finding(
        "dead units", found, 0.9, exact(found), "%",
        "honest layers were seen with two thirds of them; with a tenth left hardly a path remains",
        f"In the worst layer {_percent(found)} of the ReLU units give 0 on every image.",
        "Nearly all units of a layer are dead: they pass neither an image nor a slope, so the "
        "attack gets nothing through, and the net hardly sees its input.",
    )  # fmt: skip


class _Settled(TorchFunctionMode):
    """Functional dropout is off, whatever the flag says."""

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
def _flagged(model: nn.Module) -> Iterator[None]:
    """The training flag is up, but not for layers of which everybody knows that they heed it."""
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = not _may_heed(module)
        yield
    finally:
        for module, training in before:
            module.training = training


def _may_heed(module: nn.Module) -> bool:
    known = isinstance(module, _BY_THE_FLAG) or type(module).__name__ in _BY_NAME
    return known or is_declared_random(module)


def _apart(one: Tensor, other: Tensor) -> float:
    """The largest difference of two outputs, relative to the largest one; NaN only as in both."""
    same = torch.equal(one, other)
    return 0.0 if same else float((one - other).abs().max() / one.abs().max().clamp(min=1e-12))


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %"
