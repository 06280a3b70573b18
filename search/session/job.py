"""A search that is ready to run, and the steps that a new one and a resumed one share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from adv import Data, load
from adv.data.image_folder import find_shape
from adv.data.summary import Summary, summarize
from adv.user_code import registered_objects
from search.backends.trial_timeout import TrialTimeout
from search.finals.reseeding_study import default_trainings
from search.formatting import count
from search.record.ledger import Ledger
from search.record.study_header import StudyHeader
from search.samplers.finite_space import list_configurations
from search.session.header import configure_sampler
from search.session.options import Options
from search.session.plan import Machine, Plan
from search.stopping.table import make_stopper
from search.storage.mirror import Mirror
from search.study import Study
from search.tracking.background_copy import Copy
from search.trials.train_trial import Training
from spaces import FIGURES, Scale, is_certified


@dataclass(frozen=True)
class Job:
    """A search that is ready to run: its folder exists, and its ledger is open.

    Args:
      study: the search.
      run: that trains its trials.
      options: of the user.
      folder: of the run.
      mode: of W&B: "online", "offline" or "off".
      finals: whether finals follow the search.
      mirror: copies the run to a store; None without one.
      copies: of the search in other trackers, by their names.
    """

    study: Study
    run: Training
    options: Options
    folder: Path
    mode: str
    finals: bool = True
    mirror: Mirror | None = None
    copies: Mapping[str, Copy] = field(default_factory=dict)

    @property
    def header(self) -> StudyHeader:
        """The header of the ledger."""
        return self.study.view.header

    @property
    def trainings(self) -> int | None:
        """The number of trainings of the finals; None if the user left it open."""
        return self.options.final_trainings

    @property
    def expected_trials(self) -> int:
        """The largest number of trials that the search may have: its space may hold fewer."""
        listed = list_configurations(self.study.space)
        return self.study.trials if listed is None else min(self.study.trials, len(listed))

    @property
    def expected_trainings(self) -> int:
        """The largest number of trainings that the finals may take, estimated before they begin."""
        if not self.finals or self.options.rescore:
            return 0
        return self.trainings or default_trainings(self.study.trials, self.header.final_trainings)

    @property
    def timeout(self) -> TrialTimeout:
        """The limit on the silence of a trial."""
        return TrialTimeout(self.study.view.sessions[-1].trial_timeout)

    @property
    def scale(self) -> Scale:
        """The scale of the trials."""
        return self.run.scale


def make_study(plan: Plan, ledger: Ledger) -> Study:
    """Return the search of a plan, over an open ledger that has its header."""
    return Study(
        plan.space,
        ledger,
        trials=plan.trials,
        seed=plan.seed,
        sampler=configure_sampler(plan.space, ledger.view.header),
        stopper=make_stopper(plan.stopper, seed=plan.seed, audit=plan.audit),
    )


def make_training(plan: Plan, data: Data | None = None) -> Training:
    """Return the run of a plan, with its data loaded unless they are given.

    A split that is too small for the scale is used as `Scale.fit` says.
    """
    data = data or load(plan.data, image_size=plan.scale.image_size)
    scale = plan.scale.fit(len(data.validation), len(data.test))
    return Training(
        plan.space_name,
        scale,
        data,
        rungs=plan.stopper != "none",
        objects=registered_objects((plan.space_name, plan.scale.threat_model)),
        aims=plan.objectives,
        parts=plan.parts,
        ranks=plan.ranks,
        asked=tuple(name for name in plan.constraints if name in FIGURES or is_certified(name)),
    )


def describe_data(name: str, image_size: str) -> Summary:
    """Return the shape, classes and split sizes of data; it is read if nothing else tells them."""
    known = summarize(name, image_size)
    if known is not None:
        return replace(known, shape=known.shape or find_shape(Path(name), image_size))
    data = load(name, image_size=image_size)
    sizes = (len(data.train), len(data.validation), len(data.test))
    return Summary(data.shape, len(data.classes), *sizes)


def describe_concurrency(options: Options, scale: Scale, machine: Machine) -> str:
    """Return in words how many trials run at once, and on what.

    Raises:
      ValueError: the machine cannot hold a single trial.
    """
    gpus = count(machine.gpus, "GPU") + machine.grows
    have = f"{machine.where} has {count(machine.cpus, 'CPU')} and {gpus}"
    needs = f"{count(scale.cpus, 'CPU')} and {count(scale.gpus, 'GPU')}"
    if options.serial and scale.gpus <= machine.gpus:
        return f"one at a time, without Ray; {have}"
    fits = count_slots(options, scale, machine)
    if not fits:
        raise ValueError(f"a trial needs {needs}; {have}")
    return f"{fits} at once with {needs} each; {have}"


def count_slots(options: Options, scale: Scale, machine: Machine) -> int:
    """Return how many trials run at once."""
    if options.serial and scale.gpus <= machine.gpus:
        return 1
    fits = int(machine.cpus / scale.cpus + 1e-6)
    if machine.grows and scale.gpus:  # by nodes whose CPUs are not known
        fits = int(machine.gpus / scale.gpus + 1e-6)
    if scale.gpus:
        fits = min(fits, int(machine.gpus / scale.gpus + 1e-6))
    return min(fits, options.concurrent or fits)


def print_scale(console: Console, scale: Scale, reason: str) -> None:
    """Print the scale of a search, and why it was chosen."""
    console.print(f"Scale: [bold]{scale.name}[/], because {escape(reason)}.")
