"""Layers as linear operators, and their largest singular value (power iteration, sped up).

A convolution stretches an image by up to the norm of the operator from input to output, which hangs
on the input's size, the padding and the stride. The norm of its k x k kernel reshaped to a matrix
(out, in * k * k) is what one patch is stretched by; as patches overlap, the operator's lies between
that and k times that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from adv.runtime.frozen import frozen
from adv.runtime.random_streams import use_seed


@dataclass(frozen=True)
class Matrix:
    """The weight reshaped to [out, the rest], times a vector of `size` numbers."""

    size: tuple[int]

    def ahead(self, weight: Tensor, x: Tensor) -> Tensor:
        """A x."""
        return weight.flatten(1) @ x

    def back(self, weight: Tensor, y: Tensor) -> Tensor:
        """A^T y."""
        return weight.flatten(1).T @ y


@dataclass(frozen=True)
class Convolution:
    """The convolution without its bias, on one input of `size` (1, channels, h, w)."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def ahead(self, weight: Tensor, x: Tensor) -> Tensor:
        """A x."""
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def back(self, weight: Tensor, y: Tensor) -> Tensor:
        """A^T y."""
        how = (self.stride, self.padding, self.dilation, self.groups)
        return conv2d_input(self.size, weight, y, *how)


Operator = Matrix | Convolution
Layer = nn.Conv2d | nn.Linear


def kernel_of(layer: Layer) -> Matrix:
    """The operator that torch's spectral_norm takes a layer for; for a linear one it is true."""
    return Matrix((layer.weight[0].numel(),))


def operator_of(layer: Layer, size: tuple[int, ...]) -> Operator:
    """What a layer does to an input of `size`, (1, channels, h, w) before a convolution.

    Raises:
      ValueError: a convolution that does not pad with zeros, by numbers.
    """
    if not isinstance(layer, nn.Conv2d):
        return kernel_of(layer)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(
            f"the norm of a convolution is known for numbers of zeros as padding, "
            f"not for {layer.padding!r} and {layer.padding_mode!r}"
        )
    return Convolution(size, layer.stride, layer.padding, layer.dilation, layer.groups)


@torch.no_grad()
def most_stretched(
    operator: Operator, weight: Tensor, steps: int = 60, start: Tensor | None = None
) -> Tensor:
    """The direction [size], of length 1, that A stretches by its norm: Lanczos' method on A^T A.

    The singular values of a convolution lie close together, and plain power iteration needs a
    thousand steps where this needs sixty: it looks at all directions met at once. From a `start`
    that was right for weights a little different, five are plenty.
    """
    # Its own start: the search for a norm must not move a random generator of somebody else.
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(operator.size, generator=generator).to(weight) if start is None else start
    steps = min(steps, x.numel())
    met = weight.new_zeros(steps, x.numel())
    images = torch.zeros_like(met)
    for step in range(steps):
        x = x / x.norm().clamp(min=1e-30)
        met[step] = x.flatten()
        image = operator.back(weight, operator.ahead(weight, x)).flatten()
        images[step] = image
        least = 1e-4 * image.norm()
        for _ in range(2):  # once leaves rounding errors that grow
            image = image - met.T @ (met @ image)
        image = image * (image.norm() > least)  # else it is rounding: nothing new to meet
        x = image.reshape(operator.size)
    within = (met @ images.T).double().nan_to_num()  # a training that diverged says so elsewhere
    best = torch.linalg.eigh(within + within.T)[1][:, -1].to(weight)
    found = (met.T @ best).reshape(operator.size)
    return found / found.norm().clamp(min=1e-30)


def operator_norm(operator: Operator, weight: Tensor) -> float:
    """The largest singular value of A; of a convolution from below, to one in ten thousand."""
    if isinstance(operator, Matrix):
        return float(torch.linalg.matrix_norm(weight.flatten(1), 2))
    return float(operator.ahead(weight, most_stretched(operator, weight)).norm())


def sizes_met(net: nn.Module, wanted: Callable[[nn.Module], bool]) -> dict[str, tuple[int, ...]]:
    """The input size, as of one image, of each wanted layer that an image of 3x32x32 reaches.

    Raises:
      ValueError: the net does not take such images.
    """
    met: dict[str, tuple[int, ...]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            met[name] = max(met.get(name, ()), tuple(inputs[0].shape), key=math.prod)

        return note

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in net.named_modules()
        if wanted(module)
    ]
    weight = next(net.parameters())
    try:
        with torch.no_grad(), frozen(net), use_seed(net, 0):
            net(torch.zeros(1, 3, 32, 32, device=weight.device, dtype=weight.dtype))
    except RuntimeError as error:
        raise ValueError("the sizes that layers meet are known for images of 3x32x32") from error
    finally:
        for hook in hooks:
            hook.remove()
    return met
