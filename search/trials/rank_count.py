"""On how many ranks a trial runs; needs no torch."""

from __future__ import annotations


def count_ranks(asked: int, gpus: float) -> int:
    """Return on how many ranks a trial runs: as many as asked for, else one for each of its GPUs.

    Raises:
      ValueError: more than one GPU, but no whole number; or another number of ranks.
    """
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"a trial takes a share of a GPU, or whole GPUs, not {gpus:g}")
    if asked and gpus > 1 and asked != gpus:
        raise ValueError(f"a trial of {gpus:g} GPUs has a rank for each, not {asked}")
    return asked or max(1, int(gpus))
