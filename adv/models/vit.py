"""A compact convolutional transformer, CCT (Hassani et al. 2021, arXiv:2104.05704).

Its tokens come from convolutions, and sequence pooling stands in for the class token. Unlike the
published one it has no stochastic depth, and uses the common pre-norm residual block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.models.net import Net, Normalize, activation, check_count, check_parameters, check_settings
from adv.runtime.random_layers import Dropout
from adv.shape import DEFAULT_SHAPE, Shape

_HEAD = 64  # channels of an attention head, in each of the published sizes
_FILTERS = 64  # channels between two convolutions of the tokenizer


@dataclass(frozen=True)
class ViT(Net):
    """A compact convolutional transformer; depth 7 and dim 256 is CCT-7/3x1, 3.76 M parameters.

    An attention head has 64 channels; the hidden layer of a block has dim / 128 times `dim`
    channels, at least `dim`, as in the published sizes (128: 2 heads, 1x; 256: 4 heads, 2x; 384: 6
    heads, 3x). The report states depth and dim.

    Args:
      depth: transformer blocks, 1 or more.
      dim: size of the embedding, a multiple of 64.
      convolutions: 3x3 convolutions of the tokenizer, each pooled by two: 1 gives 256 tokens
        of 32x32 images, 2 gives 64, 3 gives 16.
      activation: "relu", "gelu" or "silu".
      dropout: probability on the embedded tokens and after each linear layer of a block except the
        one that computes queries, keys and values, in [0, 1).

    Raises:
      ValueError: a setting is unknown or out of its range.
    """

    depth: int = 6
    dim: int = 256
    convolutions: int = 1
    activation: str = "gelu"
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_settings(self.activation, self.dropout)
        check_count("depth", self.depth)
        check_count("dim", self.dim)
        if self.dim % _HEAD:
            nearest = max(_HEAD, _HEAD * round(self.dim / _HEAD))
            raise ValueError(
                f"dim must be a multiple of {_HEAD}, got {self.dim}: the nearest is {nearest}"
            )
        hidden = max(1, round(self.dim / 128))
        check_parameters(self, self.depth * (4 + 2 * hidden) * self.dim**2)
        if self.convolutions not in (1, 2, 3):
            raise ValueError(f"convolutions must be 1, 2 or 3, got {self.convolutions}")

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        height, width = (-(-side >> self.convolutions) for side in shape[1:])
        net = nn.Sequential(
            Normalize(shape[0]),
            nn.Sequential(*self._tokenizer(shape[0])),
            _Tokens(height * width, self.dim, self.dropout),
            *(_Block(self.dim, self.activation, self.dropout) for _ in range(self.depth)),
            *(nn.LayerNorm(self.dim), _Pool(self.dim)),
            nn.Linear(self.dim, classes),
        )
        for module in net.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        return net

    def _tokenizer(self, channels: int) -> Iterator[nn.Module]:
        widths = [channels, *[_FILTERS] * (self.convolutions - 1), self.dim]
        for before, after in pairwise(widths):
            yield nn.Conv2d(before, after, 3, padding=1, bias=False)
            yield activation(self.activation)
            yield nn.MaxPool2d(3, stride=2, padding=1)


class _Tokens(nn.Module):
    """Turns feature maps [n, dim, h, w] into tokens [n, h * w, dim], plus learned positions."""

    undecayed: tuple[str, ...] = ("positions",)

    def __init__(self, count: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(1, count, dim))
        nn.init.trunc_normal_(self.positions, std=0.2)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.dropout(x.flatten(2).transpose(1, 2) + self.positions)
        return tokens


class _Block(nn.Module):
    """Attention, then two linear layers; each after a LayerNorm, and with a shortcut."""

    def __init__(self, dim: int, act: str, dropout: float) -> None:
        super().__init__()
        hidden = dim * max(1, round(dim / 128))
        self.attention = nn.Sequential(nn.LayerNorm(dim), _Attention(dim), Dropout(dropout))
        self.linear = nn.Sequential(
            nn.LayerNorm(dim),
            *(nn.Linear(dim, hidden), activation(act), Dropout(dropout)),
            *(nn.Linear(hidden, dim), Dropout(dropout)),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        out: Tensor = x + self.linear(x)
        return out


class _Attention(nn.Module):
    """Self-attention of tokens [n, tokens, dim] (Vaswani et al. 2017)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, 3 * dim, bias=False)
        self.project_out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, dim = x.shape
        parts = self.project_in(x).reshape(n, tokens, 3, dim // _HEAD, _HEAD)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.project_out(mixed.transpose(1, 2).reshape(n, tokens, dim))
        return out


class _Pool(nn.Module):
    """Sequence pooling: the mean of the tokens [n, tokens, dim] by learned weights: [n, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.score = nn.Linear(dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.score(x).softmax(1) * x).sum(1)
