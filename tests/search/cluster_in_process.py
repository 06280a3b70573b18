"""Connect the process of the tests itself to a private Ray cluster."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

TOKEN = secrets.token_hex(32)  # Ray reads it once in each process


@contextmanager
def connect_in_process(project: Path) -> Iterator[None]:
    """Connect to a private cluster while the block runs; the environment is as before afterwards.

    Ray writes to it that tokens are asked for. Processes that other tests start later, from a
    server that has read the settings of Ray before, would take it over.

    Args:
      project: folder with the code.
    """
    from search.backends import ray_tune

    with mock.patch.dict(os.environ, RAY_AUTH_TOKEN=TOKEN):
        ray_tune.connect(None, project=project)
        try:
            yield
        finally:
            ray_tune.disconnect()
