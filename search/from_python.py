"""Search from Python and from notebooks: `study = search(space, data="digits", trials=12)`."""

from __future__ import annotations

import io
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from adv import Battery, Data, from_datasets
from adv.suggestions import suggest_or_list
from adv.terminal.console import PlainConsole, open_console
from adv.user_code import name_file, register_object
from search.backends import serial
from search.errors import StorageError
from search.finals.standings import compute_standings
from search.finals.train_finalist import load_trained_net
from search.interrupt import Interrupt, Interrupted
from search.outcome.front import find_front
from search.outcome.front_member import FrontMember
from search.outcome.roles import assign_roles
from search.record.ledger import read
from search.record.provenance import PROJECT
from search.record.run_folder import LEDGER
from search.record.trial import Run, Trial
from search.record.view import View
from search.reporting.csv_tables import column_names, front_rows, trial_rows
from search.session.hold_run import joins_cluster
from search.session.job import Job
from search.session.options import Options, merge_battery
from search.session.plan import Machine
from search.session.prepare import prepare
from search.session.session import run_job
from search.session.stored_nets import FINAL, TRIAL, stored_net
from search.study import Study
from search.tracking.copies import open_copies
from spaces import Space, is_file

Where = Literal["serial", "ray"]
_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_OPTIONS = (
    *("epochs", "images", "scale", "seed", "sampler", "stopper", "audit", "score", "battery_steps"),
    *("budget", "finalists", "final_trainings", "concurrent", "cpus_per_trial", "gpus_per_trial"),
    *("wandb", "wandb_project", "wandb_entity", "trial_timeout", "address"),
    *("mlflow", "tensorboard"),
)


def search(  # noqa: PLR0913  # the questions of a search
    space: Space | str | Path,
    *,
    data: Any = None,
    trials: int | None = None,
    on: Where = "serial",
    battery: Battery | Callable[[], Battery] | str | None = None,
    objectives: Sequence[str] | None = None,
    constrain: Sequence[str] = (),
    settings: Sequence[str] = (),
    name: str | None = None,
    out: Path | str = "runs",
    quiet: bool = False,
    **options: Any,
) -> PythonStudy:
    """Search a space, and return the study: its front, its trials, its nets.

    Args:
      space: a `Space`, the name of one, or the path of a file that holds one, which is run.
      data: an `adv.Data`; the name of a data set; or torch `Dataset`s, as `adv.from_datasets` takes
        them; None: that of the space or the scale.
      trials: how many; None: as many as the scale has.
      on: "serial": one after the other in this process; "ray": on Ray, here or at `address`.
      battery: which attacks score a trial: a `Battery`, a function that returns one, or a text as
        `--battery` takes it.
      objectives: two names of `spaces.FIGURES`; None: natural accuracy and attacked score.
      constrain: bounds such as `"params<5e6"`.
      settings: such as `"lr=0.001"` or `"lr=1e-4:1e-3"`, which fix or narrow hyperparameters.
      name: of the run folder; None: the space, the date and the time.
      out: folder of all runs.
      quiet: print nothing.
      options: further flags of `launch.py` by their names, such as `epochs=4`, `seed=1`,
        `finalists="off"`; W&B is off unless `wandb` says otherwise, and there are no finals
        unless `finalists` does.

    Raises:
      ValueError: something does not fit; one line says what is allowed. Nothing was written.
      TypeError: an option is unknown.
    """
    for key in options:
        if key not in _OPTIONS:
            raise TypeError(f"search() has no option {key!r}{suggest_or_list(key, _OPTIONS)}")
    asked = {
        "wandb": "off",
        "finalists": "off",
        **options,
        "space": _refer_to_space(space),
        "trials": trials,
        "battery": _refer_to_battery(battery),
        "objectives": None if objectives is None else ",".join(objectives),
        "constrain": tuple(constrain),
        "set_": tuple(settings),
        "name": name or f"{_title(space)}-{time.strftime('%Y%m%d-%H%M%S')}",
        "out": Path(out),
        "serial": on == "serial",
    }
    if isinstance(data, str):
        asked["data"] = data
    elif data is not None and not isinstance(data, Data):
        data = from_datasets(data)
    given = merge_battery(Options(**asked))
    return _run(given, data if isinstance(data, Data) else None, on, quiet)


@dataclass
class PythonStudy:
    """A search and what came of it.

    Args:
      folder: of the run.
      options: that the search was started with.
      data: the data set, if it was an object; None: it is named in the ledger.
      on: where it ran.
    """

    folder: Path
    options: Options = field(repr=False)
    data: Data | None = field(default=None, repr=False)
    on: Where = "serial"
    _job: Job | None = field(default=None, repr=False)

    @property
    def view(self) -> View:
        """The state of the search, as its ledger has it."""
        return read(self.folder / LEDGER)

    @property
    def front(self) -> list[Member]:
        """The front of the run, best in the first objective first; each member can load its net.

        It is that of the finals where there are any: `front.csv` and `front/` hold the same nets.
        """
        return [Member(member, self) for member in find_front(self.view).members]

    @property
    def recommended(self) -> dict[str, Member]:
        """The recommended nets by role: the most accurate, the most robust, the balanced one."""
        view = self.view
        roles = assign_roles(view, find_front(view))
        return {role.name: Member(role.member, self) for role in roles}

    @property
    def trials(self) -> Any:
        """All trials as a pandas frame: a row each, as in `trials.csv`."""
        import pandas  # type: ignore[import-untyped]

        view = self.view
        return pandas.DataFrame(list(trial_rows(view)), columns=column_names(view))

    @property
    def finalists(self) -> list[Any]:
        """The finalists with their means and intervals over fresh seeds; none without finals."""
        return compute_standings(self.view)

    def resume(self, trials: int | None = None, *, quiet: bool = False) -> PythonStudy:
        """Continue the search where it stopped, perhaps with more trials.

        Args:
          trials: how many in all; None: as many as before.
          quiet: print nothing.
        """
        again = Options(
            resume=self.folder,
            trials=trials or self.options.trials,
            finalists=self.options.finalists,
            wandb=self.options.wandb,
            serial=self.options.serial,
            space=self.options.space,
            battery=self.options.battery,
        )
        return _run(again, self.data, self.on, quiet)

    def _repr_html_(self) -> str:
        """Return the front as a table, for notebooks."""
        import pandas

        rows = front_rows(self.view)
        return str(pandas.DataFrame(rows).dropna(axis=1, how="all").to_html(index=False))


