"""What the user asked for, as the command line took it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

LEDGER = "ledger.jsonl"


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
    sampler: str | None = None
    stopper: str | None = None
    audit: float | None = None
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


def run_folder(options: Options) -> Path:
    """Where this run is kept: the folder to go on with, or a fresh one.

    Raises:
      ValueError: nothing to go on with there, or the name is taken.
    """
    if options.resume is not None:
        if not (options.resume / LEDGER).is_file():
            raise ValueError(f"{options.resume} holds no search: there is no {LEDGER}")
        return options.resume
    name = options.name or f"{options.space}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = (options.out or Path("runs")) / name
    if folder.exists():
        raise ValueError(f"{folder} exists: go on with --resume {folder}, or take another --name")
    return folder
