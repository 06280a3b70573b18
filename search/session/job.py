"""A search that is ready to run, and what a new one and a resumed one are made of alike."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from adv import load
from search.finals.reseeding_study import default_trainings
from search.record.ledger import Ledger
from search.record.study_header import StudyHeader
from search.session.options import Options
from search.session.plan import Machine, Plan, proposing
from search.stopping.table import make_stopper
from search.study import Study
from search.trials.train_trial import Training
from spaces import Scale


@dataclass(frozen=True)
class Job:
    """A search that is ready to run: its folder exists, its ledger is open."""

    study: Study
    run: Training
    options: Options
    folder: Path
    mode: str
    finals: bool = True

    @property
    def header(self) -> StudyHeader:
        """What the ledger says of the search."""
        return self.study.view.header

    @property
    def trainings(self) -> int | None:
        """How many its finals take, None where the user left it open."""
        return self.options.final_trainings

    @property
    def expected(self) -> int:
        """How many trainings its finals will take at most, as far as one knows before them."""
        if not self.finals or self.options.rescore:
            return 0
        return self.trainings or default_trainings(self.study.trials)

    @property
    def scale(self) -> Scale:
        """How big its trials are."""
        return self.run.scale


def study_of(plan: Plan, ledger: Ledger) -> Study:
    return Study(
        plan.space,
        ledger,
        trials=plan.trials,
        seed=plan.seed,
        sampler=proposing(plan.space, ledger.view.header),
        stopper=make_stopper(plan.stopper, seed=plan.seed, audit=plan.audit),
    )


def training_of(plan: Plan) -> Training:
    """The run, with its data loaded; a small validation split is divided two to one."""
    data, scale = load(plan.data), plan.scale
    have = len(data.validation)
    if have < scale.images + scale.watch_images:
        images = min(scale.images, max(1, have * 2 // 3))
        scale = replace(scale, images=images, watch_images=max(1, have - images))
    scale = replace(scale, test_images=min(scale.test_images, len(data.test)))
    return Training(plan.space_name, scale, data, rungs=plan.stopper != "none")


def at_once(options: Options, scale: Scale, machine: Machine) -> str:
    """What runs at once, in words; ValueError where not even one trial fits."""
    have = f"{machine.where} has {machine.cpus:g} CPUs and {machine.gpus:g} GPUs"
    if options.serial:
        return f"one at a time in this process; {have}"
    fits = int(machine.cpus / scale.cpus + 1e-6)
    if scale.gpus:
        fits = min(fits, int(machine.gpus / scale.gpus + 1e-6))
    if not fits:
        raise ValueError(f"a trial needs {scale.cpus:g} CPUs and {scale.gpus:g} GPUs; {have}")
    return (
        f"{min(fits, options.concurrent or fits)} at once with {scale.cpus:g} CPUs and "
        f"{scale.gpus:g} GPUs each; {have}"
    )


def print_scale(console: Console, scale: Scale, reason: str) -> None:
    """Say how big trials are, and who decided that."""
    console.print(f"Scale: [bold]{scale.name}[/], because {escape(reason)}.")
