"""Figure 4 of the report: does RSE make the wide residual net more robust?

    python launch.py --space report_wrn_rse

BaseNet, WRN-16-10 and WRN-16-10 with RSE, without augmentation, with the report's curriculum; the
report submitted the last one, which had about the same natural accuracy and lost less under attack,
up to a certain radius. The report does not give its sigmas; here RSE's published 0.2 and 0.1. Nor
does it mention several noise samples in the gradient of a random net. Here they are averaged
(expectation over transformation), without which noise looks like robustness.

WRN-16-10 would take two cores days; the laptop scale replaces it by WRN-10-1 and takes a few
minutes.
"""

from __future__ import annotations

import adv
from spaces import Choice, Space


def build(net: str) -> adv.Recipe:
    """Return the net called basenet, wrn-DEPTH-WIDTH or wrn-DEPTH-WIDTH-rse."""
    if net == "basenet":
        return adv.Recipe(net=adv.BaseNet())
    depth, width, *rse = net.split("-")[1:]
    defences = (adv.RSE(0.2, 0.1),) if rse else ()
    return adv.Recipe(net=adv.WRN(int(depth), int(width), activation="gelu"), defences=defences)


space = Space(
    question="Figure 4 of the report: does RSE make the wide residual net more robust?",
    knobs={"net": Choice(("basenet", "wrn-16-10", "wrn-16-10-rse"))},
    laptop={"net": Choice(("basenet", "wrn-10-1", "wrn-10-1-rse"))},
    build=build,
    scale={"score": "report"},
    grid=True,
)
