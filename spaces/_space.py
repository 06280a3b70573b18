"""A search space: the hyperparameters of a question, and how a configuration becomes a recipe.

Nothing here imports torch, so that the command line can list every space at once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from spaces._knob import Choice, Knob, Params, Value, When, alternatives, exists
from spaces._objectives import check_objectives

if TYPE_CHECKING:
    from adv import Recipe

_BELOW_ONE = 1 - 1e-12


@dataclass(frozen=True)
class Baseline:
    """The configuration with which a question compares, such as a net without noise.

    Args:
      name: what it is, in a few words.
      params: its hyperparameters.
    """

    name: str
    params: Params


@dataclass(frozen=True)
class Space:
    """The hyperparameters (knobs) that a search varies, and the recipe of each configuration.

    Args:
      question: what the search is to answer, in one line.
      knobs: the hyperparameters by name. One with `when={"model": "bignet"}` is conditional: it
        exists only if `model`, which stands before it, has that value (or one of a tuple).
      build: `build(**params)` makes the `adv.Recipe` of a configuration.
      known: configurations to try first, such as a published setting.
      scale: settings of the chosen `Scale` that this space changes.
      laptop: narrower ranges of some hyperparameters for the laptop scale, where the whole ones
        would take hours.
      grid: the space has choices only, and a search tries each combination of them once.
      data: the data set of a search that names none; None: that of the scale.
      battery: the threat model of a search that names none, as `--battery` takes it; None: the
        report's.
      objectives: two names of `spaces.FIGURES`, for a search that names none; None: natural
        accuracy and attacked score.
      baseline: the known configuration with which the verdict compares; None for none.
      from_weights: a search of this space needs initial weights.

    Raises:
      ValueError: a hyperparameter or a known configuration does not fit the others.
    """

    question: str
    knobs: Mapping[str, Knob]
    build: Callable[..., Recipe]
    known: tuple[Params, ...] = ()
    scale: Mapping[str, Any] = field(default_factory=dict)
    laptop: Mapping[str, Knob] = field(default_factory=dict)
    grid: bool = False
    data: str | None = None
    battery: str | None = None
    objectives: tuple[str, str] | None = None
    baseline: Baseline | None = None
    from_weights: bool = False

    def __post_init__(self) -> None:
        for i, (name, knob) in enumerate(self.knobs.items()):
            if not isinstance(name, str) or not isinstance(knob, Knob):
                raise ValueError(f"a hyperparameter has a name and a knob, got {name!r}: {knob!r}")
            self._check_condition(name, knob, list(self.knobs)[:i])
        for name in self.laptop:
            if name not in self.knobs:
                raise ValueError(f"no hyperparameter {name!r} to narrow: {', '.join(self.knobs)}")
        if self.grid:
            all_ = tuple(_combinations(self.knobs))
            if self.known not in ((), all_):
                raise ValueError("the known configurations of a grid are its combinations")
            object.__setattr__(self, "known", all_)
        for params in self.known:
            self.check(params)
        if self.objectives is not None:
            check_objectives(self.objectives)
        if self.baseline and self.baseline.params not in self.known:
            raise ValueError(f"the baseline is a known configuration, not {self.baseline.params}")

    def check_names(self) -> None:
        """Check that hyperparameters can be arguments of `build`, which a recorded table has not.

        Raises:
          ValueError: a name is not made of letters, digits and _.
        """
        if wrong := [name for name in self.knobs if not name.isidentifier()]:
            raise ValueError(
                "the name of a hyperparameter is that of an argument of build: letters, digits "
                f"and _, got {wrong[0]!r}"
            )

    def _check_condition(self, name: str, knob: Knob, before: list[str]) -> None:
        for other, wanted in knob.when.items():
            if other not in before:
                raise ValueError(
                    f"hyperparameter {name!r} depends on {other!r}, which must come first"
                )
            for value in alternatives(wanted):
                if not self.knobs[other].holds(value):
                    raise ValueError(
                        f"hyperparameter {name!r} depends on {other} = {value}, which cannot be"
                    )

    def for_scale(self, name: str) -> Space:
        """Return the space as the scale of that name searches it.

        On the laptop scale some hyperparameters have narrower ranges.
        """
        if name != "laptop" or not self.laptop:
            return self
        return self.replace_knobs(self.laptop)

    def replace_knobs(self, changes: Mapping[str, Knob]) -> Space:
        """Return the space with narrower forms of some hyperparameters.

        Those whose condition cannot hold any more are gone. A known number outside its narrower
        range becomes the nearest one inside; a known configuration with an option that is not
        there is left out.
        """
        narrow: dict[str, Knob] = {}
        for key, knob in self.knobs.items():
            condition = _narrow_condition(knob.when, narrow)
            if condition is not None:
                narrow[key] = replace(changes.get(key, knob), when=condition)
        small = replace(self, knobs=narrow, known=(), laptop={}, baseline=None)
        if self.grid:
            return small
        near = ({k: _nearest(narrow, k, v) for k, v in params.items()} for params in self.known)
        inside = [params for params in near if small.holds(params)]
        distinct = tuple(params for i, params in enumerate(inside) if params not in inside[:i])
        kept = self.baseline if self.baseline and self.baseline.params in distinct else None
        return replace(small, known=distinct, baseline=kept)

    def try_first(self, params: Params) -> Space:
        """Return the space with one of its configurations before the known ones."""
        others = tuple(known for known in self.known if known != params)
        return self if self.grid else replace(self, known=(params, *others))

    def with_parts(self, **parts: Any) -> Space:
        """Return the space with other parts in each of its recipes, such as a net or weights.

        Args:
          parts: fields of `adv.Recipe` and their values.

        Raises:
          ValueError: the space searches the net itself, and `parts` has one; the space needs
            initial weights, and `parts` has none.
        """
        if "net" in parts and (knob := self.find_net_knob()):
            raise ValueError(
                f"this space searches the net itself, by {knob}: --net would overrule it; take "
                "another space"
            )
        if self.from_weights and "init" not in parts:
            raise ValueError("this space starts from given weights: --init FILE names them")
        if not parts:
            return self
        return replace(self, build=partial(_build_with, self.build, parts))

    def find_net_knob(self) -> str:
        """Return a hyperparameter that changes the net of the recipe, "" if none does.

        Each is varied alone over its options, or to the ends of its range, from each known
        configuration.
        """
        points = self.known or (self.at([0.5] * len(self.knobs)),)
        for point in points:
            net = self.build(**point).net
            for i, (name, knob) in enumerate(self.knobs.items()):
                for u in _variants(knob) if name in point else ():
                    position = self.position(point)
                    position[i] = u
                    if self.build(**self.at(position)).net != net:
                        return name
        return ""

    def at(self, position: Sequence[float]) -> Params:
        """Return the configuration at a position in the unit cube.

        Args:
          position: a coordinate in [0, 1) for each hyperparameter; those of conditional ones that
            do not exist there are ignored.
        """
        params: dict[str, Value] = {}
        for (name, knob), u in zip(self.knobs.items(), position, strict=True):
            if exists(knob, params):
                params[name] = knob.at(float(u))
        return params

    def position(self, params: Params) -> list[float]:
        """Return the position in the unit cube, [0, 1) each, at which `at` gives `params`.

        A hyperparameter that does not exist there is in the middle of its range, at 0.5.
        """
        return [
            min(_BELOW_ONE, max(0.0, knob.position(params[name]))) if name in params else 0.5
            for name, knob in self.knobs.items()
        ]

    def holds(self, params: Params) -> bool:
        """Return whether `params` is a configuration of this space."""
        try:
            self.check(params)
        except ValueError:
            return False
        return True

    def active(self, params: Params) -> Iterator[tuple[str, Knob]]:
        """Yield the hyperparameters that exist, given the values of `params` (may be partial)."""
        for name, knob in self.knobs.items():
            if exists(knob, params):
                yield name, knob

    def check(self, params: Params) -> None:
        """Raise ValueError unless `params` is a configuration of this space."""
        expected = dict(self.active(params))
        for name, knob in expected.items():  # first: a wrong value may make others superfluous
            if name in params and not knob.holds(params[name]):
                raise ValueError(f"{name}={params[name]!r} is outside {knob}")
        for name in params:
            if name not in expected:
                raise ValueError(f"no hyperparameter {name!r} here: {', '.join(expected)}")
        for name, knob in expected.items():
            if name not in params:
                raise ValueError(f"hyperparameter {name!r} is missing: {knob}")

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return the hyperparameters as plain data, for a record.

        Priors are left out: they are no part of the question.
        """
        return {
            name: {"kind": type(knob).__name__}
            | {key: value for key, value in asdict(knob).items() if key != "prior"}
            for name, knob in self.knobs.items()
        }

    @property
    def fingerprint(self) -> str:
        """12 hex digits that change whenever a hyperparameter does."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def _build_with(build: Callable[..., Recipe], parts: Mapping[str, Any], **params: Value) -> Recipe:
    """Return the recipe of a configuration with other parts."""
    return replace(build(**params), **parts)


def _variants(knob: Knob) -> tuple[float, ...]:
    """Return the positions of each option of a choice, or of the ends of a range."""
    values = knob.options if isinstance(knob, Choice) else (knob.low, knob.high)
    return tuple(min(_BELOW_ONE, knob.position(value)) for value in values)


def _narrow_condition(when: When, narrow: Mapping[str, Knob]) -> When | None:
    """Return the condition without the alternatives that narrower choices no longer have.

    None: it cannot hold any more.
    """
    left: dict[str, Value | tuple[Value, ...]] = {}
    for name, wanted in when.items():
        held = [v for v in alternatives(wanted) if name in narrow and narrow[name].holds(v)]
        if not held:
            return None
        left[name] = tuple(held) if isinstance(wanted, tuple) else wanted
    return left


def _nearest(knobs: Mapping[str, Knob], name: str, value: Value) -> Value:
    """Return the number of a knob's range nearest to a number; an option as it is.

    A knob that is fixed has one value.
    """
    knob = knobs.get(name)
    if isinstance(knob, Choice) and len(knob.options) == 1:
        return knob.options[0]
    if knob is None or isinstance(knob, Choice) or isinstance(value, str):
        return value
    return min(knob.high, max(knob.low, value))


def _combinations(knobs: Mapping[str, Knob]) -> Iterator[Params]:
    options = [knob.options for knob in knobs.values() if isinstance(knob, Choice)]
    if len(options) < len(knobs) or any(knob.when for knob in knobs.values()):
        raise ValueError("a grid takes choices only, none of them conditional")
    for values in itertools.product(*options):
        yield dict(zip(knobs, values, strict=True))
