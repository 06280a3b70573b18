"""Layers as linear operators, and their largest singular value, by accelerated power iteration.

A convolution stretches an image by at most the norm of the operator from input to output, which
depends on the input size, the padding and the stride. The norm of its k x k kernel, reshaped to a
matrix (out, in * k * k), bounds how far a single patch is stretched; as patches overlap, the norm
of the operator lies between that and k times that.
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
from adv.runtime.image_shape import image_shape
from adv.runtime.random_streams import use_seed
from adv.shape import format_shape


@dataclass(frozen=True)
class Matrix:
    """A: the weight reshaped to [out, the rest], for vectors of `size` numbers."""

    size: tuple[int]

    def matvec(self, weight: Tensor, x: Tensor) -> Tensor:
        """Return A x."""
        return weight.flatten(1) @ x

    def rmatvec(self, weight: Tensor, y: Tensor) -> Tensor:
        """Return A^T y."""
        return weight.flatten(1).T @ y


@dataclass(frozen=True)
class Convolution:
    """A: the convolution without its bias, for one input of `size` (1, channels, h, w)."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    def matvec(self, weight: Tensor, x: Tensor) -> Tensor:
        """Return A x."""
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def rmatvec(self, weight: Tensor, y: Tensor) -> Tensor:
        """Return A^T y."""
        settings = (self.stride, self.padding, self.dilation, self.groups)
        return conv2d_input(self.size, weight, y, *settings)


Operator = Matrix | Convolution
Layer = nn.Conv2d | nn.Linear


def kernel_operator(layer: Layer) -> Matrix:
    """Return the weight as a matrix, as in torch's spectral_norm; exact for linear layers."""
    return Matrix((layer.weight[0].numel(),))


def linear_operator(layer: Layer, size: tuple[int, ...]) -> Operator:
    """Return what a layer computes on an input of `size`; (1, channels, h, w) for a convolution.

    Raises:
      ValueError: a convolution whose padding is not a number of zeros.
    """
    if not isinstance(layer, nn.Conv2d):
        return kernel_operator(layer)
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        raise ValueError(
            f"the norm of a convolution is known for numbers of zeros as padding, "
            f"not for {layer.padding!r} and {layer.padding_mode!r}"
        )
    return Convolution(size, layer.stride, layer.padding, layer.dilation, layer.groups)


@torch.no_grad()
def top_singular_vector(
    operator: Operator, weight: Tensor, steps: int = 60, start: Tensor | None = None
) -> Tensor:
    """Compute the right singular vector of A's largest singular value, by Lanczos on A^T A.

    The singular values of a convolution lie close together: plain power iteration needs a thousand
    steps where this needs sixty, as it searches the span of all directions so far. From a `start`
    that was right for a slightly different weight, five are enough.

    Returns:
      A vector of the operator's `size`, of length 1.
    """
    # Its own generator: computing a norm must not advance anybody else's.
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(operator.size, generator=generator).to(weight) if start is None else start
    steps = min(steps, x.numel())
    basis = weight.new_zeros(steps, x.numel())
    images = torch.zeros_like(basis)
    for step in range(steps):
        x = x / x.norm().clamp(min=1e-30)
        basis[step] = x.flatten()
        image = operator.rmatvec(weight, operator.matvec(weight, x)).flatten()
        images[step] = image
        rounding = 1e-4 * image.norm()
        for _ in range(2):  # once leaves rounding errors that grow
            image = image - basis.T @ (basis @ image)
        image = image * (image.norm() > rounding)  # else no new direction is left
        x = image.reshape(operator.size)
    projected = (basis @ images.T).double().nan_to_num()  # divergence is reported elsewhere
    top = torch.linalg.eigh(projected + projected.T)[1][:, -1].to(weight)
    vector = (basis.T @ top).reshape(operator.size)
    return vector / vector.norm().clamp(min=1e-30)


def operator_norm(operator: Operator, weight: Tensor) -> float:
    """Return the largest singular value of A; for a convolution up to 1e-4 relatively too small."""
    if isinstance(operator, Matrix):
        return float(torch.linalg.matrix_norm(weight.flatten(1), 2))
    return float(operator.matvec(weight, top_singular_vector(operator, weight)).norm())


def input_sizes(net: nn.Module, wanted: Callable[[nn.Module], bool]) -> dict[str, tuple[int, ...]]:
    """Return the input size of each wanted layer for one image, by the layer's name.

    Raises:
      ValueError: the net does not take images of the shape that is noted on it.
    """
    sizes: dict[str, tuple[int, ...]] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sizes[name] = max(sizes.get(name, ()), tuple(inputs[0].shape), key=math.prod)

        return hook

    handles = [
        module.register_forward_pre_hook(record(name))
        for name, module in net.named_modules()
        if wanted(module)
    ]
    weight, shape = next(net.parameters()), image_shape(net)
    try:
        with torch.no_grad(), frozen(net), use_seed(net, 0):
            net(torch.zeros(1, *shape, device=weight.device, dtype=weight.dtype))
    except RuntimeError as error:
        raise ValueError(
            f"the input sizes of layers are known for images of {format_shape(shape)}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return sizes
