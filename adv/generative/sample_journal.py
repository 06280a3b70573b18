"""What a sampling has drawn so far, kept in a file beside the set: a killed one goes on there."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch

from adv.data.names import DataError
from adv.files import write_atomic
from adv.generative.npz_files import Chunk
from adv.generative.pixel_range import SIDE

_HEAD = struct.Struct("<III")  # the batch's number, its images, the CRC-32 of what follows
_PIXELS = 3 * SIDE**2


def open_journal(path: Path, mark: str) -> int:
    """How many batches the file holds; one that was cut off while it was written is removed.

    Args:
      path: begun with no batch if it is not there.
      mark: what is drawn, in a word without a line break.

    Raises:
      DataError: it is of another mark, or cannot be written.
    """
    line = f"{mark}\n".encode()
    try:
        if not path.exists():
            write_atomic(path, line)
            return 0
        with path.open("rb") as file:
            if file.readline() != line:
                raise DataError(f"{path} was begun with other flags: delete it to begin anew")
            ends = [file.tell() for _ in _records(file)]
        with path.open("r+b") as file:
            file.truncate(ends[-1] if ends else len(line))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    return len(ends)


def append_batch(path: Path, number: int, chunk: Chunk) -> None:
    """Write the batch of this number, from 0 on, behind the others.

    Raises:
      DataError: it cannot be written (a full disk).
    """
    images, labels = chunk
    content = images.contiguous().numpy().tobytes() + labels.numpy().tobytes()
    try:
        with path.open("ab") as file:
            file.write(_HEAD.pack(number, len(labels), zlib.crc32(content)) + content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_batches(path: Path) -> Iterator[Chunk]:
    """The batches, in their order."""
    with path.open("rb") as file:
        file.readline()
        yield from _records(file)


def _records(file: BinaryIO) -> Iterator[Chunk]:
    """All up to the first that is not whole, or not the next one."""
    wanted = 0
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        number, count, crc = _HEAD.unpack(head)
        size = count * (_PIXELS + 8)
        content = file.read(size)
        if number != wanted or len(content) != size or zlib.crc32(content) != crc:
            return
        held = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        images, labels = held[: count * _PIXELS], held[count * _PIXELS :].clone()
        yield images.view(count, 3, SIDE, SIDE), labels.view(torch.int64)
        wanted += 1
