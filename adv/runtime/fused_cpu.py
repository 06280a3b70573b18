"""A small net's convolutions and poolings, computed sooner on a CPU.

Half of what an attack step of a small net takes there is not its arithmetic. The gradient with
respect to images of three channels leaves a processor's vectors nearly empty: here four pixels of
an image become four times the channels. 2x2 pooling looks at one value after another, behind an
activation of four values of which one is kept: here it compares blocks of memory, and chooses
before the activation. ReLU rises; GELU and SiLU fall to one lowest point and rise from there, so
the largest of four lies at the largest of four arguments, or at the smallest.

Forward, the convolution is torch's own, in contiguous memory, and the same values are compared: no
image goes another way than by the plain layers. (Where all four arguments lie below -4, torch's
GELU is 0 but for rounding, and so is the difference.) Gradients differ in rounding.
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

FEW = 4  # channels: with more, torch's own input gradient keeps the processor busy
_CORNERS = [(row, column) for row in (0, 1) for column in (0, 1)]

Layer = Callable[[Tensor], Tensor]
aten = torch.ops.aten


@contextmanager
def fused_conv_pool(model: nn.Module) -> Iterator[torch.memory_format]:
    """Within it, convolution, activation and 2x2 pooling are one layer, on a CPU in float32.

    In chains (`nn.Sequential`) that do so with images of up to `FEW` channels, stride 1, no padding
    and an odd kernel. The layers stay in their places and are left alone: a chain goes another way
    through them. Where something is hooked to a layer, or an autocast is on, it goes the plain way.

    Yields:
      The memory format in which the model takes images sooner.
    """
    ours = device_of(model).type == "cpu" and not torch.is_autocast_enabled("cpu")
    chains = [m for m in model.modules() if ours and isinstance(m, nn.Sequential)]
    quick = [m for m in chains if _own(m) and any(three.few for three in _triples(m).values())]
    changed = [chain for chain in quick if "forward" not in vars(chain)]
    try:
        for chain in changed:
            vars(chain)["forward"] = _Way(chain)
        yield torch.contiguous_format if quick else torch.channels_last
    finally:
        for chain in changed:
            del vars(chain)["forward"]


@dataclass(frozen=True, eq=False)
class Triple:
    """Convolution, activation and 2x2 pooling that follow each other, and nobody listens."""

    conv: nn.Conv2d
    act: nn.Module
    pool: nn.MaxPool2d

    @property
    def few(self) -> bool:
        """Whether it meets few channels, in a way that four pixels can be taken together."""
        conv = self.conv
        settings = (conv.stride, conv.padding, conv.dilation, conv.groups)
        odd = conv.kernel_size[0] % 2 == 1 and conv.kernel_size[0] == conv.kernel_size[1]
        return odd and conv.in_channels <= FEW and settings == ((1, 1), (0, 0), (1, 1), 1)

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
            return self.pool(self.act(self.conv(x)))
        x, weight = x.contiguous(), self.conv.weight.contiguous()
        even = all(side % 2 == 0 and side > self.conv.kernel_size[0] for side in x.shape[2:])
        attacked = x.requires_grad and not weight.requires_grad and torch.is_grad_enabled()
        if self.few and even and attacked:
            return _Seen.apply(x, weight, self.conv.bias, curve(self.act))
        y = self.conv._conv_forward(x, weight, self.conv.bias)
        if y.shape[2] % 2 or y.shape[3] % 2:
            return F.max_pool2d(curve(self.act).value(y), 2)
        return _Highest.apply(y, curve(self.act))


class _Way:
    """What a chain's `forward` becomes."""

    def __init__(self, chain: nn.Sequential) -> None:
        triples: Mapping[int, Layer] = _triples(chain)
        inside = {at + k for at in triples for k in (1, 2)}
        self.layers: list[Layer] = [
            triples.get(at, layer) for at, layer in enumerate(chain.children()) if at not in inside
        ]

    def __call__(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def _triples(chain: nn.Sequential) -> dict[int, Triple]:
    """Those in a chain, by the place of the convolution."""
    layers = list(chain.children())
    found: dict[int, Triple] = {}
    for at in range(len(layers) - 2):
        conv, act, pool = layers[at : at + 3]
        if not (isinstance(conv, nn.Conv2d) and isinstance(pool, nn.MaxPool2d) and _halves(pool)):
            continue
        if isinstance(act, nn.ReLU | nn.GELU | nn.SiLU) and all(map(_own, (conv, act, pool))):
            found[at] = Triple(conv, act, pool)
    return found


def _halves(pool: nn.MaxPool2d) -> bool:
    pairs = {value if isinstance(value, tuple) else (value, value)
             for value in (pool.kernel_size, pool.stride)}  # fmt: skip
    simple = pool.padding == 0 and pool.dilation == 1
    return pairs == {(2, 2)} and simple and not (pool.ceil_mode or pool.return_indices)


def _own(layer: nn.Module) -> bool:
    """Whether it is torch's own, and nobody listens to it; a chain may be listened to."""
    kind: Any = next(kind for kind in type(layer).__mro__ if kind.__module__.startswith("torch.nn"))
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    heard = any(hooks) or bool(layer._backward_pre_hooks)
    same = type(layer).forward is kind.forward
    return same and (not heard or isinstance(layer, nn.Sequential))


class Curve(NamedTuple):
    """An activation: its values, its gradient at arguments, and whether it never falls."""

    value: Layer
    back: Callable[[Tensor, Tensor], Tensor]
    rises: bool = False


def curve(act: nn.Module) -> Curve:
    """That of a layer, which may work in place; this one does not."""
    if isinstance(act, nn.ReLU):
        return Curve(F.relu, lambda g, x: aten.threshold_backward(g, x, 0), rises=True)
    if isinstance(act, nn.SiLU):
        return Curve(F.silu, aten.silu_backward)
    kind = str(act.approximate)
    return Curve(
        lambda x: F.gelu(x, approximate=kind),
        lambda g, x: aten.gelu_backward(g, x, approximate=kind),
    )


def _quartered(x: Tensor) -> Tensor:
    """[n, c, h, w] to [n, 4c, h/2, w/2]: the four pixels of a square side by side."""
    squares = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 3, 5, 1, 2, 4)
    return squares.flatten(1, 3).contiguous()


