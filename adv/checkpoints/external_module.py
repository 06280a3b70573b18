"""Load a `torch.nn.Module` of another project: run its file, load its weights, check its outputs.

The file's code is run, as any Python file's. The weights are read as tensors, never unpickled.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from adv.attacks.gradient import loss_and_grad
from adv.checkpoints.state_dict import StateDict, read_state_dict
from adv.one_line import join_lines
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import RandomModule, is_random
from adv.suggestions import suggest


class SelfSeeding(RandomModule):
    """Wrap a module that draws from torch's global generator, and seed that at each call.

    The seed comes from `stream`, and the generator's state is restored after the call: an
    evaluation repeats the module's draws, and no other draws change.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        source = self.stream.on(torch.device("cpu"))
        seed = int(torch.randint(2**62, (1,), generator=source))
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            return self.model(x)


def load_module(spec: str) -> nn.Module:
    """Load the module that `FILE.py:NAME` names.

    Args:
      spec: `FILE.py:NAME`. NAME is a module, or a Module class or a function that returns a module,
        either of which is called without arguments.

    Raises:
      ValueError: in one line: no such file or name, the file or the call fails, or it returns no
        module.
    """
    file, sign, name = spec.rpartition(":")
    if not sign or not name.isidentifier():
        raise ValueError(f"--module {spec}: write FILE.py:NAME")
    module = _import_file(Path(file).expanduser())
    names = [key for key, value in vars(module).items() if callable(value) or _is_module(value)]
    if name not in names:
        raise ValueError(f"{file} has no {name!r} to call{suggest(name, names)}")
    found = getattr(module, name)
    try:
        net = found if _is_module(found) else found()
    except Exception as error:
        raise ValueError(f"{spec} fails: {_one_line(error)}") from error
    if not _is_module(net):
        raise ValueError(f"{spec} returns a {type(net).__name__}, not a torch.nn.Module")
    return net


def load_foreign_weights(net: nn.Module, path: Path, key: str | None = None) -> StateDict:
    """Load a state dict into a module, and return what was taken from the file.

    Args:
      net: the module.
      path: a state dict as .pth or .safetensors, see `read_state_dict`.
      key: the key of the state dict in the file, where several fit.

    Raises:
      ValueError: in one line: the file holds no state dict that fits, or several.
    """
    found = read_state_dict(path, net, key)
    try:
        net.load_state_dict(found.weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} does not fit the module: {_one_line(error)}") from error
    return found


class ForeignModule(nn.Module):
    """A module of another project, whose exceptions become a ValueError that names the batch."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        try:
            return self.model(x)
        except Exception as error:
            raise ValueError(
                f"the module fails on images {list(x.shape)} in [0, 1]: {_one_line(error)}"
            ) from error


def validate(
    net: nn.Module, images: Tensor, classes: int, *, random: bool = False, gradient: bool = False
) -> nn.Module:
    """Check the outputs of a net on a few images, then on one, and perhaps its gradient.

    Args:
      net: the net, on the device where it is to run.
      images: a few images [n, 3, h, w], floats in [0, 1], on that device.
      classes: how many outputs the net must have.
      random: treat the net as random even if two calls agree.
      gradient: whether the net must pass a gradient to the images.

    Returns:
      The net as a `ForeignModule`; in `SelfSeeding` if `random` is set or two calls differ, unless
      it is a random net that knows its stream already.

    Raises:
      ValueError: the net fails on these images, or its outputs have another shape or are not
        finite, or it passes no gradient.
    """
    module = ForeignModule(net)
    with frozen(module):
        with torch.no_grad():
            first, second = (_logits(module, images, classes) for _ in range(2))
            _logits(module, images[:1], classes)
        if gradient:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's, that a quantised layer has no gradient
                loss_and_grad(module, images, first.argmax(1))
    differ = not torch.allclose(first, second, rtol=1e-4, atol=1e-5)
    return SelfSeeding(module) if (random or differ) and not is_random(net) else module


def _logits(module: ForeignModule, images: Tensor, classes: int) -> Tensor:
    """Return the module's outputs; raise ValueError unless they are finite [n, classes]."""
    found = module(images)
    if not isinstance(found, Tensor) or found.shape != (len(images), classes):
        got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"the module returns {got}, expected [{len(images)}, {classes}], "
            f"for images {list(images.shape)}"
        )
    if not found.isfinite().all():
        raise ValueError(f"the module's outputs are not finite for images {list(images.shape)}")
    return found


def _import_file(path: Path) -> ModuleType:
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
        raise ValueError(f"{path} fails: {_one_line(error)}") from error
    return module


def _is_module(value: object) -> bool:
    return isinstance(value, nn.Module)


def _one_line(error: BaseException) -> str:
    """Return an error as one line of at most 300 characters."""
    return f"{type(error).__name__}: {join_lines(str(error))}"[:300]
