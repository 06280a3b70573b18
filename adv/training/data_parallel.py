"""Data-parallel training: each rank passes its rows of every batch through the net.

Every rank holds the whole batch, the weights and the generators, and draws all random numbers of a
batch; only the passes through the net are split. A call of the net takes all rows, computes those
of the rank and returns the logits of all, and the gradient goes the same way back. So objectives,
attacks and augmentation see the batch that one process would see, and any number of ranks trains
the same net up to the rounding of sums.
Why not torch's wrapper: docs/decisions/0031-ranks-share-a-batch.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.instancenorm import _InstanceNorm

from adv.runtime.random_streams import Shard, set_shard
from adv.runtime.ranks import Ranks

_PLAIN = {nn.BatchNorm1d.forward, nn.BatchNorm2d.forward, nn.BatchNorm3d.forward}


def check_splittable(net: nn.Module) -> None:
    """Raise ValueError, in one line, if a layer would see that a batch is split."""
    for name, module in net.named_modules():
        why = ""
        if isinstance(module, _BatchNorm) and type(module).forward not in _PLAIN:
            why = "normalises by the statistics of a batch in a way of its own"
        elif isinstance(module, _InstanceNorm) and module.track_running_stats:
            why = "keeps running statistics of each rank's images"
        elif isinstance(module, _DropoutNd) and module.p > 0:
            why = "draws from the global generator: take adv's Dropout"
        if why:
            raise ValueError(
                f"this net cannot be trained on several ranks: layer {name or 'itself'} "
                f"({type(module).__name__}) {why}"
            )


@contextmanager
def split_batches(ranks: Ranks, *nets: nn.Module) -> Iterator[None]:
    """Let each call of these nets compute the rows of this rank only, until the block ends.

    Each weight gets the gradient of the whole batch, and BatchNorm in training mode normalises by
    the statistics of the whole batch.
    """
    if ranks.count == 1:
        yield
        return
    with ExitStack() as stack:
        for net in nets:
            rows: list[int] = []  # of the batch that a call is given
            for handle in (
                net.register_forward_pre_hook(functools.partial(_take_rows, ranks, rows)),
                net.register_forward_hook(functools.partial(_join_rows, ranks, rows)),
                *_sum_gradients(ranks, net),
            ):
                stack.callback(handle.remove)
            for module in net.modules():
                if isinstance(module, _BatchNorm):
                    vars(module)["forward"] = functools.partial(_batch_norm, ranks, module)
                    stack.callback(vars(module).pop, "forward")
        stack.callback(set_shard, None)
        yield


def _sum_gradients(ranks: Ranks, net: nn.Module) -> list[Any]:
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    return [weight.register_hook(ranks.sum) for weight in trained]


def _take_rows(ranks: Ranks, rows: list[int], _: nn.Module, args: tuple[Any, ...]) -> Any:
    x = args[0]
    rows.append(len(x))
    set_shard(Shard(len(x), ranks.rows(len(x))))
    return _Scatter.apply(x, ranks), *args[1:]


def _join_rows(ranks: Ranks, rows: list[int], _: nn.Module, __: Any, logits: Tensor) -> Any:
    set_shard(None)
    return _Gather.apply(logits, rows.pop(), ranks)


class _Scatter(torch.autograd.Function):
    """The rows of this rank, of rows that all ranks hold; gradients are gathered."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ranks: Ranks) -> Tensor:
        ctx.n, ctx.ranks = len(x), ranks
        mine = ranks.rows(len(x))
        return x[mine.start : mine.stop].clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Gather.apply(gradients[0], ctx.n, ctx.ranks), None


class _Gather(torch.autograd.Function):
    """All rows, of which each rank has some; the gradient of a rank is that of its own rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, n: int, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.gather(rows, n)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Scatter.apply(gradients[0], ctx.ranks), None, None


class _Sum(torch.autograd.Function):
    """The sum over the ranks, each of which goes on to use it for its own rows."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks.sum(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Sum.apply(gradients[0], ctx.ranks), None


def _batch_norm(ranks: Ranks, norm: _BatchNorm, x: Tensor) -> Tensor:
    """Do what a BatchNorm layer does, by the statistics of the rows of all ranks."""
    if not norm.training and norm.running_mean is not None:
        return type(norm).forward(norm, x)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    wide = x.float()
    count = ranks.sum(torch.tensor(float(x.numel() // x.shape[1]), device=x.device))
    mean = _Sum.apply(wide.sum(axes), ranks) / count
    centred = wide - mean.view(shape)
    variance = _Sum.apply(centred.square().sum(axes), ranks) / count
    _update_statistics(norm, mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
    scaled = centred * (variance + norm.eps).rsqrt().view(shape)
    if norm.weight is not None:
        scaled = scaled * norm.weight.view(shape)
    if norm.bias is not None:
        scaled = scaled + norm.bias.view(shape)
    return scaled.to(x.dtype)


@torch.no_grad()
def _update_statistics(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    if norm.running_mean is None or norm.running_var is None:
        return
    momentum = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:
            momentum = 1.0 / float(norm.num_batches_tracked)
    norm.running_mean.lerp_(mean, momentum or 0.0)
    norm.running_var.lerp_(variance, momentum or 0.0)
