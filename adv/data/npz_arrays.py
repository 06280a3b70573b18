"""Read the arrays of an .npz file that may come from anybody, memory-mapped where possible.

numpy maps .npy files only, and unpacks whatever an archive holds. Here nothing is unpickled, and
what an array needs is known from the archive's listing and the array's header before it is read.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from adv.data.names import DataError
from adv.one_line import join_lines

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_UNPACKED = 4 * 2**30  # Bytes of a compressed array: 1,398,101 images of 32 x 32.
MAX_TEXT = 2**20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Those of numpy's two writers.


def read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Read shape, type and order of an array; the file is then positioned at its data."""
    with _without_warnings():
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype, fortran


def read_array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Return an array of the file, memory-mapped if it is stored uncompressed.

    Raises:
        DataError: the array is compressed and larger than `MAX_UNPACKED`, is compressed in a way
            that numpy does not write, or is not as long as its header says.
    """
    if info.compress_type not in _METHODS:
        raise DataError(
            f"{path}: {info.filename} is compressed by a method that numpy does not write: save it "
            "with np.savez or np.savez_compressed"
        )
    if info.compress_type == zipfile.ZIP_STORED:
        return _map_array(path, info)
    if info.file_size > MAX_UNPACKED:
        raise DataError(
            f"{path}: {info.filename} has {info.file_size / 2**30:,.1f} GiB unpacked, the limit is "
            f"{MAX_UNPACKED / 2**30:g}: save it with np.savez, which needs no unpacking"
        )
    with archive.open(info) as file:
        shape, dtype, _ = read_header(file)
        _check_length(path, info, file.tell(), shape, dtype)
    with archive.open(info) as file, _without_warnings():
        return np.lib.format.read_array(file, allow_pickle=False)


def read_text(archive: zipfile.ZipFile, key: str) -> str:
    """Return the text that is stored under `key`, or "" if there is none, or something else."""
    try:
        info = archive.getinfo(f"{key}.npy")
    except KeyError:
        return ""
    if info.file_size > MAX_TEXT or info.compress_type not in _METHODS:
        return ""
    content = io.BytesIO(archive.read(info))
    shape, dtype, _ = read_header(content)
    rest = len(content.getvalue()) - content.tell()
    if shape or dtype.kind != "U" or rest != dtype.itemsize:
        return ""
    content.seek(0)
    with _without_warnings():
        return str(np.lib.format.read_array(content, allow_pickle=False))


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence numpy's advice on headers that Python 2 wrote, which any file can bring about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def explain_damage(path: Path, error: Exception) -> str:
    """Return in one line that an .npz file is none or damaged, and what its reader says."""
    why = join_lines(str(error)) or type(error).__name__
    return f"{path}: not an .npz file, or a damaged one ({shorten(why)})"


def shorten(text: str, most: int = 200) -> str:
    """Cut a text from a file, so that a message stays readable."""
    return text if len(text) <= most else f"{text[:most]}..."


def _map_array(path: Path, info: zipfile.ZipInfo) -> NDArray[Any]:
    with path.open("rb") as file:
        # numpy maps .npy only. A zip entry begins with 30 bytes, the name and an extra field.
        file.seek(info.header_offset)
        name, extra = struct.unpack("<HH", file.read(30)[26:])
        file.seek(info.header_offset + 30 + name + extra)
        start = file.tell()
        shape, dtype, fortran = read_header(file)
        _check_length(path, info, file.tell() - start, shape, dtype)
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _check_length(
    path: Path, info: zipfile.ZipInfo, head: int, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    if head + math.prod(shape) * dtype.itemsize != info.file_size:
        raise DataError(f"{path}: {info.filename} is damaged: its length is not that in its header")
