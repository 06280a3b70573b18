"""The share of a GPU that a trial may use, and what it has used of the GPU's memory."""

from __future__ import annotations

import sys
from typing import Any

SHARE, PEAK = "gpu_share", "peak_memory"
_share = 0.0  # of the trial that runs in this process


def limit_memory(share: float, torch: Any = None) -> None:
    """Let this process take no more than its share of a GPU's memory from now on.

    Args:
      share: of the GPU; 0, or 1 and more: there is no limit.
      torch: a stand-in in tests.
    """
    global _share  # noqa: PLW0603 - of this process, like the limit itself
    _share = share
    torch = torch or sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.set_per_process_memory_fraction(share if 0 < share < 1 else 1.0)


def measure_usage(torch: Any = None) -> dict[str, float]:
    """Return the trial's share and its largest share of the GPU's memory; {} without a GPU."""
    torch = torch or sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not _share:
        return {}
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    return {SHARE: _share, PEAK: torch.cuda.max_memory_reserved() / total}
