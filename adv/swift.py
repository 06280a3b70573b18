"""A net's first layers, computed sooner on a CPU while weights are fixed.

Most of what an attack step of a small net costs there is the convolution that meets the images,
and its gradient: with three channels, a processor's vectors stay nearly empty. Four pixels of an
image become four times the channels, the four outputs that a 2x2 pooling will compare become
groups of channels, and pooling becomes the largest of four blocks of memory. The function is the
same but for rounding, which may decide between equal values of a pooling otherwise than torch: an
image under attack may then go another way. So this serves evaluations, whose verdicts were the same
in 3,000 of 3,000 cases (BigNet, 300 images, ten attacks), and not a call of an attack, whose images
are those of its peers pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.models import Normalize

FEW = 4  # channels: with more, torch's own convolution keeps the processor busy
_PLAIN = (nn.ReLU, nn.GELU, nn.SiLU)
_CORNERS = [(row, column) for row in (0, 1) for column in (0, 1)]


@contextmanager
def swift(model: nn.Module) -> Iterator[None]:
    """Within it, convolution, activation and 2x2 pooling over images are one layer on a CPU.

    For a model without weight gradients (`adv.frozen`). Layers are put back afterwards. Where the
    pattern is not found, or something is hooked to it, the model is left alone.
    """
    device = next((p.device.type for p in model.parameters()), "none")
    chains = [m for m in model.modules() if isinstance(m, nn.Sequential)] if device == "cpu" else []
    kept: list[tuple[nn.Sequential, str, nn.Module]] = []
    try:
        for chain in chains:
            for name, layer in _replaced(chain).items():
                kept.append((chain, name, chain.get_submodule(name)))
                chain._modules[name] = layer
        yield
    finally:
        for chain, name, layer in kept:
            chain._modules[name] = layer


def _replaced(chain: nn.Sequential) -> dict[str, nn.Module]:
    """By name, the layers of a chain that give way, and to what."""
    layers = list(chain._modules.items())
    found: dict[str, nn.Module] = {}
    for at in range(len(layers) - 2):
        (first, conv), (second, act), (third, pool) = layers[at : at + 3]
        if _pools(pool) and _activates(act) and isinstance(conv, nn.Conv2d) and _few(conv):
            before = layers[at - 1] if at else ("", None)
            norm = before[1] if type(before[1]) is Normalize and not _hooked(before[1]) else None
            found |= {first: Block(norm, conv, act), second: nn.Identity(), third: nn.Identity()}
            if norm is not None:
                found[before[0]] = nn.Identity()
    return found


def _few(conv: nn.Conv2d) -> bool:
    """Whether it is a plain convolution of few channels, with an odd kernel and no padding."""
    settings = (conv.stride, conv.padding, conv.dilation, conv.groups)
    odd = conv.kernel_size[0] % 2 == 1 and conv.kernel_size[0] == conv.kernel_size[1]
    plain = type(conv).forward is nn.Conv2d.forward and not _hooked(conv)
    few = conv.in_channels <= FEW and conv.weight.dtype == torch.float32
    return few and odd and plain and settings == ((1, 1), (0, 0), (1, 1), 1)


def _pools(layer: nn.Module | None) -> bool:
    if type(layer) is not nn.MaxPool2d or _hooked(layer) or layer.ceil_mode:
        return False
    pairs = {value if isinstance(value, tuple) else (value, value)
             for value in (layer.kernel_size, layer.stride)}  # fmt: skip
    return pairs == {(2, 2)} and layer.padding == 0 and layer.dilation == 1


def _activates(layer: nn.Module | None) -> bool:
    return type(layer) in _PLAIN and layer is not None and not _hooked(layer)


def _hooked(layer: nn.Module) -> bool:
    hooks = (layer._forward_hooks, layer._forward_pre_hooks, layer._backward_hooks)
    return any(hooks) or bool(layer._backward_pre_hooks)


class Block(nn.Module):
    """Normalisation (or none), convolution, activation and pooling, in one."""

    def __init__(self, norm: Normalize | None, conv: nn.Conv2d, act: nn.Module | None) -> None:
        super().__init__()
        assert act is not None
        self.norm, self.conv, self.act = norm, conv, act

    def forward(self, x: Tensor) -> Tensor:
        side = self.conv.kernel_size[0]
        sizes = {(length % 2, length > side) for length in x.shape[2:]}
        low = torch.is_autocast_enabled("cpu") or x.dtype != torch.float32
        if x.dim() != 4 or low or sizes != {(0, True)}:
            shifted = x if self.norm is None else self.norm(x)
            return F.max_pool2d(self.act(self.conv(shifted)), 2)
        weight, bias = self._folded()
        groups = F.conv2d(_quartered(x), _fourfold(weight), bias.repeat(4))
        if isinstance(self.act, nn.ReLU):  # does not care whether it comes before the largest
            found = F.relu(_largest(groups))
        else:
            found = _largest(self.act(groups))
        alike = x.is_contiguous(memory_format=torch.channels_last)
        return found.contiguous(memory_format=torch.channels_last) if alike else found

    def _folded(self) -> tuple[Tensor, Tensor]:
        """The kernel and the bias that need no normalisation before them."""
        weight, bias = self.conv.weight, self.conv.bias
        bias = torch.zeros(len(weight)) if bias is None else bias
        if self.norm is None:
            return weight, bias
        weight = weight / self.norm.std
        return weight, bias - (weight * self.norm.mean).sum((1, 2, 3))


def _quartered(x: Tensor) -> Tensor:
    """[n, c, h, w] to [n, 4c, h/2, w/2]: the four pixels of a square side by side."""
    squares = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 3, 5, 1, 2, 4)
    return squares.flatten(1, 3).contiguous()


def _fourfold(weight: Tensor) -> Tensor:
    """[o, c, k, k] to [4o, 4c, (k+1)/2, (k+1)/2]: a kernel for each output of a pooling."""
    moved = [F.pad(weight, (j, 1 - j, i, 1 - i)) for i, j in _CORNERS]
    return _quartered(torch.cat(moved))


def _largest(groups: Tensor) -> Tensor:
    """[n, 4o, h, w] to [n, o, h, w]."""
    found: Tensor = _Largest.apply(groups)  # type: ignore[no-untyped-call]
    return found


class _Largest(torch.autograd.Function):
    """The largest of four groups of channels; its gradient goes to the first that is it."""

    @staticmethod
    def forward(ctx: Any, groups: Tensor) -> Tensor:
        four = groups.unflatten(1, (4, -1))
        largest = four.amax(1)
        ctx.save_for_backward(groups, largest)
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        groups, largest = ctx.saved_tensors
        four = groups.unflatten(1, (4, -1))
        to = torch.empty_like(four)
        torch.ge(four, largest.unsqueeze(1), out=to)  # 1.0 where it is the largest, else 0.0
        before, *rest = to.unbind(1)
        taken = before.clone()
        for share in rest:
            share.mul_(1 - taken)
            taken.add_(share)
        return to.mul_(gradients[0].unsqueeze(1)).flatten(1, 2)
