"""What the user asked for, as the command line took it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from adv.suggestions import suggest
from search.record.run_folder import nearest_run, require_run


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
    constrain: tuple[str, ...] = ()
    warm_from: tuple[Path, ...] = ()
    address: str | None = None
    serial: bool = False
    concurrent: int | None = None
    cpus_per_trial: float | None = None
    gpus_per_trial: float | None = None
    name: str | None = None
    out: Path | None = None
    resume: Path | None = None
    finalists: str = "auto"
    final_trainings: int | None = None
    rescore: Path | None = None
    battery_steps: int | None = None
    images: int | None = None
    wandb: str = "auto"
    wandb_project: str = "robustune"
    wandb_entity: str | None = None
    dry_run: bool = False

    @property
    def only_finals(self) -> bool:
        """Whether a finished run is to have its finals, and nothing else."""
        return self.finalists not in ("auto", "off") and not self.finalists.isdigit()


def settled(options: Options) -> Options:
    """The options with `--finalists` and `--rescore` taken apart: a folder is one to go on with.

    Raises:
      ValueError: they do not fit together.
    """
    folders = {
        "--resume": options.resume,
        "--finalists": Path(options.finalists) if options.only_finals else None,
        "--rescore": options.rescore,
    }
    named = {flag: folder for flag, folder in folders.items() if folder is not None}
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} name a run each: take one of them")
    if options.only_finals and not Path(options.finalists).is_dir():
        near = suggest(options.finalists, ("auto", "off")) or ":"
        raise ValueError(
            f"--finalists {options.finalists!r}{near} There are: auto, off, a number of "
            f"trainings, or the folder of a run{nearest_run(Path(options.finalists))}"
        )
    trainings = options.final_trainings
    if options.finalists.isdigit():
        if trainings not in (None, int(options.finalists)) or int(options.finalists) < 1:
            raise ValueError(f"--finalists {options.finalists}: one number of 1 or more")
        trainings = int(options.finalists)
    if options.finalists == "off" and trainings is not None:
        raise ValueError("--finalists off trains nobody: leave --final-trainings out")
    if options.rescore is None and options.resume and (options.battery_steps or options.images):
        raise ValueError("a run keeps its battery: --rescore changes --battery-steps and --images")
    return replace(options, resume=next(iter(named.values()), None), final_trainings=trainings)


def run_folder(options: Options) -> Path:
    """Where this run is kept: the folder to go on with, or a fresh one.

    Raises:
      ValueError: nothing to go on with there, or the name is taken.
    """
    if options.resume is not None:
        return require_run(options.resume)
    name = options.name or f"{options.space}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = (options.out or Path("runs")) / name
    if folder.exists():
        raise ValueError(f"{folder} exists: go on with --resume {folder}, or take another --name")
    return folder
