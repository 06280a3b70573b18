"""A net of another project as a value of a recipe: timm, torchvision, a file of your own."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import nn

from adv.external.foreign_net import ForeignNet, PixelInput, fixed_normalisation
from adv.external.probe import probe
from adv.external.source import one_line, parse_reference, resolve
from adv.models.net import Net
from adv.shape import DEFAULT_SHAPE, Shape

# Arguments by which public callables take the number of classes and the shape of the images.
_CLASSES = ("num_classes", "classes", "n_classes", "nclasses", "num_labels")
_SHAPES = ("image_shape", "input_shape", "img_shape", "shape")
_SIZES = ("image_size", "img_size")
_CHANNELS = ("in_chans", "in_channels", "input_channels", "num_channels")


@dataclass(frozen=True)
class External(Net):
    """A net of another project, named by the callable that makes it.

    Making the net runs the code that `source` names. The callable is given `kwargs` and, where it
    has arguments for them, the number of classes (`num_classes`, `classes`, `num_labels`), the
    channels (`in_chans`, `in_channels`) and the size (`image_size`, `img_size`, `image_shape`) of
    the images. To a callable that takes any keyword `num_classes` is passed, if it accepts it.

    The net must map images [n, *shape] to logits [n, classes]: a tensor, an object with `.logits`,
    a mapping with "logits", or a tuple that begins with them. It is tried on a few images.

    Args:
      source: `package.module:callable`, or `path.py:callable`. A relative path starts at the
        current folder, and is made absolute.
      kwargs: arguments of the callable by name: literals, and lists, tuples and dictionaries of
        them.
      mean: subtracted from the images in [0, 1] before the net: a number for all channels or one
        for each. None: the net takes images in [0, 1].
      std: by which they are divided then; given together with `mean`.

    Raises:
      ValueError: `source` is no such reference, an argument is no literal, or mean and std do not
        fit together; on a call, in one line: the callable fails, it returns no module, or the
        module does not classify such images.
    """

    source: str
    kwargs: Mapping[str, Any] = field(default_factory=dict, hash=False)
    mean: float | tuple[float, ...] | None = None
    std: float | tuple[float, ...] | None = None

    runs_code: ClassVar[bool] = True

    def __post_init__(self) -> None:
        place, name = parse_reference(self.source)
        object.__setattr__(self, "source", f"{place}:{name}")
        for key, value in self.kwargs.items():
            if not isinstance(key, str) or not _is_literal(value):
                raise ValueError(
                    f"an argument of {self.source} is a literal, got {key}={value!r:.80}"
                )
        object.__setattr__(self, "kwargs", copy.deepcopy(dict(self.kwargs)))
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given together, or neither is")
        for setting in ("mean", "std"):
            _set_numbers(self, setting)
        if isinstance(self.std, tuple) and min(self.std) <= 0:
            raise ValueError(f"std is above 0, got {min(self.std)}")

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # the first import may draw, a later one does not
            maker = resolve(self.source)
        net = self._make(maker, classes, shape)
        if not isinstance(net, nn.Module):
            raise ValueError(f"{self.source} returns a {type(net).__name__}, not a torch.nn.Module")
        pixels: nn.Module = PixelInput()
        if isinstance(self.mean, tuple) and isinstance(self.std, tuple):
            pixels = fixed_normalisation(self.mean, self.std, shape[0])
        known = type(maker) if isinstance(maker, nn.Module) else maker
        return probe(ForeignNet(net, pixels, self.source, known), classes, shape)

    def _make(self, maker: Any, classes: int, shape: Shape) -> Any:
        if isinstance(maker, nn.Module):
            return copy.deepcopy(maker)  # training must not change the original
        given = {**_suited_arguments(maker, self.kwargs, classes, shape), **self.kwargs}
        try:
            try:
                return maker(**given)
            except TypeError as error:
                if "num_classes" in self.kwargs or "num_classes" not in str(error):
                    raise
                given.pop("num_classes", None)
                return maker(**given)
        except (Exception, SystemExit) as error:
            raise ValueError(f"{self.source} fails: {one_line(error)}") from error


def _suited_arguments(
    maker: Any, given: Mapping[str, Any], classes: int, shape: Shape
) -> dict[str, Any]:
    """Return the class count and the image shape under the names by which a callable takes them."""
    try:
        parameters = inspect.signature(maker).parameters.values()
    except (TypeError, ValueError):  # built in
        return {}
    names = {
        one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
    }
    channels, height, width = shape
    size = height if height == width else (height, width)
    found: dict[str, Any] = {}
    for known, value in (
        (_CLASSES, classes),
        (_SHAPES, shape),
        (_SIZES, size),
        (_CHANNELS, channels),
    ):
        if not given.keys() & set(known):
            found |= {name: value for name in known if name in names}
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    if takes_any and not (given.keys() | found.keys()) & set(_CLASSES):
        found["num_classes"] = classes
    return found


def _is_literal(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_literal(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_literal, value))
    return value is None or isinstance(value, str | int | float | bool)


def _set_numbers(net: External, setting: str) -> None:
    """Make one number of a normalisation a tuple; raise ValueError unless all are finite."""
    value = getattr(net, setting)
    if value is None:
        return
    numbers = (value,) if isinstance(value, int | float) else tuple(value)
    if not numbers or not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        raise ValueError(f"{setting} is a number for each channel, got {value!r}")
    object.__setattr__(net, setting, tuple(map(float, numbers)))
