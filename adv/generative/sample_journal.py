"""A journal of the images sampled so far, in a file beside the set, so that sampling can resume.

The first line identifies the job. Each batch follows as a record with a checksum.
"""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import torch

from adv.data.names import DataError
from adv.files import write_atomic
from adv.generative.npz_files import Chunk
from adv.shape import Shape

_HEAD = struct.Struct("<III")  # the batch's number, its images, the CRC-32 of what follows


def open_journal(path: Path, job: str, shape: Shape) -> int:
    """Return how many batches the journal holds, after removing one that was cut off.

    Args:
      path: the journal; started without a batch if there is none.
      job: identifies what is sampled; a word without a line break.
      shape: (c, h, w) of the images.

    Raises:
      DataError: the journal is of another job, or cannot be written.
    """
    line = f"{job}\n".encode()
    try:
        if not path.exists():
            write_atomic(path, line)
            return 0
        with path.open("rb") as file:
            if file.readline() != line:
                raise DataError(f"{path} was started with other flags: delete it to start anew")
            ends = [file.tell() for _ in _records(file, shape)]
        with path.open("r+b") as file:
            file.truncate(ends[-1] if ends else len(line))
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error
    return len(ends)


def append_batch(path: Path, number: int, chunk: Chunk) -> None:
    """Append a batch to the journal; numbers count from 0.

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


def read_batches(path: Path, shape: Shape) -> Iterator[Chunk]:
    """Yield the batches of images of a shape (c, h, w), in order."""
    with path.open("rb") as file:
        file.readline()
        yield from _records(file, shape)


def _records(file: BinaryIO, shape: Shape) -> Iterator[Chunk]:
    """Yield the records up to the first that is incomplete, damaged or out of order."""
    expected, pixels = 0, math.prod(shape)
    end = os.fstat(file.fileno()).st_size
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        number, count, crc = _HEAD.unpack(head)
        size = count * (pixels + 8)
        if number != expected or size > end - file.tell():
            return  # before a damaged count asks for terabytes
        content = file.read(size)
        if len(content) != size or zlib.crc32(content) != crc:
            return
        raw = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        images, labels = raw[: count * pixels], raw[count * pixels :].clone()
        yield images.view(count, *shape), labels.view(torch.int64)
        expected += 1
