"""Figure 3 of the report: is a larger net more robust?

    python launch.py --space report_sizes

BaseNet, BigNet, WRN-16-10 (the "13 convolution layers and a width factor of 10") and ViTs named by
depth and embedding size, all under the report's curriculum and optimiser. The sizes of its ViTs
stand in the figure alone; these are the published ones of CCT (Hassani et al. 2021), with two
convolutions for the tokens. The report saw robustness grow with size where attacks are weak, and
thought its largest nets undertrained.

Two cores would take days for WRN-16-10, 2,412 million multiply-adds an image. The laptop scale
tries nets of the same kinds that it can train, WRN-10-1 and ViTs of 64 channels, in a few minutes;
their order says little about the large ones.
"""

from __future__ import annotations

import adv
from spaces import Choice, Space


def build(net: str) -> adv.Recipe:
    """The net of that name: basenet, bignet, wrn-DEPTH-WIDTH or vit-DEPTH-DIM."""
    if net in ("basenet", "bignet"):
        return adv.Recipe(net=adv.BaseNet() if net == "basenet" else adv.BigNet())
    kind, depth, size = net.split("-")
    if kind == "wrn":
        return adv.Recipe(net=adv.WRN(int(depth), int(size), activation="gelu"))
    return adv.Recipe(net=adv.ViT(int(depth), int(size), convolutions=2))


space = Space(
    question="Figure 3 of the report: is a larger net more robust?",
    knobs={
        "net": Choice(("basenet", "bignet", "wrn-16-10", "vit-2-128", "vit-4-128", "vit-6-256"))
    },
    laptop={"net": Choice(("basenet", "bignet", "wrn-10-1", "vit-2-64", "vit-3-64"))},
    build=build,
    grid=True,
)
