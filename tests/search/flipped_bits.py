"""Flip bits of files, as a failing disk or memory does."""

from pathlib import Path


def flip(content: bytes, bit: int) -> bytes:
    """Return the content with one bit flipped, counted from its start."""
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def flip_in_file(path: Path, bit: int) -> None:
    """Flip one bit of a file, counted from its start, modulo its length."""
    content = path.read_bytes()
    path.write_bytes(flip(content, bit % (8 * len(content))))
