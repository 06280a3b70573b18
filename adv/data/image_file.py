"""Decode an image file that may come from anybody: six formats, and limits of size and time.

Pillow reads over 40 formats by their content, whatever the file's suffix; one of them, EPS, runs
the program in the file with Ghostscript. Only the formats below are handed to it.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from typing import TYPE_CHECKING

import numpy as np

from adv.data.names import DataError
from adv.shape import DEFAULT_SHAPE, Shape

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
GROUND = (255, 255, 255)  # White, as in browsers: what is seen through transparent pixels.
MAX_PIXELS = 50_000_000
MAX_BYTES = 8 * MAX_PIXELS  # Four channels of 16 bits, uncompressed.
MAX_SECONDS = 30.0
_ORIENTATION = 0x0112  # A tag of EXIF; from 5 on, rows and columns are exchanged.
_BAND = 2**20  # Pixels composited at a time.
_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # Tags of TIFF.
_BLOCK = 4096  # Bytes decoded between two looks at the clock.


def decode(path: str, shape: Shape = DEFAULT_SHAPE) -> NDArray[np.uint8]:
    """Decode one image file to uint8 of a shape, whose channels are 3 (RGB) or 1 (grey).

    The first frame is converted to RGB, grey of 16 bits to 8, over `GROUND` where it is
    transparent, rotated as its EXIF tag says, cropped to the centre so that its sides have the
    proportion of `shape`, and resized (bilinear with antialiasing).

    Raises:
        DataError: not an image of one of `FORMATS`, or a damaged one; 32 bits per channel; more
            than `MAX_PIXELS` or `MAX_BYTES`; not decoded within `MAX_SECONDS`; or an image of
            which nothing is left over `GROUND`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _TimedFile(path) as file, warnings.catch_warnings():
            # Pillow warns of large images; `_check_size` refuses them.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                _check_size(path, image)
                image.decodermaxblock = _BLOCK
                _scale_transparent_grey(image)
                ImageOps.exif_transpose(image, in_place=True)
                opaque = _flatten(path, _to_8_bits(image))
                channels, height, width = shape
                small = ImageOps.fit(opaque, (width, height), method=Image.Resampling.BILINEAR)
                pixels = np.asarray(small if channels == 3 else small.convert("L"))
                return pixels.reshape(height, width, channels).transpose(2, 0, 1)
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_explain_size(path)) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path}: cannot be read as an image: damaged, or not one of {', '.join(FORMATS)}"
        ) from error
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error, ...
        why = str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image: {why}") from error


class _TimedFile(io.BufferedReader):
    """A file that raises DataError when it is read too late, or is too large to begin with.

    A small JPEG can hold thousands of passes over millions of pixels. No thread can stop Pillow
    from outside, but it reads such a file block by block. The other formats take a time that is
    proportional to the number of pixels, 50 million of them 6 seconds; a TIFF that holds such a
    JPEG is ended by its library after 100 passes.
    """

    def __init__(self, path: str) -> None:
        super().__init__(io.FileIO(path))
        self._path, self._deadline = path, time.monotonic() + MAX_SECONDS
        size = os.fstat(self.fileno()).st_size
        if size > MAX_BYTES:
            self.close()
            raise DataError(
                f"{path}: {size / 1e6:,.0f} MB, more than the limit of {MAX_BYTES / 1e6:,.0f} MB "
                "for an image"
            )

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self._deadline:
            raise DataError(f"{self._path}: not decoded within {MAX_SECONDS:g} seconds")
        return super().read(size)


def _check_size(path: str, image: Picture) -> None:
    sizes = [(image.width, image.height)]
    if tags := getattr(image, "tag_v2", None):  # A tile of a TIFF may be larger than the image.
        sizes.append((tags.get(_TILE_WIDTH, 0), tags.get(_TILE_HEIGHT, 0)))
    for width, height in sizes:
        if width * height > MAX_PIXELS:
            raise DataError(_explain_size(path, f" ({width:,} x {height:,})"))
    if image.mode in ("I", "F"):  # Pillow would clip these at 255, and their range is not known.
        raise DataError(f"{path}: 32 bits per channel; convert it to 8 or 16 bits")


def _explain_size(path: str, size: str = "") -> str:
    return (
        f"{path}: too large to be decoded{size}: the limit is {MAX_PIXELS / 1e6:g} million pixels"
    )


def _scale_transparent_grey(image: ImageFile) -> None:
    """Scale the transparent level of a grey PNG of 2 or 4 bits to 8: Pillow scales pixels only."""
    level, factors = image.info.get("transparency"), {"L;2": 85, "L;4": 17}
    if image.format == "PNG" and isinstance(level, int) and image.tile:
        factor = factors.get(str(image.tile[0].args), 1)
        image.info["transparency"] = min(255, level * factor)


def _flatten(path: str, image: Picture) -> Picture:
    """Return an image as RGB, composited over `GROUND` where it is transparent."""
    from PIL import Image

    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    flat = Image.new("RGB", image.size, GROUND)
    opacities: set[object] = set()
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):  # A copy of the whole would need as much memory again.
        box = (0, top, image.width, min(top + rows, image.height))
        band = image.crop(box).convert("RGBA")
        alpha = band.getchannel("A")
        flat.paste(band, box, mask=alpha)
        opacities.update(alpha.getextrema())
    if len(opacities) > 1 and _is_plain(flat):
        raise DataError(
            f"{path}: transparent, and of a single colour over the white ground that it is given: "
            "save it with a ground on which it can be seen"
        )
    return flat


def _to_8_bits(image: Picture) -> Picture:
    """Return grey of 16 bits as grey of 8: each level is scaled, where Pillow would clip it."""
    from PIL import Image

    if not image.mode.startswith("I;16"):
        return image
    levels = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((levels * 255 + 32767) // 65535).astype(np.uint8))


def describe_kind(path: str) -> tuple[tuple[int, int], str]:
    """Return the (height, width) of an image as it is shown, and what is special about the file.

    It is "16 bits", "CMYK", "palette", "transparent", "rotated by EXIF" or "", from its header.

    Raises:
        DataError: it cannot be read as an image.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(_ORIENTATION, 1)
            size = (image.width, image.height) if turned >= 5 else (image.height, image.width)
            if image.mode.startswith("I;16"):
                return size, "16 bits"
            if turned > 1:
                return size, "rotated by EXIF"
            if image.has_transparency_data:
                return size, "transparent"
            return size, {"CMYK": "CMYK", "P": "palette"}.get(image.mode, "")
    except Exception as error:  # Pillow's readers raise OSError, SyntaxError, struct.error, ...
        why = str(error) or type(error).__name__
        raise DataError(f"{path}: cannot be read as an image: {why}") from error


def to_rgb_or_grey(where: str, image: Picture) -> NDArray[np.uint8]:
    """Return a picture of Pillow as uint8 [c, h, w]: grey stays one channel, all others are RGB.

    Raises:
        DataError: 32 bits per channel; `where` names the picture.
    """
    if image.mode in ("I", "F"):
        raise DataError(f"{where} has 32 bits per channel; convert it to 8 or 16 bits")
    image = _to_8_bits(image)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))[None]
    return np.asarray(_flatten(where, image)).transpose(2, 0, 1)


def _is_plain(image: Picture) -> bool:
    """Return whether all pixels of an RGB image have the same colour."""
    return all(len(set(image.getchannel(colour).getextrema())) == 1 for colour in "RGB")
