"""Adapting nets from elsewhere: images in contiguous memory, and a copy that they may change.

Our layers and torch's work in any memory format and leave their input alone. Code of others may end
in `x.view(len(x), -1)`, which takes contiguous memory only, or normalise its argument in place,
which would spoil the images under attack.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

_protected: WeakSet[nn.Module] = WeakSet()  # whose hooks are in place: contexts may be nested
_changing: WeakSet[nn.Module] = WeakSet()  # of which was said that they change their images


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
    """Hand each part of the net that is not ours a contiguous copy of its images.

    If it changes the copy in place, a warning says so once.
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
        copies[:] = [args[0].clone(memory_format=torch.contiguous_format)]
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


def _package(module: nn.Module) -> str:
    """Return "adv", "torch.nn", or another name, by where the class of a module is defined."""
    names = type(module).__module__.split(".")
    return names[0] if names[0] == "adv" else ".".join(names[:2])
