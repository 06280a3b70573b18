"""Where runs are stored: a bucket of S3 or Google Cloud Storage, or a folder.

Nothing heavy is imported here. Keys never stand in a location: they come from the environment of
the process that opens it, or from the role of its machine.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from adv.one_line import to_one_line

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/+(.*)", re.DOTALL)
_SETTINGS = ("endpoint_override", "scheme", "region")  # of the query; no key is among them
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")  # which pyarrow does not read
KINDS = "s3://BUCKET/PATH, gs://BUCKET/PATH or a folder that all nodes share"


@dataclass(frozen=True)
class Location:
    """A folder in a store.

    Args:
      scheme: "s3", "gs", or "" for a folder of a file system.
      path: of the folder: BUCKET/PATH, or an absolute path.
      settings: endpoint and region of the store, by name.
      endpoint: the same from the environment of the driver, which is not shown.
    """

    scheme: str
    path: str
    settings: tuple[tuple[str, str], ...] = ()
    endpoint: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Return the location as the user may write it."""
        query = f"?{urlencode(self.settings, safe=':/')}" if self.settings else ""
        return f"{self.scheme}://{self.path}{query}" if self.scheme else self.path

    def child(self, name: str) -> Location:
        """Return the location of what lies in this folder."""
        return replace(self, path=f"{self.path}/{name}")

    def split(self) -> tuple[Location, str]:
        """Return the folder around this one, and the name of this one."""
        parent, _, name = self.path.rpartition("/")
        return replace(self, path=parent), name


def is_url(text: str | Path) -> bool:
    """Return whether a text is a URL, also if a path has made one slash of two."""
    return _SCHEME.match(str(text)) is not None


def parse_location(text: str | Path, flag: str = "--storage") -> Location:
    """Return the location that a user names.

    Args:
      text: s3://BUCKET/PATH, gs://BUCKET/PATH, each with settings such as
        `?endpoint_override=HOST:PORT&scheme=http`, or a folder.
      flag: that names it, for the message.

    Raises:
      ValueError: it is none of these, or holds a key.
    """
    found = _SCHEME.match(str(text))
    if not found:
        return Location("", os.path.abspath(text))
    scheme, rest = found[1].lower(), found[2]
    path, _, query = rest.partition("?")
    if "@" in path:
        raise ValueError(
            f"{flag} holds a key or a password: leave it out, and set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or GOOGLE_APPLICATION_CREDENTIALS, on each node"
        )
    if scheme == "file":
        return Location("", os.path.abspath(f"/{path}"))
    if scheme not in ("s3", "gs"):
        raise ValueError(f"{flag} {scheme}://: take {KINDS}")
    settings = parse_qsl(query, keep_blank_values=True)
    for name, _ in settings:
        if name not in _SETTINGS:
            raise ValueError(
                f"{flag}: no setting {to_one_line(name)!r} is allowed; there are: "
                f"{', '.join(_SETTINGS)}. Keys belong in the environment of each node"
            )
    path = re.sub("/+", "/", path).strip("/")
    if not path:
        raise ValueError(f"{flag} {scheme}:// names no bucket: take {KINDS}")
    return Location(scheme, path, tuple(settings))


def with_endpoint(location: Location) -> Location:
    """Return the location with the endpoint that the environment names, for a store like S3.

    So workers, whose environment is another one, use the same store as the driver.
    """
    url = next(filter(None, map(os.environ.get, _ENDPOINTS)), None)
    if location.scheme != "s3" or location.settings or not url:
        return location
    scheme, _, host = url.rpartition("://")
    settings = [("endpoint_override", host.rstrip("/")), ("scheme", scheme or "https")]
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return replace(location, endpoint=(*settings, ("region", region or "us-east-1")))
