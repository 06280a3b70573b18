"""Remarks on a run, in sentences: what is special about its data, its bounds and its nets."""

from __future__ import annotations

from search.outcome.front import find_front
from search.record.constraints import excesses, is_lower_bound
from search.record.run_folder import FRONT
from search.record.view import View
from search.surrogates.front_model import MIN_RESULTS
from spaces import find_objective


def describe_shortfalls(view: View) -> list[str]:
    """Return in words which splits hold fewer images than the search planned with."""
    return [f"Small data: {text}." for text in view.header.shortfalls]


def describe_balance(view: View) -> list[str]:
    """Return the balanced accuracies of the front, recorded where classes differ in size."""
    name = "balanced_accuracy"
    known = [
        f"trial {trial.number} {100 * trial.result.objectives[name]:.1f} %"
        for trial in view.front()
        if trial.result and name in trial.result.objectives
    ]
    if not known or name in view.header.aims:
        return []
    return [f"Classes differ in size. Balanced accuracy: {', '.join(known)}."]


def describe_infeasible(view: View) -> list[str]:
    """Return in words which finished trials are left out of the front, and by which bound."""
    broken: dict[str, list[str]] = {}
    for trial in view.scored():
        found = excesses(trial.result, view.header) if trial.result else {}
        for name in found:
            if found[name] > 0:
                broken.setdefault(name, []).append(str(trial.number))
    if broken and not any(map(view.feasible, view.scored())):
        return [f"No trial keeps the bounds ({', '.join(broken)}): the front is of all trials."]
    return [
        f"Left out of the front: trial{'s' * (len(numbers) > 1)} {', '.join(numbers)}, "
        f"{'below' if is_lower_bound(name) else 'above'} the bound of {name}."
        for name, numbers in broken.items()
    ]


def describe_constant(view: View) -> list[str]:
    """Return in words which objective had the same value in every trial."""
    points = [trial.result.point for trial in view.scored() if trial.result]
    values = dict(zip(view.header.aims, zip(*points, strict=True), strict=False))
    return [
        f"{name} was {find_objective(name).sign * seen[0]:g} in all {len(seen)} finished trials: "
        "the search went by the other objective."
        for name, seen in values.items()
        if len(seen) >= MIN_RESULTS and len(set(seen)) == 1
    ]


def describe_nets(view: View) -> list[str]:
    """Return in words which nets could not be scored again, and which of the front are lost."""
    unscored = [
        f"{name} {trial.number}"
        for name, part in (("trial", view), ("final", view.finals))
        for trial in (part.in_state("finished") if part else [])
        if not trial.result
    ]
    lines = [
        f"Trial {one.number} has lost its net, so it is not in {FRONT}/: {one.net.lost_net}."
        for one in find_front(view).members
        if one.net.lost_net
    ]
    if unscored:
        lines.append(
            f"Finished, but without a result under this battery: {', '.join(unscored)} (reasons in "
            "the report). The next --rescore tries them again."
        )
    return lines