def _whole(groups: Tensor) -> Tensor:
    """[n, 4c, h, w] to [n, c, 2h, 2w]: the way back."""
    four = groups.unflatten(1, (4, -1)).unbind(1)
    n, c, h, w = four[0].shape
    found = groups.new_empty(n, c, 2 * h, 2 * w)
    for (i, j), one in zip(_CORNERS, four, strict=True):
        found[:, :, i::2, j::2] = one
    return found


def _fourfold(weight: Tensor) -> Tensor:
    """[o, c, k, k] to [4o, 4c, (k+1)/2, (k+1)/2]: a kernel for each output of a pooling."""
    moved = [F.pad(weight, (j, 1 - j, i, 1 - i)) for i, j in _CORNERS]
    return _quartered(torch.cat(moved))


def _pooled(four: Tensor, act: Curve) -> tuple[Tensor, Tensor]:
    """[n, 4, c, h, w] to [n, c, h, w], twice: the highest value, and where the curve has it."""
    high = four.amax(1)
    top = act.value(high)
    if act.rises:
        return top, high
    low = four.amin(1)
    other = act.value(low)
    # 1.0 or 0.0, at which `lerp` is exact; with booleans and `where` it takes three times as long.
    falls = torch.gt(other, top, out=torch.empty_like(top))
    return torch.maximum(top, other), torch.lerp(high, low, falls)


def _given(four: Tensor, at: Tensor, gradient: Tensor) -> Tensor:
    """[n, 4c, h, w]: the gradient, for the first of the four that is equal to `at`."""
    to = torch.eq(four, at[:, None], out=torch.empty_like(four))  # 1.0 or 0.0
    alone = at[0].numel()
    if bool((to.flatten(1).sum(1) == alone).all()):  # no two are equal
        return to.mul_(gradient[:, None]).flatten(1, 2)
    rest = gradient
    others = torch.ne(four[:, :3], at[:, None], out=torch.empty_like(four[:, :3]))
    for left, share in zip(others.unbind(1), to.unbind(1), strict=False):
        torch.sub(rest, left.mul_(rest), out=share)
        rest = left
    to[:, 3] = rest
    return to.flatten(1, 2)


class _Highest(torch.autograd.Function):
    """Activation and 2x2 pooling."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, act: Curve) -> Tensor:
        four = _quartered(y).unflatten(1, (4, -1))
        value, at = _pooled(four, act)
        ctx.act = act
        ctx.save_for_backward(four, at)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        four, at = ctx.saved_tensors
        return _whole(_given(four, at, ctx.act.back(gradients[0], at))), None


class _Seen(torch.autograd.Function):
    """The same behind a convolution of images, whose gradient it takes at a quarter of the size."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, act: Curve) -> Tensor:
        four = _quartered(F.conv2d(x, weight, bias)).unflatten(1, (4, -1))
        value, at = _pooled(four, act)
        ctx.act = act
        ctx.save_for_backward(four, at, weight)
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        four, at, weight = ctx.saved_tensors
        groups = _given(four, at, ctx.act.back(gradients[0], at))
        kernel = _fourfold(weight).flip(2, 3).transpose(0, 1).contiguous()
        return _whole(F.conv2d(groups, kernel, padding=kernel.shape[-1] - 1)), None, None, None
