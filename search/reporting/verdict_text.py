"""The verdict of a search in sentences, for the terminal, the page and the ledger."""

from __future__ import annotations

from typing import Any

from search.finals.verdict import Difference, Verdict
from search.formatting import objective_title, shown
from search.outcome.outcome import describe_undecided
from search.record.view import View
from spaces import find_objective


def describe_verdict(view: View, verdict: Verdict) -> list[str]:
    """Return the verdict in sentences, the answer first.

    Args:
      view: of the search.
      verdict: from `reach_verdict`.
    """
    lines = [_say_how_far(view, _answer(view, verdict))]
    if verdict.against:
        lines.append(_describe_against(view, verdict.against))
    if verdict.best is not None and verdict.nets > 1:
        lines.append(_describe_others(view, verdict))
    if not _has_fresh_seeds(view):
        lines.append("Each net was trained once: fresh seeds may change this.")
    return lines


def verdict_record(view: View, verdict: Verdict) -> dict[str, Any]:
    """Return the verdict as plain data, for the `end` event of the ledger."""
    plain: dict[str, Any] = {
        "kind": verdict.kind,
        "probability": verdict.probability,
        "nets": verdict.nets,
    }
    if verdict.best is not None:
        plain |= {"best": verdict.best, "bounds": verdict.bounds, "tied": verdict.tied}
    for name, difference in (("trade", verdict.trade), ("against", verdict.against)):
        if difference:
            plain[name] = vars(difference)
    if verdict.more:
        plain["more_trainings"] = verdict.more
    return {**plain, "text": " ".join(describe_verdict(view, verdict))}


def _answer(view: View, verdict: Verdict) -> str:
    if verdict.trade:
        accurate, robust = verdict.trade.ahead, verdict.trade.of
        first = _describe_difference(view, verdict.trade, 0)
        second = _describe_difference(view, verdict.trade, 1, swap=True)
        return (
            f"A trade-off: trial {accurate} against trial {robust}: {first}; trial {robust} "
            f"against trial {accurate}: {second} ({_p(verdict)})."
        )
    if verdict.best is not None:
        if verdict.nets == 1:
            rivals = [t for t in view.scored() if view.feasible(t) and t.number != verdict.best]
            if not rivals:
                return (
                    f"Trial {verdict.best} is the only net to judge by: no other one has finished "
                    "and keeps the bounds."
                )
            return (
                f"No trade-off: trial {verdict.best} is ahead of every other one in both "
                "objectives, beyond noise."
            )
        return (
            f"No trade-off: trial {verdict.best} is best or tied in both objectives "
            f"({_p(verdict)})."
        )
    return describe_undecided(verdict)


def _say_how_far(view: View, answer: str) -> str:
    """Put before the answer how many trials it rests on, if the search has not had all of them."""
    ended = sum(trial.state != "running" for trial in view.trials.values())
    if _has_fresh_seeds(view) or ended >= view.header.trials:
        return answer
    return f"After {ended} of {view.header.trials} trials: {answer[0].lower()}{answer[1:]}"


def _describe_against(view: View, against: Difference) -> str:
    both = ", ".join(_describe_difference(view, against, m) for m in range(2))
    name = view.header.baseline_name or "the baseline"
    return f"Trial {against.ahead} against {name} (trial {against.of}): {both}."


def _describe_others(view: View, verdict: Verdict) -> str:
    bounds = " or ".join(
        f"{abs(shown(name, bound)):.1f}{_unit(name)} of {objective_title(name)}"
        for name, bound in zip(view.header.aims, verdict.bounds, strict=True)
    )
    others = verdict.nets - 1
    none = f"None of the {others} other nets compared is" if others > 1 else "The other net is not"
    text = f"{none} ahead of it by more than {bounds} (95 %)"
    if not verdict.tied:
        return f"{text}."
    plural = "s" * (len(verdict.tied) > 1)
    return f"{text}; not told from it: trial{plural} {', '.join(map(str, verdict.tied))}."


def _describe_difference(view: View, difference: Difference, m: int, *, swap: bool = False) -> str:
    """Return one difference with its interval: "natural accuracy +0.6 points (-0.8 to +2.0)".

    Args:
      view: of the search.
      difference: to show.
      m: which objective.
      swap: whether it is that of the other net against this one.
    """
    name, sign = view.header.aims[m], -1 if swap else 1
    by = sign * shown(name, difference.by[m])
    low, high = sorted(sign * shown(name, end) for end in difference.intervals[m])
    if low <= 0 <= high:
        return f"{objective_title(name)} not told apart ({low:+.1f} to {high:+.1f}{_unit(name)})"
    return f"{objective_title(name)} {by:+.1f}{_unit(name)} ({low:+.1f} to {high:+.1f})"


def _unit(name: str) -> str:
    """Return the unit of a difference of two values."""
    unit = find_objective(name).unit
    return {"%": " points", "points": "", "": ""}.get(unit, f" {unit}")


def _p(verdict: Verdict) -> str:
    return "P > 0.99" if verdict.probability > 0.99 else f"P = {verdict.probability:.2f}"


def _has_fresh_seeds(view: View) -> bool:
    return view.finals is not None and bool(view.finals.scored())
