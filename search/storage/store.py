"""Read and write whole files in a store, through the file systems of pyarrow."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, NamedTuple

from search.errors import StorageError, extract_last_line
from search.record.run_files import is_inside
from search.storage.location import Location

CONNECT, REQUEST, ATTEMPTS = 5, 60, 3  # seconds for each, and tries of each request
_PARTIAL = ".partial-"


class Entry(NamedTuple):
    """A file in a store.

    Args:
      name: relative to the folder of the store.
      size: in bytes.
      time: of its last change, in seconds since 1970 by the clock of the store.
    """

    name: str
    size: int
    time: float


class Store:
    """A folder in a store. A file is there as a whole or not at all.

    Args:
      location: of the folder.

    Raises:
      StorageError: pyarrow does not know the store.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        with self._translate("open"):
            self._files = _open(location.scheme, location.settings or location.endpoint)

    def read(self, name: str) -> bytes | None:
        """Return the content of a file, None if there is none.

        Raises:
          StorageError: it cannot be read.
        """
        with (
            self._translate("read", name),
            suppress(FileNotFoundError, NotADirectoryError),
            self._files.open_input_file(self._path(name)) as file,
        ):
            return bytes(file.readall())
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file; its folders are made.

        Raises:
          StorageError: it cannot be written; what was there before is still there.
        """
        path = self._path(name)
        with self._translate("write", name):
            if self.location.scheme:  # an object appears whole
                _write(self._files, path, content)
                return
            self._files.create_dir(path.rpartition("/")[0], recursive=True)
            partial = f"{path}{_PARTIAL}{os.getpid()}-{secrets.token_hex(4)}"
            try:
                _write(self._files, partial, content)
                self._files.move(partial, path)
            finally:
                with suppress(OSError):
                    self._files.delete_file(partial)

    def delete(self, name: str) -> None:
        """Delete a file; there may be none.

        Raises:
          StorageError: it cannot be deleted.
        """
        with self._translate("delete", name), suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))

    def list_files(self, folder: str = "") -> list[Entry]:
        """Return the files below a folder, sorted by name; none if there is no such folder.

        Names that lead out of the store are left out: a store may be a stranger's.

        Raises:
          StorageError: they cannot be listed.
        """
        from pyarrow import fs

        root = self._path(folder)
        with self._translate("list", folder):
            selector = fs.FileSelector(root, recursive=True, allow_not_found=True)
            found = self._files.get_file_info(selector)
        start = len(self.location.path) + 1
        return sorted(
            Entry(info.path[start:], info.size, info.mtime.timestamp())
            for info in found
            if info.is_file and _PARTIAL not in info.path and is_inside(info.path[start:])
        )

    def _path(self, name: str) -> str:
        return f"{self.location.path}/{name}" if name else self.location.path

    @contextmanager
    def _translate(self, verb: str, name: str = "") -> Iterator[None]:
        """Turn what pyarrow raises into a StorageError of one line."""
        try:
            yield
        except FileNotFoundError:
            raise  # no failure of the store, unless nobody expects it
        except (OSError, ValueError, NotImplementedError) as error:
            place = self.location.child(name) if name else self.location
            raise StorageError(f"cannot {verb} {place}: {_describe(error)}") from error


def _write(files: Any, path: str, content: bytes) -> None:
    # All in one call: an exception within the block would publish half of an object.
    with files.open_output_stream(path) as stream:
        stream.write(content)


def _describe(error: Exception) -> str:
    """Return why a store failed, without the details of its client library."""
    text = extract_last_line(error)
    return text.split(" (Request ID")[0].split("; Details:")[0]


@lru_cache(maxsize=8)
def _open(scheme: str, settings: tuple[tuple[str, str], ...]) -> Any:
    """Return the file system of a store; the keys are those of this process's environment."""
    from pyarrow import fs

    given: dict[str, Any] = dict(settings)
    if not scheme:
        return fs.LocalFileSystem()
    if scheme == "gs":
        from datetime import timedelta

        known = {name: given[name] for name in ("endpoint_override", "scheme") if name in given}
        anonymous = {"anonymous": True} if "endpoint_override" in known else {}
        return fs.GcsFileSystem(retry_time_limit=timedelta(seconds=REQUEST), **known, **anonymous)
    # In this process only. The library would look in the environment each time, from which a search
    # takes keys while it starts its workers.
    if os.environ.get("AWS_ACCESS_KEY_ID") and os.environ.get("AWS_SECRET_ACCESS_KEY"):
        given |= {
            "access_key": os.environ["AWS_ACCESS_KEY_ID"],
            "secret_key": os.environ["AWS_SECRET_ACCESS_KEY"],
            "session_token": os.environ.get("AWS_SESSION_TOKEN") or None,
        }
    open_s3: Callable[..., Any] = fs.S3FileSystem
    return open_s3(
        **given,
        connect_timeout=CONNECT,
        request_timeout=REQUEST,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,  # one request for a small file
    )
