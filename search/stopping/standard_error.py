"""The standard error of the difference of two half-trained nets, over the images they met."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adv.evaluation.image_table import per_image_objectives
from search.record.trial import Rung


def standard_error(one: Rung, other: Rung) -> NDArray[np.float64]:
    """Return the standard error of the difference in both objectives, [2].

    If both rungs hold their per-image tables the difference is paired, because both nets met the
    same images with the same random starts; else the images count as different ones.
    """
    if one.table and other.table and one.table["names"] == other.table["names"]:
        a, b = (per_image_objectives(rung.table, one.aims) for rung in (one, other) if rung.table)
        if a.shape == b.shape and a.shape[1] > 1:
            return np.asarray((a - b).std(axis=1, ddof=1) / np.sqrt(a.shape[1]))
    return np.hypot(one.sd, other.sd)
