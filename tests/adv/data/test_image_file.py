"""Decoding of image files from anybody: other formats, transparency, and limits."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageDraw, ImageFile

from adv.data import image_file
from adv.data.image_file import decode
from adv.data.names import DataError

WHITE = 255


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refuse(path: Path, said: str) -> None:
    with pytest.raises(DataError, match=said) as error:
        decode(str(path))
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


# --- formats ---


@pytest.mark.parametrize("kind", ["BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_the_content_decides_among_six_formats(tmp_path, kind):
    path = tmp_path / "image.png"
    path.write_bytes(encode(Image.new("RGB", (40, 40), (200, 100, 50)), kind))
    assert np.abs(decode(str(path))[:, 16, 16].astype(int) - [200, 100, 50]).max() <= 3


def test_postscript_is_never_executed(tmp_path, monkeypatch):
    """A file named .png that holds PostScript does not reach Ghostscript, installed or not."""
    calls = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *a, **k: calls.append(a))
    monkeypatch.setattr(shutil, "which", lambda *a, **k: "/usr/bin/gs")
    path = tmp_path / "image.png"
    path.write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n"
        b"(/written) (w) file (text) writestring showpage\n%%EOF\n"
    )
    refuse(path, "damaged, or not one of BMP, JPEG, PNG, PPM, TIFF, WEBP")
    assert calls == []


@pytest.mark.parametrize(
    "kind", ["EPS", "GIF", "PDF", "ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000"]
)
def test_other_formats_are_refused_whatever_their_suffix(tmp_path, kind):
    path = tmp_path / "image.png"
    path.write_bytes(encode(Image.new("RGB", (40, 40)), kind))
    refuse(path, "cannot be read as an image: damaged, or not one of BMP")


# --- transparency ---

Colour = int | tuple[int, ...]


def drawing(mode: str, clear: Colour, ink: Colour) -> Image.Image:
    image = Image.new(mode, (48, 48), clear)
    if mode in ("P", "PA"):
        image.putpalette([0, 0, 0] * 256)
    ImageDraw.Draw(image).rectangle((8, 10, 30, 40), fill=ink)
    return image


BLACK_ON_CLEAR = {
    "RGBA": encode(drawing("RGBA", (0, 0, 0, 0), (0, 0, 0, 255))),
    "RGBA webp": encode(drawing("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), "WEBP", lossless=True),
    "RGBA tiff": encode(drawing("RGBA", (0, 0, 0, 0), (0, 0, 0, 255)), "TIFF"),
    "LA": encode(drawing("LA", (0, 0), (0, 255))),
    "P, one colour": encode(drawing("P", 0, 1), transparency=0),
    "P, bytes": encode(drawing("P", 0, 1), transparency=bytes([3, 255])),
    "RGB with a key": encode(drawing("RGB", (9, 9, 9), (0, 0, 0)), transparency=(9, 9, 9)),
    "L with a key": encode(drawing("L", 9, 0), transparency=9),
}


@pytest.mark.parametrize("case", BLACK_ON_CLEAR)
def test_transparent_pixels_are_white(tmp_path, case):
    path = tmp_path / "image.png"
    path.write_bytes(BLACK_ON_CLEAR[case])
    pixels = decode(str(path))
    assert (pixels[:, 12:24, 8:18] == 0).all()
    assert (pixels[:, :5] >= 252).all() and (pixels[:, :, 23:] >= 252).all()


def test_a_palette_with_alpha_is_composited(tmp_path, monkeypatch):
    """No format that we read gives this mode today; Pillow's readers have changed modes before."""
    picture = drawing("PA", (0, 0), (0, 255))
    flat = image_file._flatten("image.png", picture)
    assert flat.getpixel((2, 2)) == (WHITE,) * 3 and flat.getpixel((20, 20)) == (0, 0, 0)


def test_half_transparent_colours_are_mixed_with_white(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "_BAND", 100)  # composited in several pieces
    path = tmp_path / "image.png"
    Image.new("RGBA", (40, 40), (200, 100, 0, 51)).save(path)
    assert decode(str(path))[:, 16, 16].tolist() == [244, 224, 204]


