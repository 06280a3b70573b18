"""Adapting nets from elsewhere: images in the memory that they take, and a copy to change.

Our layers and torch's work in any memory format and leave their input alone. Code of others may end
in `x.view(len(x), -1)`, which takes contiguous memory only, or normalise its argument in place,
which would spoil the images under attack.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from adv.runtime.random_streams import is_random

MAX_WEIGHTS = 5_000_000  # torch reorders those of convolutions at each call on channels_last images

_protected: WeakSet[nn.Module] = WeakSet()  # whose hooks are in place: contexts may be nested
_changing: WeakSet[nn.Module] = WeakSet()  # of which was said that they change their images
_formats: WeakKeyDictionary[nn.Module, torch.memory_format] = WeakKeyDictionary()  # once tried


def is_ours(net: nn.Module) -> bool:
    """Return whether a net consists of layers of `adv` and `torch.nn` only."""
    return all(_package(module) in {"adv", "torch.nn"} for module in net.modules())


def memory_format_of(net: nn.Module) -> torch.memory_format:
    """Return the memory format for the images and weights of a net.

    It is channels_last, in which convolutions run fastest, for our nets; and torch's default for
    others.
    """
    return torch.channels_last if is_ours(net) else torch.contiguous_format


@contextmanager
def protect_images(net: nn.Module) -> Iterator[None]:
    """Hand each part of the net that is not ours a copy of its images.

    The copy is contiguous, or channels_last where `_find_format` says so. If the part changes it in
    place, a warning says so once.
    """
    with ExitStack() as stack:
        for part in _foreign_parts(net):
            if part not in _protected:
                _protected.add(part)
                stack.callback(_protected.discard, part)
                for handle in _add_hooks(part):
                    stack.callback(handle.remove)
        yield


def _foreign_parts(net: nn.Module) -> Iterator[nn.Module]:
    """Yield the outermost modules that may need a copy of their input."""
    if _package(net) == "adv":
        for child in net.children():
            yield from _foreign_parts(child)
    elif not is_ours(net) or any(getattr(m, "inplace", False) is True for m in net.modules()):
        yield net


def _add_hooks(part: nn.Module) -> tuple[Any, Any]:
    """Add the hooks that copy the images of a call, and that look at the copy afterwards."""
    copies: list[Tensor] = []

    def copy(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args or not isinstance(args[0], Tensor):
            return None
        copies[:] = [args[0].clone(memory_format=_find_format(part, args[0]))]
        return (copies[0], *args[1:])

    def look(*_: object) -> None:
        given = copies.pop() if copies else None
        if given is None or given.is_inference() or part in _changing:
            return
        if given._version > 0:
            _changing.add(part)
            warnings.warn(
                f"{type(part).__name__} changes its images in place: it gets a copy at each call",
                stacklevel=2,
            )

    # Called through the class, since a ScriptModule refuses hooks, though its calls heed them.
    module: Any = nn.Module
    return module.register_forward_pre_hook(part, copy), module.register_forward_hook(part, look)


def _find_format(part: nn.Module, x: Tensor) -> torch.memory_format:
    """Return the memory format for the images [n, c, h, w] of a part that is not ours.

    Small convolutions and poolings of 32-bit images on a CPU run up to four times as fast in
    channels_last. A part gets it in evaluation if it has answered noise in both formats alike.
    """
    if part.training or x.dim() != 4 or x.device.type != "cpu" or x.dtype != torch.float32:
        return torch.contiguous_format
    layers = [module for module in part.modules() if module is not part]
    if any(layer._forward_pre_hooks or layer._forward_hooks for layer in layers):
        return torch.contiguous_format  # a hook would notice the trial, or refuse what it gets
    if part not in _formats:
        weights = sum(weight.numel() for weight in part.parameters())
        small = weights <= MAX_WEIGHTS and any(isinstance(m, nn.Conv2d) for m in layers)
        last = small and not is_random(part) and _takes_last(part, x)
        _formats[part] = torch.channels_last if last else torch.contiguous_format
    return _formats[part]


@torch.no_grad()
def _takes_last(part: nn.Module, x: Tensor) -> bool:
    """Return whether a part gives the same answers to contiguous and to channels_last images.

    A copy of it is asked, so that a net that counts or remembers its calls does not notice.
    """
    noise = torch.rand(2, *x.shape[1:], generator=torch.Generator().manual_seed(0))
    try:
        twin = copy.deepcopy(part)
        with torch.random.fork_rng(devices=[]):
            here, there = (
                twin.forward(noise.clone(memory_format=form))
                for form in (torch.contiguous_format, torch.channels_last)
            )
            return bool((here - there).abs().max() <= 1e-4 * here.abs().max())
    except Exception:  # of code that is not ours
        return False


def _package(module: nn.Module) -> str:
    """Return "adv", "torch.nn", or another name, by where the class of a module is defined."""
    names = type(module).__module__.split(".")
    return names[0] if names[0] == "adv" else ".".join(names[:2])
