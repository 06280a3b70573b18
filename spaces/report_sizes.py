"""Figure 3 of the report: is a larger net more robust?

    python launch.py --space report_sizes

BaseNet, BigNet, WRN-16-10 (the "13 convolution layers and a width factor of 10") and ViTs named by
depth and embedding size, all with the report's curriculum and optimiser. The report gives the sizes
of its ViTs in the figure only; these are the published ones of CCT (Hassani et al. 2021), with two
convolutions for the tokens. In the report robustness grows with size under weak attacks, and the
largest nets may be undertrained.

WRN-16-10 costs 2,412 million multiply-adds an image and would take two cores days. The laptop scale
has small nets of the same kinds, WRN-10-1 and ViTs of 64 channels, which take a few minutes; their
order says little about the large ones.
"""

from __future__ import annotations

import adv
from spaces import Choice, Space


def build(net: str) -> adv.Recipe:
    """Return the net called basenet, bignet, wrn-DEPTH-WIDTH or vit-DEPTH-DIM."""
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
    scale={"score": "report"},
    grid=True,
)
