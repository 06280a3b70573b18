"""A server that speaks like S3, on this machine, in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "of-a-test",
    "AWS_SECRET_ACCESS_KEY": "of-a-test-too",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_REGION": "us-east-1",
}
LIMIT = 60.0  # seconds in which it has to be up


class Server:
    """A server on a port of its own, which may be ended and started again."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, empty, and make the bucket `bucket`."""
        call = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + LIMIT
        while time.monotonic() < limit:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/moto-api/", timeout=5):
                break
            time.sleep(0.05)
        make = urllib.request.Request(f"{self.url}/bucket", method="PUT")
        urllib.request.urlopen(make, timeout=LIMIT).close()

    def stop(self) -> None:
        """End it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@contextmanager
def serve() -> Iterator[Server]:
    """Give a server for as long as the block runs."""
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.stop()
