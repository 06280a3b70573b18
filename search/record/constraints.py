"""Constraints on a trial: upper bounds on its parameters, its latency and its masking gap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from adv.intervals import MASKING_GAP_LIMIT, WRONG_GRADIENTS_LIMIT
from adv.suggestions import suggest_or_list
from search.recipes import count_parameters
from search.record.json_records import FieldError
from search.record.limits import shorten
from search.record.study_header import StudyHeader
from search.record.trial_result import ResultDetails, TrialResult
from spaces import Params, Space


def _gap(details: ResultDetails) -> float | None:
    return details.masking_gap.gap if details.masking_gap else None


MEASURES: Mapping[str, Callable[[ResultDetails], float | None]] = {
    "params": lambda details: details.parameters,
    "latency": lambda details: details.latency,  # milliseconds per image, all votes included
    "masking_gap": _gap,  # by how much a stronger attack lowers the accuracy, in [0, 1]
}
_WRITTEN = re.compile(r"\s*([\w-]+)\s*(<=|<)\s*([-+.\deE]+)\s*")


@dataclass(frozen=True)
class Constraint:
    """An upper bound on a measure of a trial.

    Args:
      name: one of `MEASURES`.
      bound: in the unit of the measure.
    """

    name: str
    bound: float

    def excess(self, result: TrialResult) -> float | None:
        """Return by how much a result exceeds the bound; None if it was not measured.

        It is 0 or less if the bound is kept.
        """
        value = MEASURES[self.name](result.details)
        return None if value is None else value - self.bound

    def __str__(self) -> str:
        return f"{self.name}<{self.bound:g}"


def parse(text: str) -> Constraint:
    """Return the constraint that a text such as `params<5e6` describes.

    Raises:
      ValueError: it describes none; one line says what is allowed.
    """
    example = "write NAME<NUMBER, such as params<5e6"
    match = _WRITTEN.fullmatch(text)
    if not match:
        raise ValueError(f"--constrain {text!r}: {example}; names: {', '.join(MEASURES)}")
    name, _, number = match.groups()
    if name not in MEASURES:
        raise ValueError(f"--constrain {text!r}{suggest_or_list(name, MEASURES)}")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"--constrain {text!r}: {number!r} is not a number; {example}") from None
    if not bound > 0:
        raise ValueError(f"--constrain {text!r}: a bound has to be above 0")
    if name == "masking_gap" and bound > 1:
        raise ValueError(f"--constrain {text!r}: a gap is in [0, 1]: ten points are 0.1")
    return Constraint(name, bound)


def parse_bounds(texts: Iterable[str]) -> dict[str, float]:
    """Return the bounds that texts such as `params<5e6` describe, by name.

    Raises:
      ValueError: one describes none (`parse`), or a name has two bounds.
    """
    found: dict[str, float] = {}
    for bound in map(parse, texts):
        if bound.name in found:
            raise ValueError(f"--constrain: {bound.name} has two bounds, give it one")
        found[bound.name] = bound.bound
    return found


def check_names(header: StudyHeader) -> None:
    """Raise FieldError if a search has a bound on something that this program does not measure."""
    for name in header.constraints or {}:
        if name not in MEASURES:
            near = suggest_or_list(name, MEASURES)
            raise FieldError(f"key 'constraints' holds {shorten(name)}{near}")


def make_screen(
    space: Space, bounds: Mapping[str, float], classes: int
) -> Callable[[Params], bool]:
    """Return a predicate: whether a configuration can keep the bounds, before it is trained.

    It checks the parameters, which `size_of` counts in milliseconds. A configuration whose net
    cannot be built is allowed: its trial fails and says why.
    """

    def allowed(params: Params) -> bool:
        counts = count_parameters(lambda p: space.build(**p), [params], classes)
        return all(parameters <= bounds["params"] for parameters in counts)

    return allowed if "params" in bounds else lambda _: True


def excesses(result: TrialResult, header: StudyHeader) -> dict[str, float]:
    """Return by how much a result exceeds each bound of its search; 0 or less if it keeps it.

    A masking gap without a bound of its own may not be flagged, and no gradients may be wrong. A
    search from before there were constraints has none.
    """
    if header.constraints is None:
        return {}
    bounds, gap = header.constraints, result.details.masking_gap
    found = {name: Constraint(name, bound).excess(result) for name, bound in bounds.items()}
    if "masking_gap" not in bounds and gap:
        found["masking_gap"] = gap.interval[0] - (
            MASKING_GAP_LIMIT if gap.limit is None else gap.limit
        )
    if gap and gap.wrong_gradients is not None:
        found["wrong_gradients"] = gap.wrong_gradients - WRONG_GRADIENTS_LIMIT
    return {name: excess for name, excess in found.items() if excess is not None}


def feasible(result: TrialResult, header: StudyHeader) -> bool:
    """Return whether a result keeps all bounds of its search."""
    return all(excess <= 0 for excess in excesses(result, header).values())
