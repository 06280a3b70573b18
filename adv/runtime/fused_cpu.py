"""Convolution, activation and 2x2 pooling of a small net as one layer, faster on a CPU.

Half of the time of an attack step on a small net is not arithmetic. The gradient with respect to
images of three channels leaves vector units nearly empty: here four pixels of an image become four
times the channels. 2x2 pooling reads one value after another, after an activation of four values of
which one is kept: here it compares blocks of memory, and selects before the activation. ReLU never
falls; GELU and SiLU fall to a single minimum and rise from there, so the largest of four values
lies at the largest or at the smallest of the four arguments.

The forward convolution is torch's own, in contiguous memory, and the same values are compared: the
net classifies every image as with the plain layers. (If all four arguments lie below -4, torch's
GELU is 0 but for rounding, and so is the difference.) Gradients differ by rounding.

Why this is worth patching a `forward`: docs/decisions/0014-fused-layers-on-the-cpu.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.runtime.devices import device_of
from adv.runtime.foreign_nets import memory_format_of
from adv.runtime.freed_memory import keep_freed_memory

MAX_CHANNELS = 4  # with more, torch's own input gradient keeps the processor busy
_CORNERS = [(row, column) for row in (0, 1) for column in (0, 1)]

Layer = Callable[[Tensor], Tensor]
aten = torch.ops.aten


@contextmanager
def fused_conv_pool(model: nn.Module) -> Iterator[torch.memory_format]:
    """Compute convolution, activation and 2x2 pooling as one layer, on a CPU in float32.

    This applies to each `nn.Sequential` that does so on images of up to `MAX_CHANNELS` channels,
    with stride 1, no padding and an odd kernel. The layers themselves are not changed, only the
    `forward` of their chain, until the context ends. Layers with hooks, and nets under an autocast,
    run as usual.

    Yields:
      The memory format in which the model computes fastest; the default one if it is not ours.
    """
    on_cpu = device_of(model).type == "cpu"
    if on_cpu:
        keep_freed_memory()
    applies = on_cpu and not torch.is_autocast_enabled("cpu")
    chains = [m for m in model.modules() if applies and isinstance(m, nn.Sequential)]
    fast = [
        m
        for m in chains
        if _is_plain(m) and any(group.sees_images for group in _conv_act_pools(m).values())
    ]
    changed = [chain for chain in fast if "forward" not in vars(chain)]
    try:
        for chain in changed:
            vars(chain)["forward"] = _FusedForward(chain)
        yield torch.contiguous_format if fast else memory_format_of(model)
    finally:
        for chain in changed:
            del vars(chain)["forward"]


@dataclass(frozen=True, eq=False)
class ConvActPool:
    """A convolution, an activation and a 2x2 max pooling in a row, none of them with hooks."""

    conv: nn.Conv2d
    act: nn.Module
    pool: nn.MaxPool2d

    @property
    def sees_images(self) -> bool:
        """True if the convolution has few input channels and can take four pixels at a time."""
        conv = self.conv
        settings = (conv.stride, conv.padding, conv.dilation, conv.groups)
        odd = conv.kernel_size[0] % 2 == 1 and conv.kernel_size[0] == conv.kernel_size[1]
        return odd and conv.in_channels <= MAX_CHANNELS and settings == ((1, 1), (0, 0), (1, 1), 1)

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return self.pool(self.act(self.conv(x)))
        x, weight = x.contiguous(), self.conv.weight.contiguous()
        even = all(side % 2 == 0 and side > self.conv.kernel_size[0] for side in x.shape[2:])
        attacked = x.requires_grad and not weight.requires_grad and torch.is_grad_enabled()
        if self.sees_images and even and attacked:
            return _FusedConvActPool.apply(x, weight, self.conv.bias, activation_of(self.act))
        y = self.conv._conv_forward(x, weight, self.conv.bias)
        if y.shape[2] % 2 or y.shape[3] % 2:
            return F.max_pool2d(activation_of(self.act).value(y), 2)
        if torch.is_grad_enabled() and y.requires_grad:
            return _FusedActPool.apply(y, activation_of(self.act))
        return _act_pool(y, activation_of(self.act))


class _FusedForward:
    """The `forward` of a chain whose convolutions, activations and poolings are fused."""

    def __init__(self, chain: nn.Sequential) -> None:
        groups: Mapping[int, Layer] = _conv_act_pools(chain)
        inside = {at + k for at in groups for k in (1, 2)}
        self.layers: list[Layer] = [
            groups.get(at, layer) for at, layer in enumerate(chain.children()) if at not in inside
        ]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _conv_act_pools(chain: nn.Sequential) -> dict[int, ConvActPool]:
    """Return the groups in a chain, by the index of the convolution."""
    layers = list(chain.children())
    groups: dict[int, ConvActPool] = {}
    for at in range(len(layers) - 2):
        conv, act, pool = layers[at : at + 3]
        if not (isinstance(conv, nn.Conv2d) and isinstance(pool, nn.MaxPool2d) and _halves(pool)):
            continue
        if isinstance(act, nn.ReLU | nn.GELU | nn.SiLU) and all(map(_is_plain, (conv, act, pool))):
            groups[at] = ConvActPool(conv, act, pool)
    return groups


def _halves(pool: nn.MaxPool2d) -> bool:
    settings = (pool.kernel_size, pool.stride)
    pairs = {value if isinstance(value, tuple) else (value, value) for value in settings}
    simple = pool.padding == 0 and pool.dilation == 1
    return pairs == {(2, 2)} and simple and not (pool.ceil_mode or pool.return_indices)


def _is_plain(layer: nn.Module) -> bool:
    """Return whether a layer runs torch's own forward, and has no hooks; a chain may have some."""
    kind: Any = next(kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn"))
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    hooked = any(hooks) or bool(layer._backward_pre_hooks)
    same = type(layer).forward is kind.forward
    return same and (not hooked or isinstance(layer, nn.Sequential))


class Activation(NamedTuple):
    """An activation function.

    Args:
      value: the function.
      backward: maps the gradient of the result and the argument to the gradient of the argument.
      monotone: True if it never falls.
    """

    value: Layer
    backward: Callable[[Tensor, Tensor], Tensor]
    monotone: bool = False


def activation_of(act: nn.Module) -> Activation:
    """Return the function of an activation layer, out of place even if the layer is in place."""
    if isinstance(act, nn.ReLU):
        return Activation(F.relu, lambda g, x: aten.threshold_backward(g, x, 0), monotone=True)
    if isinstance(act, nn.SiLU):
        return Activation(F.silu, aten.silu_backward)
    kind = str(act.approximate)
    return Activation(
        lambda x: F.gelu(x, approximate=kind),
        lambda g, x: aten.gelu_backward(g, x, approximate=kind),
    )


def _space_to_depth(x: Tensor) -> Tensor:
    """Map [n, c, h, w] to [n, 4c, h/2, w/2]: the four pixels of each 2x2 square become channels."""
    squares = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 3, 5, 1, 2, 4)
    return squares.flatten(1, 3).contiguous()


