"""The shape of images, channels x height x width, and how it is written on the command line.

Free of torch, so that a flag can be checked before anything slow is loaded.
"""

from __future__ import annotations

import re

Shape = tuple[int, int, int]

DEFAULT_SHAPE: Shape = (3, 32, 32)
"""The shape of digits and CIFAR, and of all images of a file that records none."""

MAX_SIDE = 1024
_WRITTEN = re.compile(r"(?:(\d{1,9})x)?(?:(\d{1,9})x)?(\d{1,9})")


def parse_image_size(text: str) -> tuple[int | None, int, int]:
    """Return channels (None: as the images have), height and width of a size.

    Args:
        text: `64` (a square), `48x64` (height x width) or `1x28x28` (channels x height x width;
            1 makes the images grey, 3 repeats a grey channel).

    Raises:
        ValueError: none of these, or a side of 0 or of more than `MAX_SIDE` pixels.
    """
    match = _WRITTEN.fullmatch(text.strip().lower())
    if not match:
        raise ValueError(
            f"no image size {text!r}: write 64 (a square), 48x64 (height x width) or 1x28x28 "
            "(channels x height x width)"
        )
    numbers = [int(number) for number in match.groups() if number is not None]
    height, width = (numbers * 2)[:2] if len(numbers) == 1 else numbers[-2:]
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(f"image size {text!r}: a side has 1 to {MAX_SIDE} pixels")
    channels = numbers[0] if len(numbers) == 3 else None
    if channels not in (None, 1, 3):
        raise ValueError(f"image size {text!r}: images have 1 channel (grey) or 3 (RGB)")
    return channels, height, width


def format_shape(shape: tuple[int, ...]) -> str:
    """Return a shape in words, such as 3x32x32."""
    return "x".join(map(str, shape))
