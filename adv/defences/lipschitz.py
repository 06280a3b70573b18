"""Bounds on the Lipschitz constant of a net: the true norms of its layers, and their product."""

from __future__ import annotations

import torch
from torch import nn

from adv.defences.input_noise import InputNoise
from adv.defences.operator_norm import Matrix, input_sizes, linear_operator, operator_norm
from adv.defences.projection import LowRank
from adv.defences.weight_transforms import Transformed, WeightLayer, effective_weight
from adv.external.foreign_net import ForeignNet
from adv.models import Normalize
from adv.runtime.frozen import frozen
from adv.runtime.random_layers import Dropout, Noise
from adv.runtime.random_streams import use_seed

_BATCHNORMS = nn.BatchNorm1d | nn.BatchNorm2d
_PIXELS = Normalize | InputNoise | Noise
_NONEXPANSIVE = (
    nn.ReLU | nn.GELU | nn.SiLU | nn.Flatten | nn.Identity | nn.Dropout | nn.AdaptiveAvgPool2d
)


def layer_norms(net: nn.Module) -> dict[str, float]:
    """Return the l2 norm of each layer that is linear in evaluation, but for a bias, by its name.

    These are convolutions, at the input sizes they have for an image of the net, linear layers,
    BatchNorm (its largest factor), projections, and dropout that stays on. Noisy weights (PNI)
    count with one draw.
    """
    sizes = input_sizes(net, _is_linear)
    with torch.no_grad(), frozen(net), use_seed(net, 0):
        return {name: _norm(net.get_submodule(name), size) for name, size in sizes.items()}


def lipschitz_bound(net: nn.Module) -> float:
    """Return the product of the layers' true norms, from normalised pixels to logits in l2.

    It is an upper bound of the Lipschitz constant if activations do not expand: ReLU does not; the
    slope of GELU reaches 1.13 and that of SiLU 1.10, a factor for each such layer that the product
    leaves out. For pixels in [0, 1], divide by the smallest deviation of the normalisation.

    Raises:
      ValueError: the net is not a sequence of such layers. Where paths add up (residual nets) or
        multiply (attention), the product of norms bounds nothing.
    """
    inside: tuple[str, ...] = ()
    for name, module in net.named_modules():
        if isinstance(module, Transformed | InputNoise):
            inside += (f"{name}.",)
        if not (_is_sequential(module) or name.startswith(inside)):
            kind = type(module).__name__.lstrip("_")
            where = f" ({name})" if name else ""
            raise ValueError(f"the product of norms bounds a sequence of layers, not {kind}{where}")
    return float(torch.tensor([*layer_norms(net).values()], dtype=torch.double).prod())


def _is_linear(module: nn.Module) -> bool:
    always_on = isinstance(module, Dropout) and module.stochastic
    return always_on or isinstance(module, WeightLayer | _BATCHNORMS | LowRank)


def _is_sequential(module: nn.Module) -> bool:
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):  # without overlap
        return bool(torch.tensor(module.stride).ge(torch.tensor(module.kernel_size)).all())
    known = nn.Sequential | ForeignNet | _PIXELS | _NONEXPANSIVE | Dropout
    return _is_linear(module) or isinstance(module, known)


def _norm(layer: nn.Module, size: tuple[int, ...]) -> float:
    if isinstance(layer, WeightLayer):
        return operator_norm(linear_operator(layer, size), effective_weight(layer))
    if isinstance(layer, Dropout):
        return 1 / (1 - layer.p)
    if isinstance(layer, LowRank):
        return operator_norm(Matrix((layer.basis.shape[1],)), layer.basis) ** 2
    assert isinstance(layer, _BATCHNORMS)
    scale = torch.ones(()) if layer.weight is None else layer.weight.abs()
    variance = torch.ones(()) if layer.running_var is None else layer.running_var + layer.eps
    return float((scale / variance.sqrt()).max())
