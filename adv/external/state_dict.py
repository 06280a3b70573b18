"""Read the state dict of another project's net, in the layouts that public code saves.

Training code saves the weights beside other values, under a key such as "state_dict", "model" or
"ema", and with prefixes that DataParallel and `torch.compile` put before each name.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from adv.external.numpy_scalars import NUMPY_SCALARS
from adv.suggestions import suggest_or_list

_COMPILED, _PARALLEL = "_orig_mod.", "module."  # what torch.compile and DataParallel put in names
_COUNTER = "n_averaged"  # beside the weights of a `torch.optim.swa_utils.AveragedModel`
_AVERAGED = re.compile("ema|swa|avg|average", re.IGNORECASE)
_Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class StateDict:
    """The weights of a file under the names of a net, and the key that they were found under.

    `key` is "" for weights at the top level. `ignored` are further keys of the file that name an
    average of the weights and were not taken.
    """

    weights: _Weights
    key: str = ""
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Misfit:
    """How the weights of a file differ from those of a net.

    Args:
      missing: names of the net that the file lacks, but for BatchNorm's counters.
      unexpected: names of the file that the net lacks.
      shapes: names in both whose tensors have other shapes, with both shapes in words.
      head: those of `missing` and `shapes` that are the net's head: an output for each class, which
        the file has for another number of classes or not at all.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    shapes: Mapping[str, str] = field(default_factory=dict)
    head: tuple[str, ...] = ()

    @property
    def only_head(self) -> bool:
        """True if nothing but the head differs, or nothing at all."""
        return not self.unexpected and {*self.missing, *self.shapes} == {*self.head}

    def describe(self) -> str:
        """Return in words what differs, three names of each kind."""
        shapes = [f"{name} {text}" for name, text in self.shapes.items()]
        parts = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": shapes,
        }
        return "; ".join(
            f"{kind}: {_shorten_list(names)}" for kind, names in parts.items() if names
        )


def read_state_dict(
    path: Path, net: nn.Module, key: str | None = None, classes: int = 0
) -> StateDict:
    """Return the weights in a file under the names of a net.

    Args:
      path: .safetensors, or a file that `torch.save` wrote. It is read with `weights_only`: no code
        is run.
      net: the net; its names and shapes decide which state dict is meant, and which prefixes go.
      key: the key of the state dict, if the file holds several that fit.
      classes: of the net; a state dict that differs in the head only fits too.

    Raises:
      ValueError: in one line: there is no such file, it holds no state dict, or several that fit.
    """
    content = _load(path)
    found = _state_dicts(path, content, chosen=key is not None)
    if key is not None:
        if key not in found:
            known = suggest_or_list(key, [*filter(None, found)] or ["none"])
            raise ValueError(f"{path} has no state dict {key!r}{known}")
        found = {key: found[key]}
    named = {name: _rename(weights, net) for name, weights in found.items()}
    fitting = [name for name, weights in named.items() if compare(weights, net, classes).only_head]
    if len(fitting) > 1:
        raise ValueError(
            f"{path} holds several state dicts that fit: choose one with --weights-key, one of "
            + ", ".join(fitting)
        )
    if not fitting and len(named) > 1:
        raise ValueError(f"{path}: none of its state dicts fits the module: {', '.join(named)}")
    taken = fitting[0] if fitting else next(iter(named))
    others = [str(name) for name, value in content.items() if _is_average(name, value)]
    ignored = tuple(name for name in others if taken and key is None and name != taken)
    return StateDict(named[taken], taken, ignored)


def compare(weights: _Weights, net: nn.Module, classes: int = 0) -> Misfit:
    """Return how weights differ from those of a net, in names and shapes.

    Args:
      weights: under the names of the net.
      net: the net.
      classes: its number of outputs, by which its head is known; 0: there is no head.
    """
    wanted = {name: value for name, value in net.state_dict().items() if isinstance(value, Tensor)}
    missing = [
        name for name in wanted if name not in weights and not name.endswith("num_batches_tracked")
    ]
    unexpected = [
        name for name in weights if name not in wanted and not name.endswith("num_batches_tracked")
    ]
    shapes = {
        name: f"{list(weights[name].shape)} for {list(value.shape)}"
        for name, value in wanted.items()
        if name in weights and not is_lazy(value) and weights[name].shape != value.shape
    }

    def is_head(name: str) -> bool:
        own = wanted[name].shape
        if not (classes and len(own) and own[0] == classes):
            return False
        return name not in weights or weights[name].shape[1:] == own[1:]

    head = tuple(name for name in (*missing, *shapes) if is_head(name))
    return Misfit(tuple(missing), tuple(unexpected), shapes, head)


def _shorten_list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _load(path: Path) -> Mapping[Any, Any]:
    """Return what a file holds, which is a mapping."""
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace, *NUMPY_SCALARS]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        kind = re.search(r"Unsupported global: GLOBAL (\S+)", str(error))
        holds = f", without the {kind[1]} in it" if kind else ""
        raise ValueError(f"{path} holds no plain tensors: save a state_dict(){holds}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is not a state dict: it holds a {type(content).__name__}")
    return content


def _state_dicts(path: Path, content: Mapping[Any, Any], *, chosen: bool) -> dict[str, _Weights]:
    """Return the state dicts of a file by key: "" for the file itself, else inner mappings.

    Tensors beside an inner state dict are ignored only if its key was `chosen`.
    """
    if _is_state_dict(content):
        return {"": content}
    inner = {str(name): value for name, value in content.items() if _is_state_dict(value)}
    tensors = any(isinstance(value, Tensor) for value in content.values())
    if inner and (not tensors or chosen):
        return inner
    if not content:
        raise ValueError(f"{path} is not a state dict: it is empty")
    odd = next(k for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor)))
    kind = type(content[odd]).__name__
    keys = f"; --weights-key takes the one under {', '.join(inner)}" if inner else ""
    raise ValueError(f"{path} is not a state dict: {odd!r} is of type {kind}, not a tensor{keys}")


def _is_state_dict(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())
    )


def _is_average(name: object, value: object) -> bool:
    """Return whether an entry of a file looks like averaged weights."""
    return bool(_AVERAGED.search(str(name))) and isinstance(value, Mapping | list) and bool(value)


def _rename(weights: _Weights, net: nn.Module) -> _Weights:
    """Return the weights under the names of the net: without the prefixes that it does not have."""
    expected = net.state_dict().keys()
    if weights.keys() <= expected:
        return weights  # as it is, with the versions of its modules that torch notes beside it
    own = {_shorten(name): name for name in expected}
    short = {_shorten(name): value for name, value in weights.items()}
    if len(own) < len(expected) or len(short) < len(weights):
        return weights  # prefixes that tell one layer from another
    if _COUNTER in short and _COUNTER not in own:
        del short[_COUNTER]
    prefix = "" if own.keys() & short.keys() else _common_prefix(short, own)
    return {own.get(n := name.removeprefix(prefix), n): value for name, value in short.items()}


def _shorten(name: str) -> str:
    """Return a name without the prefixes of `torch.compile` and DataParallel."""
    name = name.replace(_COMPILED, "")
    while name.startswith(_PARALLEL):
        name = name.removeprefix(_PARALLEL)
    return name


def _common_prefix(names: Iterable[str], own: Iterable[str]) -> str:
    """Return the dotted prefix that all names have before a name of the net, or ""."""
    first, names = next(iter(own), ""), list(names)
    for name in names:
        prefix = name.removesuffix(first)
        if prefix.endswith(".") and all(other.startswith(prefix) for other in names):
            return prefix
    return ""