def _depth_to_space(groups: Tensor) -> Tensor:
    """Map [n, 4c, h, w] to [n, c, 2h, 2w], the inverse of `_space_to_depth`."""
    four = groups.unflatten(1, (4, -1)).unbind(1)
    n, c, h, w = four[0].shape
    whole = groups.new_empty(n, c, 2 * h, 2 * w)
    for (i, j), one in zip(_CORNERS, four, strict=True):
        whole[:, :, i::2, j::2] = one
    return whole


def _quad_kernel(weight: Tensor) -> Tensor:
    """Map [o, c, k, k] to [4o, 4c, (k+1)/2, (k+1)/2]: a kernel for each of four pixels."""
    shifted = [F.pad(weight, (j, 1 - j, i, 1 - i)) for i, j in _CORNERS]
    return _space_to_depth(torch.cat(shifted))


def _pool_activation(four: Tensor, act: Activation) -> tuple[Tensor, Tensor]:
    """Map [n, 4, c, h, w] to [n, c, h, w], twice: the largest activation, and its argument."""
    high = four.amax(1)
    top = act.value(high)
    if act.monotone:
        return top, high
    low = four.amin(1)
    other = act.value(low)
    # 1.0 or 0.0, at which `lerp` is exact; with booleans and `where` it takes three times as long.
    falls = torch.gt(other, top, out=torch.empty_like(top))
    return torch.maximum(top, other), torch.lerp(high, low, falls)


def _act_pool(y: Tensor, act: Activation) -> Tensor:
    """Map [n, c, h, w] to the largest activations of each 2x2 square, [n, c, h/2, w/2].

    Half the time of `_space_to_depth` and what follows it, but a gradient would not know its way.
    """
    top = act.value(_reduce_squares(torch.maximum, y))
    if act.monotone:
        return top
    return torch.maximum(top, act.value(_reduce_squares(torch.minimum, y)))


def _reduce_squares(reduce: Callable[[Tensor, Tensor], Tensor], y: Tensor) -> Tensor:
    """Reduce each 2x2 square of [n, c, h, w] to one value: first rows, which lie in one block."""
    rows = y.unflatten(2, (-1, 2))
    pairs = reduce(rows[:, :, :, 0], rows[:, :, :, 1])
    return reduce(pairs[..., ::2], pairs[..., 1::2])


def _route_gradient(four: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient [n, 4c, h, w], given to the first of the four that equals `at`."""
    to = torch.eq(four, at[:, None], out=torch.empty_like(four))  # 1.0 or 0.0
    size = at[0].numel()
    if bool((to.flatten(1).sum(1) == size).all()):  # no two are equal
        return to.mul_(gradient[:, None]).flatten(1, 2)
    rest = gradient
    others = torch.ne(four[:, :3], at[:, None], out=torch.empty_like(four[:, :3]))
    for left, share in zip(others.unbind(1), to.unbind(1), strict=False):
        torch.sub(rest, left.mul_(rest), out=share)
        rest = left
    to[:, 3] = rest
    return to.flatten(1, 2)


class _FusedActPool(torch.autograd.Function):
    """Activation and 2x2 pooling."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, act: Activation) -> Tensor:
        four = _space_to_depth(y).unflatten(1, (4, -1))
        value, at = _pool_activation(four, act)
        ctx.act = act
        ctx.save_for_backward(four, at)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        four, at = ctx.saved_tensors
        return _depth_to_space(_route_gradient(four, at, ctx.act.backward(gradients[0], at))), None


class _FusedConvActPool(torch.autograd.Function):
    """Convolution, activation and 2x2 pooling of images; only the images get a gradient.

    It is computed at a quarter of the size.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, act: Activation
    ) -> Tensor:
        four = _space_to_depth(F.conv2d(x, weight, bias)).unflatten(1, (4, -1))
        value, at = _pool_activation(four, act)
        ctx.act = act
        ctx.save_for_backward(four, at, weight)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        four, at, weight = ctx.saved_tensors
        groups = _route_gradient(four, at, ctx.act.backward(gradients[0], at))
        kernel = _quad_kernel(weight).flip(2, 3).transpose(0, 1).contiguous()
        return (
            _depth_to_space(F.conv2d(groups, kernel, padding=kernel.shape[-1] - 1)),
            None,
            None,
            None,
        )
