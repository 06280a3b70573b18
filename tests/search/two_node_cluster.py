"""Start a Ray cluster of two nodes on this machine, and print its address.

A line `add` on standard input adds a node, any other one removes the second.
"""

import sys

from search.backends.ray_imports import ray  # noqa: F401

# isort: split
from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=1, wait=True)
    print(f"ADDRESS {cluster.address}", flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            cluster.add_node(num_cpus=1, wait=True)
            print("ADDED", flush=True)
            continue
        cluster.remove_node(second, allow_graceful=False)
        print("REMOVED", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
