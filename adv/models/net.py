"""Common parts of all nets: the base class of settings, their checks, and normalisation."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from adv.shape import DEFAULT_SHAPE, Shape, format_shape
from adv.suggestions import suggest

Activation = Literal["relu", "gelu", "silu"]
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
MAX_PARAMETERS = 10**9  # 4 GiB of weights; the largest published WRN, 70-16, has a quarter of it
_CHUNK = 4096  # images counted at a time, which may lie in a file
MAX_COUNT = 10_000  # of layers, or of a width


class Net(ABC):
    """The settings of a net. Called with classes and image shape, it makes the module.

    The module maps images [n, *shape] in [0, 1] to logits [n, classes].
    """

    runs_code: ClassVar[bool] = False
    """True if making the net runs code of another project, which wants real tensors."""

    @abstractmethod
    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        """Return a new net, its weights drawn from torch's global generator (see `adv.build`).

        Args:
          classes: number of classes.
          shape: channels, height and width of the images.

        Raises:
          ValueError: the net cannot be made for such images.
        """


def make_net(net: Callable[..., nn.Module], classes: int, shape: Shape) -> nn.Module:
    """Call the settings of a net, or a function of the classes, which may leave the shape out."""
    try:
        inspect.signature(net).bind(classes, shape)
    except TypeError:
        return net(classes)
    return net(classes, shape)


class FittedModule(nn.Module, ABC):
    """Base class of modules that take statistics of the training images before the first epoch.

    Where `fixed` is set, the statistics were given, and are not taken from the images.
    """

    fixed: bool = False

    @abstractmethod
    def fit(self, images: Tensor) -> None:
        """Take the statistics of images [n, c, h, w], bytes."""


class Normalize(FittedModule):
    """Subtracts the mean of each channel and divides by the deviation; both are buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 0.5))
        self.register_buffer("std", torch.full((channels, 1, 1), 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def fit(self, images: Tensor) -> None:
        """Take mean and deviation from images [n, c, h, w], bytes."""
        # From counts of the 256 values: a copy of CIFAR in float64 would take a gigabyte.
        counts = torch.zeros(images.shape[1], 256, dtype=torch.int64, device=images.device)
        for some in images.split(_CHUNK):
            for channel, count in enumerate(counts):
                count += some[:, channel].reshape(-1).bincount(minlength=256)
        share = counts.double() / counts[0].sum()
        value = torch.arange(256, dtype=torch.float64, device=images.device) / 255
        mean = (share * value).sum(1, keepdim=True)
        std = (share * (value - mean) ** 2).sum(1).sqrt()
        self.mean.copy_(mean.reshape(-1, 1, 1))
        self.std.copy_(std.clamp(min=0.01).reshape(-1, 1, 1))


def activation(name: str) -> nn.Module:
    """Return a new activation layer.

    Raises:
      ValueError: there is no activation of this name.
    """
    if name not in _ACTIVATIONS:
        allowed = ", ".join(_ACTIVATIONS)
        near = suggest(name, _ACTIVATIONS)
        raise ValueError(f"activation must be one of {allowed}, got {name!r}{near}")
    return _ACTIVATIONS[name]()


def check_settings(activation_name: str, dropout: float) -> None:
    """Raise ValueError unless the activation is known and the dropout a probability below 1."""
    activation(activation_name)
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is a probability in [0, 1), got {dropout}")


def check_count(name: str, value: int, low: int = 1, high: int = MAX_COUNT) -> None:
    """Raise ValueError unless `value`, the setting `name`, is an integer from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise ValueError(f"{name} must be {low} or more, got {value}")
    if value > high:
        shown = value if value < 10**20 else "more than 1e20"
        raise ValueError(f"{name} must be {high} or less, got {shown}")


def check_parameters(net: Net, parameters: int) -> None:
    """Raise ValueError if a net would have more than `MAX_PARAMETERS` parameters.

    Checked when the settings are made, before anything is allocated.

    Args:
      net: the settings, for the message.
      parameters: about how many there would be.
    """
    if parameters > MAX_PARAMETERS:
        raise ValueError(
            f"{net} would have about {parameters:.2g} parameters: "
            f"at most {MAX_PARAMETERS:.0e} are possible"
        )


def check_side(net: Net, shape: Shape, least: int) -> None:
    """Raise ValueError if images have a side of fewer than `least` pixels."""
    if min(shape[1:]) < least:
        raise ValueError(
            f"{type(net).__name__} takes images of {least}x{least} pixels or more, got "
            f"{format_shape(shape)}: --image-size enlarges them"
        )
