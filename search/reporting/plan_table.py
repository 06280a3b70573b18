"""The plan of a search as `--dry-run` prints it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from rich.console import Console
from rich.table import Table

import spaces
from adv import Battery, Recipe, size_of
from adv.attacks.composite import members
from adv.data.summary import Summary
from adv.shape import DEFAULT_SHAPE, format_shape
from adv.terminal.console import print_table
from search.formatting import count, describe_score
from search.recipes import RecipeError, catch_recipe_errors
from spaces import Params, Scale, Space


class PlannedSearch(Protocol):
    """The part of a plan that the table prints; `search.session.plan.Plan` has it."""

    @property
    def space_name(self) -> str: ...
    @property
    def space(self) -> Space: ...
    @property
    def scale(self) -> Scale: ...
    @property
    def data(self) -> str: ...
    @property
    def trials(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def points(self) -> Sequence[Params]: ...


def print_plan(
    console: Console, plan: PlannedSearch, data: Summary, notes: Mapping[str, str]
) -> None:
    """Print a search that has not been started.

    Args:
      console: to print to.
      plan: the search.
      data: what its trials are trained and scored on.
      notes: further lines, by label.

    Raises:
      RecipeError: the net of a known point cannot be built; nothing was printed.
    """
    rows = _rows(plan, data, notes)
    console.print(f"[bold]{spaces.title(plan.space_name)}[/]  {plan.space.question}\n")
    print_table(console, _hyperparameters(plan.space))
    grid = Table.grid(padding=(0, 2))
    for label, text in rows.items():
        grid.add_row(f"[bold]{label}[/]", text)
    console.print()
    print_table(console, grid)
    console.print("\nNothing was started: --dry-run.")


def _hyperparameters(space: Space) -> Table:
    """Return a row for each hyperparameter: its range, and its value in the known points."""
    table = Table(box=None, title="Hyperparameters", title_justify="left", title_style="bold")
    known = (f"known {i}" for i in range(len(space.known)))
    for column in ("hyperparameter", "range", *known):
        table.add_column(column)
    for name, knob in space.knobs.items():
        values = (str(point.get(name, "")) for point in space.known)
        table.add_row(name, str(knob), *values)
    return table


def _rows(plan: PlannedSearch, data: Summary, notes: Mapping[str, str]) -> dict[str, str]:
    scale = plan.scale
    images = min(data.train, scale.train_images or data.train)
    recipes, costs = _build_known(plan, data)
    train, attack = count_gradient_steps(scale, recipes, images)
    grid = ", each point of the grid once" if plan.space.grid else ""
    shape = format_shape(data.shape or DEFAULT_SHAPE)
    return {
        "data": f"{plan.data}: images of {shape}, {data.classes} classes; "
        f"{images:,} training images; {scale.images:,} validation images "
        f"score a trial, {scale.watch_images:,} others validate its epochs; test images are not "
        "used",
        "trials": f"{count(plan.trials, 'trial')} of {count(scale.epochs, 'epoch')} each, "
        f"batch {scale.batch}, seed {plan.seed}" + grid,
        "score": describe_score(scale.score, scale.threat_model),
        "battery": _describe_battery(scale.battery()),
        **notes,
        "known points": _describe_cost(costs),
        "gradient steps": f"about {train + attack:,} a trial ({train:,} to train on batches of "
        f"{scale.batch}, up to {attack:,} to validate and score it), "
        f"{plan.trials * (train + attack):,} in all",
    }


def _build_known(plan: PlannedSearch, data: Summary) -> tuple[list[Recipe], list[int]]:
    """Return the recipes of the known points, and the multiply-adds per image of their nets."""
    recipes, costs = [], []
    try:
        for point in plan.points:
            with catch_recipe_errors(point):
                recipes.append(plan.scale.apply(plan.space.build(**point)))
                size = size_of(recipes[-1].net, data.classes, data.shape or DEFAULT_SHAPE)
                costs.append(size.multiply_adds)
    except RecipeError as error:
        raise RecipeError(f"space {plan.space_name}: {error}") from None
    return recipes, costs


def _describe_battery(battery: Battery) -> str:
    """Return the attacks of a battery and its settings of random nets in words."""
    without = "without these, " if battery.second_attacks else ""
    random = f"{without}{battery.draws} samples per gradient, {battery.votes} votes"
    return f"{battery.describe_attacks()}; random nets: {random}"


def _describe_cost(costs: Sequence[float]) -> str:
    """Return the multiply-adds per image of the smallest and the largest net."""
    low, high = f"{min(costs) / 1e6:,.1f}", f"{max(costs) / 1e6:,.1f}"
    return f"{low if low == high else f'{low} to {high}'} million multiply-adds per image, forward"


def count_gradient_steps(scale: Scale, recipes: Sequence[Recipe], images: int) -> tuple[int, int]:
    """Estimate the gradient steps of a mean trial.

    Args:
      scale: of the trial.
      recipes: over which the mean is taken.
      images: that it is trained on.

    Returns:
      Steps to train it, and steps to validate and score it if no attack succeeds early.
    """
    train = sum(recipe.gradient_steps(images) for recipe in recipes) // len(recipes)
    attack = 0
    for battery, times, n in (
        (scale.battery(), 1, scale.images),
        (scale.watch(), scale.epochs, scale.watch_images),
    ):
        runs = [run for _, attack in battery.attacks for run in members(attack)]
        steps = sum(getattr(run, "steps", 1) for run in runs)
        # An image that stands everywhere meets the second attack of the largest ball alone.
        steps += max((getattr(run, "steps", 1) for run in battery.second_attacks), default=0)
        attack += times * steps * battery.draws * math.ceil(n / scale.batch)
    return train, attack
