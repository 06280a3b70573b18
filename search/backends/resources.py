"""The resources of a trial on Ray, and how many trials the nodes have room for.

Each worker imports this module to find `Resources.place`: it imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from search.backends.gpu_range import GpuRange
from search.backends.node_needs import NodeNeeds
from search.backends.ray_imports import tune
from search.backends.ray_nodes import ClusterError, list_alive_nodes

if TYPE_CHECKING:
    from search.backends.packing import Packer
    from search.study import Study

NODE_ID = "ray.io/node-id"  # a label that Ray gives each node


@dataclass(frozen=True)
class Resources:
    """The resources of one trial, or of another task.

    Args:
      cpus: cores.
      gpus: GPUs; fractions share one.
      concurrent: how many run at once at most; None: as many as fit.
      allowed: how many GPUs the autoscaler may be asked for; None: it is not asked.
      packed: whether an architecture's own needs change the share (`search.backends.packing`).
      ranks: how many processes train a trial together; they share its cores and GPUs evenly, and
        are on one node where it has room for all.
      needs: what each node of a cluster has to have; None: there is only this machine.
      unfit: ids of nodes that lack something, on which no trial runs any more.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    concurrent: int | None = None
    allowed: GpuRange | None = None
    packed: bool = False
    ranks: int = 1
    needs: NodeNeeds | None = None
    unfit: set[str] = field(default_factory=set, compare=False)

    @property
    def on_gpu(self) -> bool:
        """True if a trial has a GPU, or a share of one."""
        return self.gpus > 0

    def pack(self, study: Study) -> Packer | None:
        """Return what chooses the share of each trial; None if all trials have the same."""
        if not self.packed or self.gpus > 1:
            return None
        from search.backends.packing import Packer

        cores = max((n["Resources"].get("CPU", 0.0) for n in list_alive_nodes()), default=0.0)
        share, whole = (self.gpus, 1.0) if self.on_gpu else (self.cpus, max(cores, self.cpus))
        return Packer(study, share, whole, on_gpu=self.on_gpu)

    def place(self, config: Mapping[str, Any]) -> tune.PlacementGroupFactory:
        """Return the resources of a trial: of the share that its configuration names, if any.

        Tune calls this in a copy of the object, so the nodes to avoid are in the configuration too.
        The ranks of a trial are packed on one node where it has room for all.
        """
        bundle, share = self.bundle, config["share"]
        if share:
            bundle = _bundle(self.cpus, share) if self.on_gpu else _bundle(share, 0.0)
        bundles = [bundle] * self.ranks
        if not config["unfit"]:
            return tune.PlacementGroupFactory(bundles, strategy="PACK")
        elsewhere = {NODE_ID: f"!in({','.join(config['unfit'])})"}
        return tune.PlacementGroupFactory(
            bundles, strategy="PACK", bundle_label_selector=[elsewhere] * self.ranks
        )

    @property
    def bundle(self) -> dict[str, float]:
        """The resources of one rank of a trial."""
        return _bundle(self.cpus / self.ranks, self.gpus / self.ranks)

    def capacity(self) -> int:
        """Return how many trials the nodes of the cluster can hold at once, as it is now.

        Raises:
          ClusterError: no node can hold one, and none may be asked for.
        """
        alive = [node for node in list_alive_nodes() if node.get("NodeID") not in self.unfit]
        nodes = [node["Resources"] for node in alive]
        fits = sum(self._fit(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes)
        room = fits // self.ranks
        if room == 0 and self.allowed:
            return 1  # a trial that waits for a place is asked for, too
        if room == 0:
            have = ", ".join(f"{n.get('CPU', 0):g} CPUs {n.get('GPU', 0):g} GPUs" for n in nodes)
            needs = (
                f"{self.cpus:g} CPUs and {self.gpus:g} GPUs on one node"
                if self.ranks == 1
                else f"{self.ranks} times {self.cpus / self.ranks:g} CPUs and "
                f"{self.gpus / self.ranks:g} GPUs"
            )
            raise ClusterError(
                f"a trial needs {needs}, the cluster's nodes have: "
                f"{have or 'nothing, no node is left'}"
            )
        return room if self.concurrent is None else max(1, min(room, self.concurrent))

    def _fit(self, cpus: float, gpus: float) -> int:
        """Return how many ranks of trials a node has room for."""
        bounds, cpu, gpu = [10_000], self.cpus / self.ranks, self.gpus / self.ranks
        if cpu > 0:
            bounds.append(int(cpus / cpu + 1e-6))
        if 0 < gpu < 1:  # a rank never spans two halves of different GPUs
            bounds.append(int(gpus) * int(1 / gpu + 1e-6))
        elif gpu:
            bounds.append(int(gpus / gpu + 1e-6))
        return min(bounds)


def _bundle(cpus: float, gpus: float) -> dict[str, float]:
    return {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
