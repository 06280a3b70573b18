"""The section of the HTML report on which hyperparameters mattered, and in which direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from search.formatting import count
from search.record.view import View
from search.reporting import plots
from search.reporting.effects import MIN_TRIALS, Effect, find_effects
from search.reporting.html_template import figure, part, section, table
from search.reporting.importance import importance
from search.reporting.interactions import MIN_TRIALS as MIN_PAIRS
from search.reporting.interactions import Interaction, find_interactions
from search.reporting.page import Page
from search.reporting.parallel_plot import parallel
from search.reporting.slices_plots import MAX_POINTS, pair, slices
from spaces import find_objective

MAX_SLICES = 24


def importance_section(page: Page) -> list[str]:
    """Return the section on the hyperparameters; none without a result."""
    if not page.view.scored():
        return []
    shares = importance(page.view)
    parts = [_shares(shares), _effects(page.view), _slices(page), _parallel(page)]
    parts.append(_interactions(page, shares))
    return [section("What mattered", "", "".join(parts), "mattered")]


def _shares(shares: Mapping[str, Mapping[str, float]] | str) -> str:
    if isinstance(shares, str):
        content = f"<p class='none'>{escape(shares)}</p>"
    else:
        label = "Bars: share of each hyperparameter"
        content = figure(plots.importance(shares), "importance", label)
    return part(
        "Importance",
        "PED-ANOVA: which hyperparameters separate the best trials from the rest, and a "
        "conditional one among the trials that have it. With few trials it is only a hint.",
        content,
    )


def _effects(view: View) -> str:
    """Return in which direction each hyperparameter moves each objective."""
    effects = find_effects(view)
    if not effects:
        text = f"Directions need {MIN_TRIALS} finished trials that have the hyperparameter."
        return part("Direction", "", f"<p class='none'>{text}</p>")
    labels = list(dict.fromkeys((e.knob, e.option) for e in effects))
    by_key = {(e.knob, e.option, e.objective): e for e in effects}
    aims = view.header.aims
    heads = ["Hyperparameter", "Trials", *(find_objective(n).title.capitalize() for n in aims)]
    rows = []
    for knob, option in labels:
        mine = [by_key.get((knob, option, name)) for name in aims]
        trials = next(effect.trials for effect in mine if effect)
        name = f"{escape(knob)} = {escape(option)}" if option else escape(knob)
        rows.append([name + _condition(view, knob), str(trials), *map(_effect_cell, mine)])
    return part(
        "Direction",
        "Of a number the rank correlation with the objective, of a choice by how much the trials "
        "with that option are above the others, in the objective's unit. The intervals hold "
        "together, at 95 %, for the whole table; only where one excludes zero is a direction "
        "named. The sampler chose the trials, so that an effect may be another hyperparameter's.",
        table("The direction in which each hyperparameter moves the objectives", heads, rows),
    )


def _condition(view: View, knob: str) -> str:
    """Return in grey the condition under which a hyperparameter exists, "" for none."""
    when: Mapping[str, Any] = view.header.knobs[knob].get("when") or {}
    said = ", ".join(f"{name} = {_options(value)}" for name, value in when.items())
    return f" <span class='pm'>where {escape(said)}</span>" if said else ""


def _options(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _effect_cell(effect: Effect | None) -> str:
    if effect is None:
        return "–"
    low, high = effect.interval
    digits = "{:+.1f} <span class='pm'>[{:+.1f}, {:+.1f}]</span>"
    if not effect.option:
        digits = digits.replace(".1f", ".2f")
    text = digits.format(effect.value, low, high)
    if not effect.told:
        return f"<span class='pm'>cannot be told</span> {text}"
    arrow = ("<span class='up'>↑ {}</span>", "<span class='down'>↓ {}</span>")[effect.value < 0]
    words = ("raises it", "lowers it") if not effect.option else ("higher", "lower")
    return f"{arrow.format(words[effect.value < 0])} {text}"


def _slices(page: Page) -> str:
    view = page.view
    knobs = [name for name in view.header.knobs if any(name in t.params for t in view.scored())]
    if not knobs:
        return ""
    some = knobs[:MAX_SLICES]
    plots_ = "".join(
        figure(
            slices(view, name, page.numbers),
            f"slice-{i}",
            f"Scatter: both objectives against {name}",
            nets=True,
        )
        for i, name in enumerate(some)
    )
    left = "" if len(knobs) == len(some) else f" The first {len(some)} of {len(knobs)}."
    return part(
        "Slices",
        "Both objectives against each hyperparameter, of the trials that have it. Blue: on the "
        f"front; crosses: marked.{_describe_sample(view)}{left}",
        f"<div class='grid'>{plots_}</div>",
    )


def _describe_sample(view: View) -> str:
    n = len(view.scored())
    return f" {MAX_POINTS} of {n} trials and the front are drawn." if n > MAX_POINTS else ""


def _parallel(page: Page) -> str:
    if not page.view.header.knobs:
        return ""
    return part(
        "Parallel coordinates",
        "A line for each trial, through its hyperparameters to both objectives on the right. A "
        "line at the bottom does not have that hyperparameter.",
        figure(
            parallel(page.view, page.numbers), "parallel", "Lines: trials across hyperparameters"
        ),
    )


def _interactions(page: Page, shares: Mapping[str, Mapping[str, float]] | str) -> str:
    """Return which hyperparameters change each other's effect, and the two that matter most."""
    view = page.view
    found, tested = find_interactions(view)
    if not tested:
        text = f"Interactions need {MIN_PAIRS} finished trials that have both hyperparameters."
        return part("Interactions", "", f"<p class='none'>{text}</p>")
    if found:
        heads = ["Hyperparameters", "Objective", "Partial correlation", "Trials"]
        content = table("Interactions", heads, [_interaction_row(one) for one in found[:10]])
    else:
        content = (
            f"<p class='none'>None of {count(tested, 'pair')} of hyperparameters and objectives "
            "can be told from noise.</p>"
        )
    names = _most_important(view, shares)
    if len(names) == 2:
        content += (
            "<div class='columns'>"
            + "".join(
                figure(
                    pair(view, names[0], names[1], objective, page.numbers),
                    f"pair-{i}",
                    f"Scatter: {names[0]} and {names[1]}, coloured by {objective}",
                    nets=True,
                )
                for i, objective in enumerate(view.header.aims)
            )
            + "</div>"
        )
    return part(
        "Interactions",
        "Where one hyperparameter changes the effect of another one. Above zero, the objective "
        "rises more with one of them where the other one is large. Named are those whose interval "
        "excludes zero, all pairs together at 95 %.",
        content,
    )


def _interaction_row(one: Interaction) -> list[str]:
    low, high = one.interval
    return [
        f"{escape(one.first)} × {escape(one.second)}",
        escape(find_objective(one.objective).title),
        f"{one.value:+.2f} <span class='pm'>[{low:+.2f}, {high:+.2f}]</span>",
        str(one.trials),
    ]


def _most_important(view: View, shares: Mapping[str, Mapping[str, float]] | str) -> Sequence[str]:
    """Return the two hyperparameters with the largest shares in both objectives together."""
    if isinstance(shares, str):
        return list(view.header.knobs)[:2]
    total = {n: sum(share.get(n, 0.0) for share in shares.values()) for n in view.header.knobs}
    return sorted(total, key=lambda name: -total[name])[:2]
