"""The flags of the command line, checked against each other."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

from adv.shell import quote
from adv.suggestions import suggest
from adv.user_code import name_file
from search.backends.gpu_range import GpuRange
from search.record.run_folder import LEDGER, OWNER, nearest_run, require_run
from search.storage.location import is_url, parse_location
from search.tracking.wandb_environment import resolve_entity, resolve_project
from search.tracking.wandb_login import resolve_mode
from spaces import is_file, parse_threat_model, title


@dataclass(frozen=True)
class Options:
    """The flags of `launch.py`, one field each; None: not given.

    `fetch` says that `resume` or `rescore` names a run of `storage`, which this machine may lack.
    """

    space: str | None = None
    data: str | None = None
    image_size: str | None = None
    net: str | None = None
    net_arg: tuple[str, ...] = ()
    mean: str | None = None
    std: str | None = None
    init: str | None = None
    init_key: str | None = None
    new_head: bool = False
    scale: str = "auto"
    trials: int | None = None
    epochs: int | None = None
    budget: float | None = None
    until_gain: float | None = None
    trial_timeout: float | None = None
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
    ranks_per_trial: int | None = None
    min_gpus: float | None = None
    max_gpus: float | None = None
    name: str | None = None
    out: Path | None = None
    resume: Path | None = None
    resume_or_start: bool = False
    storage: str | None = None
    fetch: bool = False
    finalists: str = "auto"
    final_trainings: int | None = None
    rescore: Path | None = None
    score: str | None = None
    battery: str | None = None
    battery_steps: int | None = None
    images: int | None = None
    wandb: str = "auto"
    wandb_project: str | None = None
    wandb_entity: str | None = None
    dry_run: bool = False
    quiet: bool = False
    json_: bool = False
    watch: Path | None = None
    repair: Path | None = None
    publish: Path | None = None
    wandb_report: Path | None = None
    optuna_storage: str | None = None
    mlflow: str | None = None
    tensorboard: Path | None = None
    space_file: Path | None = None
    set_: tuple[str, ...] = ()
    near: str | None = None
    trust_code: bool = False
    objectives: str | None = None
    front_of: str | None = None
    compare: tuple[Path, ...] = ()
    report: Path | None = None

    @property
    def only_finals(self) -> bool:
        """True if only the finals of an existing run are wanted, whose folder `finalists` names."""
        return self.finalists not in ("auto", "off") and not self.finalists.isdigit()


def check_repair_flags(options: Options) -> Path:
    """Return the run to repair.

    Raises:
      ValueError: there are other flags too, or the folder holds no search.
    """
    _refuse_others(options, "repair")
    assert options.repair is not None
    return require_run(options.repair, "--repair")


def check_report_flags(options: Options) -> Path:
    """Return the run whose page, tables and figures are to be written again.

    Raises:
      ValueError: there are other flags too, or the folder holds no search.
    """
    _refuse_others(options, "report")
    assert options.report is not None
    return require_run(options.report, "--report")


def check_compare_flags(options: Options) -> list[Path]:
    """Return the runs to compare.

    Raises:
      ValueError: there are other flags too, a folder holds no search, or there are no two
        different ones.
    """
    _refuse_others(options, "compare", "out")
    folders = [require_run(folder, "--compare") for folder in options.compare]
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise ValueError("--compare takes two different runs or more: --compare runs/A runs/B")
    return folders


def check_watch_flags(options: Options) -> Path:
    """Return the run to watch.

    Raises:
      ValueError: there are flags that do not fit, or the folder holds no search.
    """
    _refuse_others(options, "watch")
    assert options.watch is not None
    return require_run(options.watch, "--watch")


def check_publish_flags(options: Options) -> tuple[Path, Options]:
    """Return the run to publish, and the options with the project and entity filled in.

    Raises:
      ValueError: there are flags that do not fit, the folder holds no search, or W&B does not
        allow a name.
    """
    _refuse_others(options, "publish", "wandb", "wandb_project", "wandb_entity")
    assert options.publish is not None
    project, entity = resolve_project(options.wandb_project), resolve_entity(options.wandb_entity)
    folder = require_run(options.publish, "--publish")
    return folder, replace(options, wandb_project=project, wandb_entity=entity)


def check_wandb_report_flags(options: Options) -> tuple[Path, Options]:
    """Return the run whose W&B report is wanted, and the options with project and entity filled in.

    Raises:
      ValueError: there are flags that do not fit, the folder holds no search, or W&B does not
        allow a name.
    """
    _refuse_others(options, "wandb_report", "wandb_project", "wandb_entity")
    assert options.wandb_report is not None
    project, entity = resolve_project(options.wandb_project), resolve_entity(options.wandb_entity)
    folder = require_run(options.wandb_report, "--wandb-report")
    return folder, replace(options, wandb_project=project, wandb_entity=entity)


def _refuse_others(options: Options, name: str, *allowed: str) -> None:
    """Raise ValueError if flags are given besides one and those that go with it."""
    given = [one.name for one in fields(options) if getattr(options, one.name) != one.default]
    others = [_flag(other) for other in given if other not in (name, *allowed)]
    if others:
        raise ValueError(f"{_flag(name)} does nothing else: leave out {', '.join(others)}")


def _flag(name: str) -> str:
    return f"--{name.strip('_').replace('_', '-')}"


def check_resume_or_start(options: Options) -> None:
    """Raise ValueError unless the run has a name, and no other flag names a run."""
    if options.resume is not None:
        raise ValueError(
            "--resume-or-start finds the run by --name: leave out --resume, --rescore and a folder "
            "for --finalists"
        )
    if options.name is None:
        raise ValueError("--resume-or-start needs --name NAME, the same each time")


def find_range(options: Options) -> GpuRange | None:
    """Return how many GPUs may be asked for; None: the cluster stays as it is.

    Raises:
      ValueError: there is nothing to ask, or nothing to ask for.
    """
    if options.min_gpus is None and options.max_gpus is None:
        return None
    least, most = options.min_gpus or 0.0, options.max_gpus
    if options.serial or not (options.address or os.environ.get("RAY_ADDRESS")):
        raise ValueError("--min-gpus and --max-gpus ask a cluster for nodes: add --address auto")
    if options.gpus_per_trial == 0:
        raise ValueError("--gpus-per-trial 0 needs no GPU: leave out --min-gpus and --max-gpus")
    if most is not None and most < least:
        raise ValueError(f"--max-gpus {most:g} is less than --min-gpus {least:g}")
    return GpuRange(least, least if most is None else most)


def merge_stored_resume(options: Options) -> Options:
    """Return the options with the parts of a location that `--resume` or `--rescore` names.

    The run is then named as if it had been fetched.

    Raises:
      ValueError: other flags name another run or another store.
    """
    if options.storage not in (None, "off"):
        assert options.storage is not None
        parse_location(options.storage)
    flag, place = "--resume", options.resume
    if options.rescore is not None:
        flag, place = "--rescore", options.rescore
    if place is None or not is_stored_run(place):
        return options
    parent, name = parse_location(place, flag).split()
    if "/" not in parent.path and not parent.scheme:
        raise ValueError(f"{flag} {place}: write STORAGE/NAME")
    if options.name not in (None, name) or options.storage not in (None, str(parent)):
        raise ValueError(f"{flag} {place} names the run: leave out --name and --storage")
    folder = (options.out or Path("runs")) / name
    options = replace(options, storage=str(parent), name=name, out=None, fetch=True)
    if flag == "--rescore":
        return replace(options, rescore=folder)
    return replace(options, resume=folder)


def is_stored_run(path: Path) -> bool:
    """Return whether a path is that of a run in a store: a URL, or a folder laid out as one."""
    if is_url(path):
        return True
    return (path / OWNER).is_file() and not (path / LEDGER).exists()


def merge_space_file(options: Options) -> Options:
    """Return the options with the path of `--space-file` as the space, and note that it may be run.

    Raises:
      ValueError: there is no such file, or another space is named too.
    """
    if options.space is not None and is_file(options.space):
        raise ValueError(f"--space takes a name of --list; a file: --space-file {options.space}")
    if options.space_file is None:
        return options
    if options.space is not None:
        raise ValueError("--space and --space-file each name a space: give one of them")
    return replace(options, space=str(name_file(options.space_file)))


def merge_battery(options: Options) -> Options:
    """Return the options with the file of `--battery` as an absolute path, which may be run.

    Raises:
      ValueError: there is no such battery or file, or it has attacks of its own and `--score` or
        `--battery-steps` name others.
    """
    if options.battery is None:
        return options
    model = parse_threat_model(options.battery)
    if not model.takes_score:
        for flag, value in (("--score", options.score), ("--battery-steps", options.battery_steps)):
            if value is not None:
                raise ValueError(
                    f"--battery {options.battery} has attacks of its own: leave out {flag}"
                )
    if model.file is None:
        return options
    name = options.battery.rpartition(":")[2]
    return replace(options, battery=f"{name_file(model.file)}:{name}")


def merge_resume_flags(options: Options) -> Options:
    """Return the options with the folder to resume in `resume`, whichever flag named it.

    A number given to `--finalists` becomes `final_trainings`, and the project and entity of W&B
    are filled in and checked; where W&B is off only the flags are.

    Raises:
      ValueError: the flags contradict each other, or W&B does not allow a name.
    """
    folders = {
        "--resume": options.resume,
        "--finalists": Path(options.finalists) if options.only_finals else None,
        "--rescore": options.rescore,
    }
    named = {flag: folder for flag, folder in folders.items() if folder is not None}
    if len(named) > 1:
        raise ValueError(f"{' and '.join(named)} each name a run: give only one of them")
    if options.only_finals and not Path(options.finalists).is_dir():
        near = suggest(options.finalists, ("auto", "off"))
        raise ValueError(
            f"--finalists {options.finalists!r}{f'{near} There' if near else '; there'} are: "
            "auto, off, a number of trainings, or "
            f"the folder of a run{nearest_run(Path(options.finalists))}"
        )
    trainings = options.final_trainings
    if options.finalists.isdigit():
        if trainings not in (None, int(options.finalists)) or int(options.finalists) < 1:
            raise ValueError(f"--finalists {options.finalists}: give one number of 1 or more")
        trainings = int(options.finalists)
    if options.finalists == "off" and trainings is not None:
        raise ValueError("--finalists off trains nothing: leave out --final-trainings")
    if options.until_gain is not None and (options.only_finals or options.rescore):
        raise ValueError("--until-gain ends a search: it needs --space or --resume")
    if options.rescore is None and options.resume and (options.battery_steps or options.images):
        raise ValueError(
            "a run keeps its battery: to change --battery-steps or --images use --rescore"
        )
    off = resolve_mode(options.wandb)[0] == "off"
    if options.wandb_project is not None or not off:
        options = replace(options, wandb_project=resolve_project(options.wandb_project))
    if options.wandb_entity is not None or not off:
        options = replace(options, wandb_entity=resolve_entity(options.wandb_entity))
    return replace(options, resume=next(iter(named.values()), None), final_trainings=trainings)


def choose_run_folder(options: Options) -> Path:
    """Return the folder of this run: the one to resume, or one that does not exist yet.

    With `resume_or_start` it may exist.

    Raises:
      ValueError: there is no search to resume in it, the name is taken, or `out` is a URL.
    """
    if options.resume is not None and options.fetch:
        return options.resume
    if options.resume is not None:
        return require_run(options.resume)
    name = options.name or f"{title(options.space or '')}-{time.strftime('%Y%m%d-%H%M%S')}"
    if options.out is not None and is_url(options.out):
        raise ValueError(
            f"--out {options.out} is a URL, and the driver needs a folder of its own: --storage "
            "keeps a copy there, and the nets that trials train"
        )
    folder = (options.out or Path("runs")) / name
    if folder.exists() and not options.resume_or_start:
        raise ValueError(
            f"{folder} exists: continue it with --resume {quote(folder)}, or choose another --name"
        )
    return folder
