"""Try a net of another project on a few images, before anything is done with it.

The trial calls make the weights of lazy layers, bring all weights to float32, and find out whether
the net draws random numbers.
"""

from __future__ import annotations

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from adv.external.foreign_net import ForeignNet, NetError
from adv.external.source import one_line
from adv.runtime.frozen import frozen
from adv.shape import Shape


def probe(net: ForeignNet, classes: int, shape: Shape) -> ForeignNet:
    """Try a net on images of a shape; return it ready for training and evaluation, on the CPU.

    Args:
      net: as it was made; it is changed.
      classes: how many outputs it must have.
      shape: channels, height and width of the images.

    Raises:
      ValueError: in one line: it fails, or its outputs have another shape or are not finite.
    """
    try:
        net = net.cpu()
    except (RuntimeError, NotImplementedError) as error:  # tensors without data
        raise ValueError(f"{net.name} cannot be moved to the CPU: {one_line(error)}") from error
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    if any(map(is_lazy, (*net.parameters(), *net.buffers()))):
        with torch.no_grad():
            net.eval()(images)  # makes the weights
        net.train()
    with torch.random.fork_rng(devices=[]):
        net = _try_in_float32(net, images, classes)
        _look_for_randomness(net, images)
    return net


def _try_in_float32(net: ForeignNet, images: Tensor, classes: int) -> ForeignNet:
    """Check the outputs of a net, with float32 weights or, if it needs its own type, as it is."""
    odd = sorted(str(tensor.dtype).removeprefix("torch.") for tensor in _not_float32(net))
    if not odd:
        _check_outputs(net, images, classes)
        return net
    original = copy.deepcopy(net)
    try:
        _check_outputs(net.float(), images, classes)
    except ValueError:
        try:
            _check_outputs(original, images, classes)
        except ValueError as error:
            raise ValueError(
                f"{error}; its weights are {odd[0]}: let it cast neither weights nor images, which "
                "are float32"
            ) from error
        return original
    warnings.warn(f"{net.name} has {odd[0]} weights: they are converted to float32", stacklevel=2)
    return net


def _not_float32(net: nn.Module) -> list[Tensor]:
    tensors: list[Tensor] = [*net.parameters(), *net.buffers()]
    return [
        tensor
        for tensor in tensors
        if not is_lazy(tensor) and tensor.is_floating_point() and tensor.dtype != torch.float32
    ]


def _check_outputs(net: ForeignNet, images: Tensor, classes: int) -> None:
    """Raise ValueError unless a net maps two images, and one, to finite outputs [n, classes]."""
    with frozen(net), torch.no_grad():
        try:
            first = _logits(net, images, classes)
        except NetError as error:
            raise ValueError(
                f"{error}; if their size is wrong, --image-size changes it, and --net-arg tells it "
                "the net"
            ) from error
        second = _logits(net, images, classes)
        _logits(net, images[:1], classes)
    net.stochastic = not torch.allclose(first, second, rtol=1e-4, atol=1e-5)


def _logits(net: ForeignNet, images: Tensor, classes: int) -> Tensor:
    found = net(images)
    if found.shape != (len(images), classes):
        raise ValueError(
            f"{net.name} returns {list(found.shape)}, expected [{len(images)}, {classes}], for "
            f"images {list(images.shape)}"
        )
    if not found.isfinite().all():
        raise ValueError(f"the outputs of {net.name} are not finite for images of noise")
    return found


def _look_for_randomness(net: ForeignNet, images: Tensor) -> None:
    """Note on a net whether it draws from torch's global generator in training mode."""
    before = torch.get_rng_state()
    buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
    try:
        with frozen(net), torch.no_grad():
            net.train()
            net(images)
    except Exception:  # a net that cannot be trained may be evaluated
        return
    finally:
        for buffer, value in buffers:
            buffer.copy_(value)
    net.draws = not torch.equal(before, torch.get_rng_state())
