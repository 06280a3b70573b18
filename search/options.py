"""What the user asked for, as the command line took it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """One field for each flag of `launch.py`; None where the user said nothing."""

    space: str | None = None
    data: str | None = None
    scale: str = "auto"
    trials: int | None = None
    epochs: int | None = None
    budget: float | None = None
    seed: int | None = None
    address: str | None = None
    serial: bool = False
    concurrent: int | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    name: str | None = None
    out: Path | None = None
    resume: Path | None = None
    wandb: str = "auto"
    wandb_project: str = "robustune"
    wandb_entity: str | None = None
    dry_run: bool = False
