"""Start a private cluster as a search does, print what it listens on, end when stdin closes."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search.backends import ray_tune
from search.backends.process_tree import list_descendants
from search.backends.ray_imports import ray


def hosts() -> Iterator[str]:
    """Yield the address of each TCP socket on which this process or one that it started listens."""
    import psutil  # which Ray brings along

    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        for link in process.net_connections("tcp"):
            if link.status == psutil.CONN_LISTEN:
                yield link.laddr.ip


def main() -> None:
    """See the module."""
    ray_tune.connect(None, project=Path.cwd())
    ray.get(ray.remote(lambda: 0).remote())  # so that there is a worker
    node: Any = ray._private.worker._global_node
    known = {
        "address": node.gcs_address,
        "folder": node.get_temp_dir_path(),
        "listening": list(hosts()),
        "processes": list_descendants(),
        "mode": os.environ.get("RAY_AUTH_MODE"),
        "token": os.environ["RAY_AUTH_TOKEN"],
    }
    print("CLUSTER", json.dumps(known), flush=True)
    sys.stdin.read()
    ray_tune.disconnect()


if __name__ == "__main__":
    main()
