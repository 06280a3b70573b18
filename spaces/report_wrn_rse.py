"""Figure 4 of the report: does RSE make the wide residual net more robust?

    python launch.py --space report_wrn_rse

BaseNet, WRN-16-10 and WRN-16-10 with RSE, without augmentation, under the report's curriculum; the
report submitted the last. It saw about the same natural accuracy and less of a loss under attack,
up to a certain radius. Its sigmas are not known; these are RSE's published 0.2 and 0.1. The report
does not speak of several draws in the gradient of a random net. Here they are taken (expectation
over transformation), without which noise looks like robustness.

Two cores would take days for WRN-16-10; the laptop scale puts WRN-10-1 in its place and takes a
few minutes.
"""

from __future__ import annotations

import adv
from spaces import Choice, Space


def build(net: str) -> adv.Recipe:
    """The net of that name: basenet, wrn-DEPTH-WIDTH or wrn-DEPTH-WIDTH-rse."""
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
    grid=True,
)
