"""How far a net can carry two images apart: the true norms of its layers, and their product."""

from __future__ import annotations

import torch
from torch import nn

from adv.defences.input_noise import InputNoise
from adv.defences.operator_norm import Matrix, operator_norm, operator_of, sizes_met
from adv.defences.projection import LowRank
from adv.defences.weight_transforms import TransformedConv2d, TransformedLinear, Weighted, weight_of
from adv.models import Normalize
from adv.runtime.frozen import frozen
from adv.runtime.random_layers import Dropout, Noise
from adv.runtime.random_streams import use_seed

_BATCHNORMS = nn.BatchNorm1d | nn.BatchNorm2d
_PIXELS = Normalize | InputNoise | Noise
_TAME = nn.ReLU | nn.GELU | nn.SiLU | nn.Flatten | nn.Identity | nn.Dropout | nn.AdaptiveAvgPool2d


def layer_norms(net: nn.Module) -> dict[str, float]:
    """The l2 norm of each layer that is linear (but for a bias) in evaluation, by its name.

    Of convolutions on the sizes that they meet behind an image of 3x32x32, linear layers, BatchNorm
    (its largest factor), projections and dropout that is kept on. Of noisy weights (PNI): of one
    draw.
    """
    sizes = sizes_met(net, _linear)
    with torch.no_grad(), frozen(net), use_seed(net, 0):
        return {name: _norm(net.get_submodule(name), size) for name, size in sizes.items()}


def lipschitz_bound(net: nn.Module) -> float:
    """The product of the true norms of the layers: l2 Lipschitz, from normalised pixels to logits.

    An upper bound where activations do not stretch: ReLU does not; the slope of GELU reaches 1.13
    and that of SiLU 1.10, a factor for each such layer that is not in the product. For pixels in
    [0, 1], divide by the smallest deviation of the normalisation.

    Raises:
      ValueError: the net is no sequence of such layers. Where paths add up (residual nets) or
        multiply (attention), the product of norms bounds nothing.
    """
    inside: tuple[str, ...] = ()
    for name, module in net.named_modules():
        if isinstance(module, TransformedConv2d | TransformedLinear | InputNoise):
            inside += (f"{name}.",)
        if not (_in_sequence(module) or name.startswith(inside)):
            kind = type(module).__name__.lstrip("_")
            where = f" ({name})" if name else ""
            raise ValueError(f"the product of norms bounds a sequence of layers, not {kind}{where}")
    return float(torch.tensor([*layer_norms(net).values()], dtype=torch.double).prod())


def _linear(module: nn.Module) -> bool:
    kept_on = isinstance(module, Dropout) and module.stochastic
    return kept_on or isinstance(module, Weighted | _BATCHNORMS | LowRank)


def _in_sequence(module: nn.Module) -> bool:
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):  # without overlap
        return bool(torch.tensor(module.stride).ge(torch.tensor(module.kernel_size)).all())
    return _linear(module) or isinstance(module, nn.Sequential | _PIXELS | _TAME | Dropout)


def _norm(layer: nn.Module, size: tuple[int, ...]) -> float:
    if isinstance(layer, Weighted):
        return operator_norm(operator_of(layer, size), weight_of(layer))
    if isinstance(layer, Dropout):
        return 1 / (1 - layer.p)
    if isinstance(layer, LowRank):
        return operator_norm(Matrix((layer.basis.shape[1],)), layer.basis) ** 2
    assert isinstance(layer, _BATCHNORMS)
    scale = torch.ones(()) if layer.weight is None else layer.weight.abs()
    variance = torch.ones(()) if layer.running_var is None else layer.running_var + layer.eps
    return float((scale / variance.sqrt()).max())
