"""Read the arrays of an .npz file, memory-mapped where possible: numpy itself maps .npy only."""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from adv.data.names import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Read shape, type and order of an array; the file is then positioned at its data."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype, fortran


def read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array of the file, memory-mapped if it is stored uncompressed."""
    if info.compress_type != zipfile.ZIP_STORED:
        with archive.open(info) as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    with path.open("rb") as file:
        # numpy maps .npy only. A zip entry begins with 30 bytes, the name and an extra field.
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(30)[26:])
        file.seek(info.header_offset + 30 + name + extra)
        start = file.tell()
        shape, dtype, fortran = read_header(file)
        if file.tell() - start + math.prod(shape) * dtype.itemsize != info.file_size:
            raise DataError(
                f"{path}: {info.filename} is damaged: its length is not that in its header"
            )
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")