def test_an_alpha_channel_that_is_opaque_changes_nothing(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    rgb = Image.fromarray(pixels)
    rgb.save(tmp_path / "rgb.png")
    rgb.convert("RGBA").save(tmp_path / "rgba.png")
    assert (decode(str(tmp_path / "rgb.png")) == decode(str(tmp_path / "rgba.png"))).all()


def test_white_ink_on_a_transparent_ground_is_refused(tmp_path):
    path = tmp_path / "image.png"
    drawing("LA", (255, 0), (255, 255)).save(path)
    refuse(path, "transparent, and of a single colour over the white ground")


# --- limits ---


@pytest.mark.parametrize("kind", ["BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_large_images_are_refused_before_they_are_decoded(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 1599)
    path = tmp_path / "image.png"
    path.write_bytes(encode(Image.new("RGB", (40, 40)), kind))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    refuse(path, r"too large to be decoded \(40 x 40\): the limit is 0.001599 million pixels")


@pytest.mark.parametrize("side", [10_000, 30_000], ids=["pillow warns", "pillow refuses"])
def test_decompression_bombs_are_refused_in_one_line(tmp_path, side):
    """A header of 100 and of 900 million pixels; Pillow's own limits say so in their own way."""
    path = tmp_path / "image.bmp"
    small = encode(Image.new("L", (4, 4)), "BMP")
    path.write_bytes(small[:18] + 2 * side.to_bytes(4, "little") + small[26:])
    refuse(path, r"too large to be decoded.*: the limit is 50 million pixels")


def test_large_files_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_file, "MAX_BYTES", 2_000_000)
    path = tmp_path / "image.webp"
    with path.open("wb") as file:
        file.write(encode(Image.new("RGB", (40, 40)), "WEBP"))
        file.truncate(3_000_000)
    refuse(path, "3 MB, more than the limit of 2 MB for an image")


def test_a_jpeg_of_endless_passes_is_given_up(tmp_path, monkeypatch):
    """Three thousand refinements of the same pixels, in 27 kB."""
    content = encode(Image.new("L", (2000, 2000), 128), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    path = tmp_path / "image.jpg"
    path.write_bytes(content[:-2] + last * 3000 + b"\xff\xd9")
    monkeypatch.setattr(image_file, "MAX_SECONDS", 0.05)
    refuse(path, "not decoded within 0.05 seconds")


# --- damaged files ---

WHOLE = [
    encode(Image.effect_noise((40, 40), 50).convert("RGB"), kind)
    for kind in ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
] + [*BLACK_ON_CLEAR.values()]


@settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
@given(st.data())
@pytest.mark.filterwarnings("ignore:.*:UserWarning:PIL")
def test_damaged_files_are_decoded_or_refused_in_one_line(tmp_path, data):
    content = bytearray(data.draw(st.sampled_from(WHOLE)))
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "image.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    pixels, said = None, ""
    try:
        pixels = decode(str(path))
    except DataError as error:
        said = str(error)
    if pixels is None:
        assert said.startswith(str(path)) and "\n" not in said
    else:
        assert pixels.shape == (3, 32, 32) and pixels.dtype == np.uint8


# --- grey levels of few bits ---


def grey_png(bits: int, clear: int) -> bytes:
    """Return a PNG of 32 x 32 pixels in columns of rising levels, of which one is transparent."""
    levels = [column % 2**bits for column in range(32)]
    packed = int("".join(f"{level:0{bits}b}" for level in levels), 2).to_bytes(4 * bits, "big")

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (
            chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, bits, 0, 0, 0, 0)),
            chunk(b"tRNS", struct.pack(">H", clear)),
            chunk(b"IDAT", zlib.compress((b"\0" + packed) * 32)),
            chunk(b"IEND", b""),
        )
    )


@pytest.mark.parametrize(("bits", "clear"), [(b, c) for b in (2, 4, 8) for c in (0, 1, 2, 3)])
def test_the_transparent_level_of_a_grey_png_is_white(tmp_path, bits, clear):
    path = tmp_path / "image.png"
    path.write_bytes(grey_png(bits, clear))
    levels = np.arange(32) % 2**bits
    want = np.where(levels == clear, WHITE, levels * 255 // (2**bits - 1))
    assert (decode(str(path)) == want).all()


# --- TIFF ---


def tiff(tags: dict[int, int], content: bytes) -> bytes:
    """Return a grey TIFF whose pixels are `content`; the tags are whole numbers."""
    plain = {258: 8, 262: 1, 277: 1} | tags
    rows = [struct.pack("<HHII", tag, 4, 1, plain[tag]) for tag in sorted(plain)]
    directory = struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(content)) + content + directory


def test_a_tile_that_is_larger_than_its_image_is_refused(tmp_path, monkeypatch):
    """Else an image of 40 x 40 pixels takes gigabytes."""
    monkeypatch.setattr(image_file, "MAX_PIXELS", 4000)
    path = tmp_path / "image.tif"
    for side, fits in ((48, True), (64, False)):
        content = zlib.compress(bytes(side * side))
        tile = {322: side, 323: side, 324: 8, 325: len(content)}
        path.write_bytes(tiff({256: 40, 257: 40, 259: 8, **tile}, content))
        if fits:
            assert decode(str(path)).max() == 0
        else:
            refuse(path, r"too large to be decoded \(64 x 64\)")


def test_a_tiff_of_endless_passes_is_given_up(tmp_path, capfd):
    content = encode(Image.new("L", (200, 200), 128), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    content = content[:-2] + last * 200 + b"\xff\xd9"
    strip = {273: 8, 278: 200, 279: len(content)}
    path = tmp_path / "image.tif"
    path.write_bytes(tiff({256: 200, 257: 200, 259: 7, **strip}, content))
    refuse(path, "cannot be read as an image")
    assert "exceeds maximum scans" in capfd.readouterr().err
