"""Check the settings that a run began with before it goes on with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Any, get_type_hints

import spaces
from adv.shape import DEFAULT_SHAPE, format_shape
from adv.suggestions import suggest, suggest_or_list
from search.record.json_records import FieldError, read_key
from search.record.limits import MAX_EPOCHS, MAX_TRIALS, Range, shorten
from search.record.study_header import StudyHeader
from search.record.view import View
from search.samplers.table import SAMPLERS
from search.stopping.table import STOPPERS
from spaces import Params, Scale, Space

_ENDS: Mapping[str, tuple[float, float]] = {  # 1 to 10 million where nothing else is said
    "trials": (1, MAX_TRIALS),
    "epochs": (1, MAX_EPOCHS),
    "train_steps": (0, 10**6),
    "cpus": (1e-6, 1e6),
    "gpus": (0, 1e6),
    "gap_images": (0, 10**7),
}


def restore_scale(header: StudyHeader) -> Scale:
    """Return the scale of a run; what it did not record is as today, but for the
    score and the image size.

    Raises:
      ValueError: a setting is unknown, or its value cannot be; one line names it.
    """
    recorded, hints = header.scale, get_type_hints(Scale)
    name = read_key(recorded, "name", str)
    for key in recorded:
        if key not in hints:
            near = suggest(key, hints) or "; update the program"
            raise FieldError(f"no setting {shorten(key)} of a scale is known{near}")
    for one in fields(Scale):
        if one.name in recorded:
            read_key(recorded, one.name, _limit(one.name, hints[one.name]))
    # Of runs from before there was a choice.
    first = {"score": spaces.FIRST_SCORE, "image_size": format_shape(DEFAULT_SHAPE)}
    return Scale(**{**asdict(spaces.scale(name)), **first, **recorded})


def _limit(name: str, kind: Any) -> Any:
    """Return the type of a setting with the range of its numbers."""
    if kind in (str, bool):
        return kind
    allowed = Range(*_ENDS.get(name, (1, 10**7)))
    if kind in (int, float):
        return Annotated[kind, allowed]
    return Annotated[int, allowed] | None


def check_recorded_names(header: StudyHeader) -> None:
    """Raise ValueError if the sampler or the stopper of a run is unknown; it may be of a newer one.

    A name that was not recorded ("") is none.
    """
    for kind, name, known in (
        ("sampler", header.sampler, SAMPLERS),
        ("stopper", header.stopper, STOPPERS),
    ):
        if name and name not in known:
            raise ValueError(
                f"it began with {kind} {shorten(name)}, which is unknown"
                + suggest_or_list(name, known)
            )


def check_recorded_params(space: Space, view: View) -> None:
    """Raise ValueError unless all configurations of a run are configurations of its space."""
    warm, finals = view.header.warm, view.finals.trials if view.finals else {}
    trials = [(f"trial {number}", trial.params) for number, trial in view.trials.items()]
    trials += [(f"final {number}", trial.params) for number, trial in finals.items()]
    points = [("warm start", params) for params in warm.points] if warm else []
    told = [("warm start", trial["params"]) for trial in warm.told] if warm else []
    _check_each(space, [*trials, *points, *told])


def _check_each(space: Space, named: Iterable[tuple[str, Params]]) -> None:
    for name, params in named:
        try:
            space.check(params)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
