"""Bounds that a trial must keep: its parameters, its latency, its masking gap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from adv.suggestions import suggest
from search.record.study_header import StudyHeader
from search.record.trial_result import TrialResult
from spaces import Params, Space

NAMES = {
    "params": "parameters of the net",
    "latency": "milliseconds to classify one image, votes of a random net included",
    "masking_gap": "what a stronger attack takes from its accuracy, in [0, 1]",
}
FLAG = 0.04  # `adv.auditing.gradient_masking.LIMIT`; a test holds them equal
_WRITTEN = re.compile(r"\s*([\w-]+)\s*(<=|<)\s*([-+.\deE]+)\s*")


@dataclass(frozen=True)
class Constraint:
    """A trial whose `name` is above `bound` is not feasible."""

    name: str
    bound: float

    def excess(self, result: TrialResult) -> float | None:
        """By how much it is above the bound, 0 or less where it is not; None if not measured."""
        details = result.details
        measured = {
            "params": details.parameters,
            "latency": details.latency,
            "masking_gap": details.masking_gap.gap if details.masking_gap else None,
        }
        value = measured[self.name]
        return None if value is None else value - self.bound

    def __str__(self) -> str:
        return f"{self.name}<{self.bound:g}"


def parse(text: str) -> Constraint:
    """The constraint that a text such as `params<5e6` names.

    Raises:
      ValueError: it names none; one line says what is allowed.
    """
    example = "write NAME<NUMBER, such as params<5e6"
    match = _WRITTEN.fullmatch(text)
    if not match:
        raise ValueError(f"--constrain {text!r}: {example}; names: {', '.join(NAMES)}")
    name, _, number = match.groups()
    if name not in NAMES:
        near = suggest(name, NAMES) or ":"
        raise ValueError(f"--constrain {text!r}{near} names: {', '.join(NAMES)}")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"--constrain {text!r}: {number!r} is no number; {example}") from None
    if not bound > 0:
        raise ValueError(f"--constrain {text!r}: a bound is above 0")
    if name == "masking_gap" and bound > 1:
        raise ValueError(f"--constrain {text!r}: a gap lies in [0, 1], three points are 0.03")
    return Constraint(name, bound)


def bounds(texts: Iterable[str]) -> dict[str, float]:
    """The bounds that the texts name, by name.

    Raises:
      ValueError: one is no bound (`parse`), or a name has two.
    """
    found: dict[str, float] = {}
    for bound in map(parse, texts):
        if bound.name in found:
            raise ValueError(f"--constrain: {bound.name} has two bounds, give it one")
        found[bound.name] = bound.bound
    return found


def screen(space: Space, bounds: Mapping[str, float], classes: int) -> Callable[[Params], bool]:
    """Whether a point can keep the bounds, as far as that is known before it is trained.

    That is its parameters; `size_of` counts those of the plain net in milliseconds.
    """

    def allowed(params: Params) -> bool:
        from adv import size_of

        return size_of(space.build(**params).net, classes).parameters <= bounds["params"]

    return allowed if "params" in bounds else lambda _: True


def excesses(result: TrialResult, header: StudyHeader) -> dict[str, float]:
    """By how much a result is above each bound of its study, 0 or less where it keeps it.

    A masking gap without a bound of its own may not be flagged. A search from before there were
    constraints has none.
    """
    if header.constraints is None:
        return {}
    bounds, gap = header.constraints, result.details.masking_gap
    found = {name: Constraint(name, bound).excess(result) for name, bound in bounds.items()}
    if "masking_gap" not in bounds and gap:
        found["masking_gap"] = gap.interval[0] - FLAG
    return {name: excess for name, excess in found.items() if excess is not None}


def feasible(result: TrialResult, header: StudyHeader) -> bool:
    """Whether a result keeps all bounds of its study."""
    return all(excess <= 0 for excess in excesses(result, header).values())
