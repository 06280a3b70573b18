"""The shape of the images that a net takes, kept with the net, for all that must make an image."""

from __future__ import annotations

from torch import nn

from adv.shape import DEFAULT_SHAPE, Shape


def set_image_shape(net: nn.Module, shape: Shape) -> nn.Module:
    """Note on a net that its images are [n, *shape], and return the net.

    It is an attribute and no buffer: copies keep it, the state dict does not hold it.
    """
    net.image_shape = shape  # type: ignore[assignment]  # neither a tensor nor a module
    return net


def image_shape(net: nn.Module) -> Shape:
    """Return the shape (channels, height, width) of a net's images; 3x32x32 unless noted."""
    shape: Shape = getattr(net, "image_shape", DEFAULT_SHAPE)
    return shape
