"""Constraints on a trial: bounds on its figures, such as parameters, latency and masking gap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from adv.intervals import MASKING_GAP_LIMIT, WRONG_GRADIENTS_LIMIT
from adv.shape import Shape
from adv.suggestions import suggest_or_list
from search.recipes import count_parameters
from search.record.json_records import FieldError
from search.record.limits import shorten
from search.record.study_header import StudyHeader
from search.record.trial_result import ResultDetails, TrialResult
from spaces import FIGURES, Params, Space, find_objective


def _gap(details: ResultDetails) -> float | None:
    return details.masking_gap.gap if details.masking_gap else None


MEASURES: Mapping[str, Callable[[ResultDetails], float | None]] = {
    "params": lambda details: details.parameters,
    "latency": lambda details: details.latency,  # milliseconds per image, all votes included
    "masking_gap": _gap,  # by how much a stronger attack lowers the accuracy, in [0, 1]
}
_ALIASES: Mapping[str, str] = {"parameters": "params"}  # that have had another name in bounds
_WRITTEN = re.compile(r"\s*([\w:.-]+?)\s*(<=|<|>=|>)\s*([-+.\deE]+)\s*")
NAMES = (*MEASURES, *(name for name in FIGURES if name not in (*MEASURES, *_ALIASES)))
"""Everything that can have a bound."""


@dataclass(frozen=True)
class Constraint:
    """A bound on a measure of a trial: a lower one where larger is better, else an upper one.

    Args:
      name: one of `NAMES`, or a certified accuracy with its radius.
      bound: in the unit of the measure.
    """

    name: str
    bound: float

    @property
    def at_least(self) -> bool:
        """Whether the bound is a lower one."""
        return is_lower_bound(self.name)

    def excess(self, result: TrialResult) -> float | None:
        """Return by how much a result exceeds the bound; None if it was not measured.

        It is 0 or less if the bound is kept.
        """
        if self.name in MEASURES:
            value = MEASURES[self.name](result.details)
        else:
            value = result.objectives.get(self.name)
        if value is None:
            return None
        return self.bound - value if self.at_least else value - self.bound

    def __str__(self) -> str:
        return f"{self.name}{'>' if self.at_least else '<'}{self.bound:g}"


def parse(text: str) -> Constraint:
    """Return the constraint that a text such as `params<5e6` or `worst_case>0.3` describes.

    Raises:
      ValueError: it describes none; one line says what is allowed.
    """
    example = "write NAME<NUMBER, such as params<5e6"
    match = _WRITTEN.fullmatch(text)
    if not match:
        raise ValueError(f"--constrain {text!r}: {example}; names: {', '.join(NAMES)}")
    name, sign, number = match.groups()
    name = _ALIASES.get(name, name)
    if name not in NAMES and not is_known_figure(name):
        raise ValueError(f"--constrain {text!r}{suggest_or_list(name, NAMES)}")
    try:
        bound = float(number)
    except ValueError:
        raise ValueError(f"--constrain {text!r}: {number!r} is not a number; {example}") from None
    if not bound > 0:
        raise ValueError(f"--constrain {text!r}: a bound has to be above 0")
    found = Constraint(name, bound)
    if (sign[0] == ">") != found.at_least:
        better, right = ("more", ">") if found.at_least else ("less", "<")
        raise ValueError(f"--constrain {text!r}: {better} {name} is better: {name}{right}{number}")
    if name == "masking_gap" and bound > 1:
        raise ValueError(f"--constrain {text!r}: a gap is in [0, 1]: ten points are 0.1")
    if found.at_least and find_objective(name).unit == "%" and bound > 1:
        raise ValueError(f"--constrain {text!r}: {name} is in [0, 1]: 30 % are 0.3")
    return found


def is_lower_bound(name: str) -> bool:
    """Return whether a bound of this name is a lower one, because more of it is better."""
    return is_known_figure(name) and find_objective(name).larger


def is_known_figure(name: str) -> bool:
    """Return whether a name is that of a figure, perhaps with a radius."""
    try:
        find_objective(name)
    except ValueError:
        return False
    return True


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
        if name not in MEASURES and not is_known_figure(name):
            near = suggest_or_list(name, NAMES)
            raise FieldError(f"key 'constraints' holds {shorten(name)}{near}")


def make_screen(
    space: Space, bounds: Mapping[str, float], classes: int, shape: Shape
) -> Callable[[Params], bool]:
    """Return a predicate: whether a configuration can keep the bounds, before it is trained.

    It checks the parameters, which `size_of` counts within a second. A configuration whose net
    cannot be built is allowed: its trial fails and says why.
    """

    def allowed(params: Params) -> bool:
        counts = count_parameters(lambda p: space.build(**p), [params], classes, shape)
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
