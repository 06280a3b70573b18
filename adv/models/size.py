"""The size of a net and the cost of one image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from adv.models import WRN, BaseNet, BigNet, Net, ResNet18, ViT
from adv.models.net import make_net
from adv.shape import DEFAULT_SHAPE, Shape

LISTED_NETS: tuple[Net, ...] = (
    BaseNet(),
    *(BigNet(width) for width in (1, 2, 4)),
    *(WRN(16, 4), WRN(16, 8), WRN(16, 10), WRN(28, 10), WRN(34, 10)),
    ResNet18(),
    *(ViT(2, 128, 2), ViT(4, 128, 2), ViT(6, 256, 2), ViT(6, 256), ViT(7, 256)),
)
"""The nets that `python -m adv models` lists."""

_COMMON_SETTINGS = ("activation", "dropout", "se")


@dataclass(frozen=True)
class Size:
    """The parameters of a net, and the multiply-adds of its forward pass for one image.

    Convolutions, linear layers and attention are counted; normalisation, activations and pooling
    are not. A training step costs about three forward passes, an attack step two.
    """

    parameters: int
    multiply_adds: int


def size_of(net: Net, classes: int = 10, shape: Shape = DEFAULT_SHAPE) -> Size:
    """Return the size of a net for images of a shape.

    The net is made for it and classifies one image: milliseconds for a small net, half a second
    for the largest ones. For a net of another project that happens once for each class count and
    shape.

    Raises:
      ValueError: the net cannot be made for such images.
    """
    if getattr(net, "runs_code", False):  # its functions are not known
        return _measure_foreign(net, classes, shape)
    counter = _MultiplyAdds()
    parameters = _run(net, classes, shape, counter)
    return Size(parameters, counter.total)


@lru_cache(maxsize=100)
def _measure_foreign(net: Net, classes: int, shape: Shape) -> Size:
    from torch.utils.flop_counter import FlopCounterMode  # imports torch.compile, for seconds

    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH):  # on a CPU it does not know fused attention
        parameters = _run(net, classes, shape, counter)
    return Size(parameters, counter.get_total_flops() // 2)


def _run(
    net: Net, classes: int, shape: Shape, counter: AbstractContextManager[Any, bool | None]
) -> int:
    """Classify one image under a counter, and return how many parameters the net has."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = make_net(net, classes, shape).eval()
        with counter:
            module(torch.zeros(1, *shape))
    return sum(weight.numel() for weight in module.parameters())


def _count_weighted(out: Tensor, _: Tensor, weight: Tensor) -> int:
    """Return the multiply-adds of a convolution or a linear layer: `weight[0]` for each output."""
    return out.numel() * weight[0].numel()


def _count_attention(out: Tensor, query: Tensor, key: Tensor) -> int:
    """Return the multiply-adds of attention: each query with each key, then with each value."""
    return (math.prod(query.shape[:-1]) * key.shape[-2]) * (query.shape[-1] + out.shape[-1])


_COUNTS: Mapping[Any, Callable[[Tensor, Tensor, Tensor], int]] = {
    torch.conv2d: _count_weighted,
    F.linear: _count_weighted,
    F.scaled_dot_product_attention: _count_attention,
}
"""The functions of our nets that multiply, and how often: of their result and first arguments."""


class _MultiplyAdds(TorchFunctionMode):
    """A context that counts the multiply-adds of the functions in `_COUNTS`."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if count := _COUNTS.get(func):
            self.total += count(out, args[0], args[1])
        return out


def format_net(net: Net) -> str:
    """Return the net as code, without the settings that every net has, such as the activation."""
    every = fields(net)  # type: ignore[arg-type]  # every net is a dataclass
    names = [field.name for field in every if field.name not in _COMMON_SETTINGS]
    return f"{type(net).__name__}({', '.join(f'{name}={getattr(net, name)}' for name in names)})"