@dataclass(frozen=True)
class Member:
    """A net of the front.

    Args:
      found: the net, with its values, marks and file.
      study: that it belongs to.
    """

    found: FrontMember
    study: PythonStudy = field(repr=False)

    @property
    def trial(self) -> Trial:
        """The trial, with its hyperparameters and what the search saw of it."""
        return self.found.trial

    @property
    def number(self) -> int:
        """The number of the trial."""
        return self.found.number

    @property
    def params(self) -> dict[str, Any]:
        """Its hyperparameters."""
        return dict(self.trial.params)

    @property
    def objectives(self) -> dict[str, float]:
        """Its figures by name, as they are recorded: accuracies in [0, 1].

        After finals these are the two objectives alone, means over fresh seeds.
        """
        seen = self.trial.result.objectives if self.found.measured == "search" else {}  # type: ignore[union-attr]  # it has a result
        return {**seen, **self.found.objectives}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of both objectives, without those that are not known."""
        return dict(self.found.intervals)

    @property
    def marks(self) -> tuple[str, ...]:
        """Why its figures mislead, such as "flagged"; none if they do not."""
        return tuple(mark.name for mark in self.found.marks)

    @property
    def checkpoint(self) -> Path:
        """The file with its weights.

        Raises:
          LostNetError: it is missing, or has changed.
        """
        kind = FINAL if self.found.is_final else TRIAL
        net = stored_net(kind, self.found.net, self.study.folder)
        assert net is not None, "a member of the front has a result"
        return net.find()

    def load(self) -> nn.Module:
        """Return its net in evaluation mode, on the best device.

        Raises:
          LostNetError: the file of the weights is missing, or has changed.
        """
        job = self.study._job
        assert job is not None, "a study keeps what its nets are built with"
        seed = self.found.net.seed
        return load_trained_net(job.run, self.params, seed, self.checkpoint).eval()


def _run(options: Options, data: Data | None, on: Where, quiet: bool) -> PythonStudy:
    if on not in ("serial", "ray"):
        raise ValueError(f"on={on!r}{suggest_or_list(on, ('serial', 'ray'))}")
    interrupt, console = Interrupt(), _open(quiet)
    with _connect(on, options) as (machine, backend):
        copies = open_copies(options.mlflow, options.tensorboard)
        job = replace(prepare(console, options, machine, interrupt, data), copies=copies)
        try:
            code, note = run_job(console, job, interrupt, backend)
        finally:
            job.study.ledger.close()
    if code == 1:
        raise StorageError(note)
    return PythonStudy(job.folder, _keep(options, job), data, on, job)


def _keep(options: Options, job: Job) -> Options:
    """Return the options that a resumed search needs again."""
    return replace(options, trials=job.study.trials, space=job.run.space)


Backend = Callable[[Job, Interrupt], Any]


@contextmanager
def _connect(on: Where, options: Options) -> Iterator[tuple[Machine, Backend]]:
    """Give the machine that trials run on, and what runs them."""
    if on == "serial":
        yield Machine("this process", float(os.cpu_count() or 1), _count_gpus()), _in_process
        return
    from search.backends import ray_tune
    from search.session.session import open_backend

    cluster = ray_tune.connect(options.address, project=PROJECT)
    where = f"the cluster at {cluster.address}" if cluster.address else "this machine"
    machine = Machine(where, cluster.cpus, cluster.gpus)
    try:
        if joins_cluster(options):
            from search.session.check_cluster import check_cluster

            check_cluster(options, machine, None)
        yield machine, open_backend
    finally:
        ray_tune.disconnect()


@contextmanager
def _in_process(job: Job, interrupt: Interrupt) -> Iterator[Callable[[Study, Run], None]]:
    """Give a function that runs a study in this process, with objects that cannot be pickled."""
    del job

    def run_study(study: Study, run: Run) -> None:
        try:
            serial.search(study, run, interrupt)
        except KeyboardInterrupt:  # the study so far is returned, and can be resumed
            raise Interrupted("interrupted", 128 + signal.SIGINT) from None

    yield run_study


def _count_gpus() -> float:
    return float(torch.cuda.device_count())


def _open(quiet: bool) -> PlainConsole:
    return PlainConsole(file=io.StringIO()) if quiet else open_console()


def _title(space: Space | str | Path) -> str:
    if isinstance(space, Space):
        return "search"
    return _NAME.sub("-", Path(space).stem)


def _refer_to_space(space: Space | str | Path) -> str:
    """Return the name of a space, after a file was named or an object was registered."""
    if isinstance(space, Space):
        space.check_names()
        return register_object("space", space)
    if is_file(str(space)):
        return str(name_file(space))
    return str(space)


def _refer_to_battery(battery: Battery | Callable[[], Battery] | str | None) -> str | None:
    if battery is None or isinstance(battery, str):
        return battery
    return register_object("battery", battery)
