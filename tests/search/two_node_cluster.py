"""Start a Ray cluster of two nodes on this machine, and print its address.

A line `add` on standard input adds a node, any other one removes the oldest but the head.
"""

import itertools
import sys
from typing import Any

from search.backends.ray_cluster import without_helpers

# isort: split
from ray.cluster_utils import Cluster


def main() -> None:
    with without_helpers():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    # Each unpacks the code of drivers into a folder of its own, as on another machine: a new node
    # replaces what it finds there.
    folders = (f"code{number}" for number in itertools.count())

    def add() -> Any:
        return cluster.add_node(num_cpus=1, wait=True, runtime_env_dir_name=next(folders))

    nodes = [add()]
    print(f"ADDRESS {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(add())
            print("ADDED", flush=True)
            continue
        cluster.remove_node(nodes.pop(0), allow_graceful=False)
        print("REMOVED", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
