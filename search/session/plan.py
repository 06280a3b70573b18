"""What a search will do, decided before anything starts."""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import spaces
from adv import Recipe, size_of
from adv.data import names
from search.record.constraints import bounds, screen
from search.record.ledger import FORMAT
from search.record.study_header import StudyHeader
from search.reporting.terminal import clock
from search.samplers.sampler import Sampler
from search.samplers.table import (
    default_sampler_name,
    initial_design_size,
    load_strategy,
    make_sampler,
)
from search.session.options import Options
from search.stopping.table import AUDIT_SHARE
from spaces import Params, Scale, Space, Value, exists

_SIZES = {"digits": 1000, "cifar10": 45_000, "cifar100": 45_000}
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "wandb", "numpy")
PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Machine:
    """What trials can run on; `where` names it."""

    where: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Plan:
    """Everything that decides a search, but for what it finds."""

    space_name: str
    scale: Scale
    reason: str
    data: str
    trials: int
    seed: int
    name: str
    sampler: str = "tpe"
    stopper: str = "moasha"
    audit: float = AUDIT_SHARE
    constraints: Mapping[str, float] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """The space itself, as this scale searches it."""
        return spaces.load(self.space_name).for_scale(self.scale.name)

    @property
    def points(self) -> Sequence[Params]:
        """The known points, else the middle of the space: what a plan is estimated from."""
        middle: dict[str, Value] = {}
        for name, knob in self.space.knobs.items():
            if exists(knob, middle):
                middle[name] = knob.at(0.5)
        return self.space.known or (middle,)


def make_plan(options: Options, machine: Machine, name: str) -> Plan:
    """Fill in what the user left open.

    Raises:
      ValueError: an unknown space or scale, or more trials than a grid has points.
    """
    assert options.space is not None
    if options.scale == "auto":
        chosen = "full" if machine.gpus > 0 else "laptop"
        have = "a GPU" if machine.gpus > 0 else "no GPU"
        reason = f"{machine.where} has {have}"
    else:
        chosen, reason = options.scale, "you asked for it"
    space = spaces.load(options.space).for_scale(chosen)
    changes: dict[str, Any] = dict(space.scale)
    if space.scale and options.scale == "auto":
        reason += f", and the space {options.space} sets a size of its own"
    asked = {
        "trials": check_trials(options.trials, space) or (len(space.known) if space.grid else None),
        "epochs": options.epochs,
        "battery_steps": options.battery_steps,
        "images": options.images,
        "cpus": options.cpus_per_trial,
        "gpus": options.gpus_per_trial,
    }
    changes |= {key: value for key, value in asked.items() if value is not None}
    if machine.gpus == 0 and options.gpus_per_trial is None:
        changes["gpus"] = 0.0
    scale = spaces.scale(chosen, **changes)
    scale = replace(scale, data=data_name(options.data or scale.data))
    name_of_sampler = check_sampler(
        options.sampler or default_sampler_name(scale.trials), space, scale.trials
    )
    return Plan(
        options.space,
        scale,
        reason,
        scale.data,
        scale.trials,
        options.seed or 0,
        name,
        name_of_sampler,
        options.stopper or Plan.stopper,
        Plan.audit if options.audit is None else options.audit,
        bounds(options.constrain),
    )


def check_trials(asked: int | None, space: Space) -> int | None:
    """What was asked for; ValueError where a grid has not as many points."""
    if space.grid and asked is not None and asked > len(space.known):
        raise ValueError(f"--trials {asked}: this space is a grid of {len(space.known)} points")
    return asked


def check_sampler(name: str, space: Space, trials: int) -> str:
    """The name; ValueError where that sampler is not for this space or so many trials."""
    load_strategy(name).check(space, trials)
    return name


def proposing(space: Space, head: StudyHeader) -> Sampler:
    """The sampler that a study's header names, with its first points and its bounds."""
    return make_sampler(
        head.sampler or "tpe",
        space,
        seed=head.seed or 0,
        start=head.start or 0,
        header=head,
        allowed=screen(space, head.constraints or {}, head.classes),
    )


def stopping_text(plan: Plan) -> str:
    """What is stopped early, in words."""
    if plan.stopper == "none":
        return "nothing"
    return f"at rungs the worse half, if worse beyond noise; {100 * plan.audit:g} % of these run on"


def data_name(name: str) -> str:
    """A known data set as it is, a folder by its absolute path."""
    return name if name in names.NAMES else str(Path(name).expanduser().absolute())


