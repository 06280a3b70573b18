"""A net of another project as a layer of ours: normalisation, logits, random numbers, errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from adv.external.source import hash_code, one_line
from adv.models.net import Normalize
from adv.runtime.random_streams import RandomModule


class NetError(ValueError):
    """A net of another project has raised an exception; the message is one line."""


class PixelInput(nn.Identity):
    """Marks where images in [0, 1] enter a net that normalises them itself."""


class ForeignNet(RandomModule):
    """Wraps a net of another project, so that it maps images in [0, 1] to logits in float32.

    Attributes:
      pixels: the normalisation, or a `PixelInput`.
      net: the module as its callable made it.
      name: the reference of the callable, for messages.
      stochastic: True if two calls in evaluation mode differ.
      draws: True if the net draws from torch's global generator in training. At each call in
        training mode, and in evaluation mode if it is `stochastic`, that generator is seeded from
        the net's stream and restored afterwards.
    """

    def __init__(self, net: nn.Module, pixels: nn.Module, name: str, maker: object = None) -> None:
        super().__init__()
        self.pixels, self.net = pixels, net
        self.name = name
        self.maker = maker
        self.stochastic = self.draws = False

    def forward(self, x: Tensor) -> Tensor:
        if not (self.stochastic or (self.draws and self.training)):
            return self._answer(x)
        source = self.stream.on(torch.device("cpu"))
        with _global_seed(int(torch.randint(2**62, (1,), generator=source)), x.device):
            return self._answer(x)

    def _answer(self, x: Tensor) -> Tensor:
        try:
            found = self.net(self.pixels(x))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            raise NetError(
                f"{self.name} fails on images {list(x.shape)} in [0, 1]: {one_line(error)}"
            ) from error
        return find_logits(found, self.name).float()

    def train(self, mode: bool = True) -> ForeignNet:
        """Set the mode; a net that has none, such as an exported program, keeps its own."""
        try:
            return super().train(mode)
        except NotImplementedError:
            return self

    def hash_source(self) -> str:
        """Return a SHA-256 over the source of the callable and the net's layers, "" for none."""
        return hash_code(self.maker, self.net)


def find_logits(found: Any, name: str) -> Tensor:
    """Return the logits in what a net returns.

    They are the tensor itself; else the attribute `logits`; of a mapping the entry "logits" or the
    only tensor; of a tuple or list the first entry.

    Raises:
      ValueError: there are none; `name` names the net.
    """
    if isinstance(found, Tensor):
        return found
    logits = getattr(found, "logits", None)
    if isinstance(found, Mapping) and logits is None:
        tensors = [value for value in found.values() if isinstance(value, Tensor)]
        logits = found.get("logits", tensors[0] if len(tensors) == 1 else None)
    elif isinstance(found, tuple | list) and found and logits is None:
        logits = found[0]
    if isinstance(logits, Tensor):
        return logits
    keys = f" with the keys {', '.join(map(str, found))}" if isinstance(found, Mapping) else ""
    raise ValueError(
        f"{name} returns a {type(found).__name__}{keys}, in which no logits are found: return a "
        "tensor [n, classes], or one under 'logits'"
    )


def fixed_normalisation(
    mean: tuple[float, ...], std: tuple[float, ...], channels: int
) -> nn.Module:
    """Return a normalisation by given numbers, which training leaves as they are.

    Args:
      mean: subtracted, one number for all channels or one for each.
      std: by which is divided, likewise.
      channels: of the images.

    Raises:
      ValueError: there are other numbers than channels.
    """
    layer = Normalize(channels)
    layer.fixed = True
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, channels):
            raise ValueError(
                f"{name} has {len(values)} numbers, and the images have {channels} channels"
            )
        numbers = torch.tensor(values, dtype=torch.float32).expand(channels)
        getattr(layer, name).copy_(numbers.reshape(-1, 1, 1))
    return layer


@contextmanager
def _global_seed(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators of the CPU and of one GPU; restore both on exit."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)  # `torch.manual_seed` reseeds the other GPUs too
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def foreign_parts(net: nn.Module) -> list[ForeignNet]:
    """Return the nets of other projects inside a net: none or one, unless nets are nested."""
    return [module for module in net.modules() if isinstance(module, ForeignNet)]
