"""Any `torch.nn.Module` as a net to judge: made from a file, filled, and looked at before use.

The file's code runs, as with any Python file. Its weights are read as tensors, never unpickled.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from adv.runtime.frozen import frozen
from adv.runtime.random_streams import Stream, is_random
from adv.suggestions import suggest


class Declared(nn.Module):
    """A random module that does not say so: it draws from torch's global generator.

    Each call lends it that generator with a seed from `stream`, and puts it back: so an evaluation
    repeats its draws, and nobody else's draws change.
    """

    stochastic = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.stream = Stream()

    def forward(self, x: Tensor) -> Tensor:
        source = self.stream.on(torch.device("cpu"))
        seed = int(torch.randint(2**62, (1,), generator=source))
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            return self.model(x)


def made(spec: str, weights: Path | None = None) -> nn.Module:
    """The module that `FILE.py:NAME` names.

    NAME is a Module class, a function that gives a module, both called without arguments, or a
    module. `weights` is a state dict as .pth (also under the key "state_dict") or .safetensors.

    Raises:
      ValueError: no such file or name, the file or the call fails, it gives no module, or the
        weights do not fit; in one line.
    """
    file, sign, name = spec.rpartition(":")
    if not sign or not name.isidentifier():
        raise ValueError(f"--module {spec}: it is FILE.py:NAME")
    module = _loaded(Path(file).expanduser())
    names = [key for key, value in vars(module).items() if callable(value) or _is_net(value)]
    if name not in names:
        raise ValueError(f"{file} has no {name!r} to call{suggest(name, names)}")
    found = getattr(module, name)
    try:
        net = found if _is_net(found) else found()
    except Exception as error:
        raise ValueError(f"{spec} fails: {_said(error)}") from error
    if not _is_net(net):
        raise ValueError(f"{spec} gives a {type(net).__name__}, not a torch.nn.Module")
    return _filled(net, weights) if weights is not None else net


def checked(net: nn.Module, images: Tensor, classes: int, random: bool = False) -> nn.Module:
    """The net, declared as random where `random` says so or two calls differ.

    Args:
      net: what to look at, on the device where it shall run.
      images: a few, [n, 3, h, w] float in [0, 1], on that device.
      classes: how many outputs it must have.
      random: whether it is known to be random.

    Raises:
      ValueError: it fails on these images, or its outputs have another shape or are not finite.
    """
    with frozen(net), torch.no_grad():
        try:
            first, second = net(images), net(images)
        except Exception as error:
            raise ValueError(
                f"the module fails on images {list(images.shape)} in [0, 1]: {_said(error)}"
            ) from error
    if not isinstance(first, Tensor) or first.shape != (len(images), classes):
        got = list(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise ValueError(f"wanted outputs [{len(images)}, {classes}], the module gives {got}")
    if not first.isfinite().all():
        raise ValueError("the module's outputs are not finite")
    differ = not torch.allclose(first, second, rtol=1e-4, atol=1e-5)
    return Declared(net) if (random or differ) and not is_random(net) else net


def _loaded(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"no file {path}")
    spec = importlib.util.spec_from_file_location(f"_module_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file: its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look there
    sys.path.insert(0, str(path.parent.resolve()))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} fails: {_said(error)}") from error
    return module


def _filled(net: nn.Module, path: Path) -> nn.Module:
    try:
        net.load_state_dict(_tensors(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the module: {_said(error)}") from error
    return net


def _tensors(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise ValueError(f"no weights at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        plain = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways
        raise ValueError(f"{path} holds no plain tensors: save a state_dict()") from error
    inner = plain.get("state_dict", plain) if isinstance(plain, Mapping) else None
    if not isinstance(inner, Mapping) or not all(isinstance(v, Tensor) for v in inner.values()):
        raise ValueError(f"{path} is not a state dict")
    return inner


def _is_net(value: object) -> bool:
    return isinstance(value, nn.Module)


def _said(error: BaseException) -> str:
    """An error in one short line."""
    lines = " ".join(str(error).split())
    return f"{type(error).__name__}: {lines}"[:300]