def make_header(plan: Plan, classes: int, data_fingerprint: str, study: str) -> StudyHeader:
    """Return the ledger's first event: all that is needed to repeat or resume the search."""
    return StudyHeader(
        format=FORMAT,
        id=study,
        name=plan.name,
        space=plan.space_name,
        question=plan.space.question,
        knobs=plan.space.describe(),
        fingerprint=plan.space.fingerprint,
        scale=asdict(plan.scale),
        scale_reason=plan.reason,
        data=plan.data,
        data_fingerprint=data_fingerprint,
        classes=classes,
        battery=described(plan.scale),
        trials=plan.trials,
        seed=plan.seed,
        start=initial_design_size(plan.space, plan.trials),
        sampler=plan.sampler,
        stopper=plan.stopper,
        audit=plan.audit,
        constraints=dict(plan.constraints),
        versions=versions(),
        commit=commit(),
        hardware=hardware(),
    )


def described(scale: Scale) -> list[dict[str, Any]]:
    """The attacks that score a trial, as plain data."""
    return [
        {"name": name, "eps": attack.ball.eps, **_settings(attack)}
        for name, attack in scale.battery().attacks
    ]


def _settings(attack: Any) -> dict[str, Any]:
    return {key: value for key, value in asdict(attack).items() if key != "ball"}


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide a result."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def commit() -> str:
    """Of this program; "+" behind it where files were changed, "" outside a git checkout."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(PROJECT), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return ""


def hardware() -> dict[str, Any]:
    """Of the driver's machine."""
    import torch

    return {
        "host": platform.node(),
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def print_plan(console: Console, plan: Plan, notes: Mapping[str, str]) -> None:
    """The whole plan, for `--dry-run`; `notes` are further lines, label to text."""
    scale = plan.scale
    console.print(f"[bold]{plan.space_name}[/]  {plan.space.question}\n")
    table = Table(box=None, title="Knobs", title_justify="left", title_style="bold")
    for column in ("knob", "range", *(f"known {i}" for i in range(len(plan.space.known)))):
        table.add_column(column)
    for name, knob in plan.space.knobs.items():
        points = (str(point.get(name, "")) for point in plan.space.known)
        table.add_row(name, str(knob), *points)
    console.print(table)
    images = _train_images(scale)
    recipes = [scale.apply(plan.space.build(**point)) for point in plan.points]
    train, attack = _gradient_steps(scale, recipes, images)
    rows = {
        "data": f"{plan.data}: {images:,} training images, {scale.images:,} validation images "
        f"score a trial, {scale.watch_images:,} others watch its epochs; no test image is touched",
        "trials": f"{plan.trials} of {scale.epochs} epochs, batch {scale.batch}, seed {plan.seed}"
        + (", each point of the grid once" if plan.space.grid else ""),
        "battery": f"{', '.join(name for name, _ in scale.battery().attacks)}; random nets: "
        f"{scale.draws} draws a gradient, {scale.votes} votes",
        **notes,
        "known points": _nets(recipes),
        "gradient steps": f"about {train + attack:,} a trial ({train:,} to train on batches of "
        f"{scale.batch}, up to {attack:,} to watch and attack it), "
        f"{plan.trials * (train + attack):,} in all",
    }
    grid = Table.grid(padding=(0, 2))
    for label, text in rows.items():
        grid.add_row(f"[bold]{label}[/]", text)
    console.print()
    console.print(grid)
    console.print("\nNothing was started: --dry-run.")


def _train_images(scale: Scale) -> int:
    if scale.data in _SIZES:
        count = _SIZES[scale.data]
    else:
        folder = Path(scale.data)
        found = sum(
            1 for name in names.classes(folder) for _ in names.images(folder / "train" / name)
        )
        count = math.ceil(0.9 * found)
    return min(count, scale.train_images or count)


def _nets(recipes: Sequence[Recipe]) -> str:
    """What an image costs, which a count of steps does not say."""
    costs = sorted({size_of(recipe.net).multiply_adds for recipe in recipes})
    low, high = f"{costs[0] / 1e6:,.1f}", f"{costs[-1] / 1e6:,.1f}"
    return f"{low if low == high else f'{low} to {high}'} million multiply-adds an image, forward"


def _gradient_steps(scale: Scale, recipes: Sequence[Recipe], images: int) -> tuple[int, int]:
    """Of a mean trial: to train it, and to watch and attack it where nothing falls early."""
    train = sum(recipe.gradient_steps(images) for recipe in recipes) // len(recipes)
    attack = 0
    for battery, times, n in (
        (scale.battery(), 1, scale.images),
        (scale.watch(), scale.epochs, scale.watch_images),
    ):
        steps = sum(getattr(attack_, "steps", 1) for _, attack_ in battery.attacks)
        attack += times * steps * battery.draws * math.ceil(n / scale.batch)
    return train, attack


def budget_text(seconds: float | None) -> str:
    """How long the search may take."""
    return "none" if seconds is None else clock(seconds)
