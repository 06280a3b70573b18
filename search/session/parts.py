"""What a search puts into each recipe of its space: a net of another project, initial weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from adv import External, Recipe, Weights
from adv.checkpoints.expressions import parse
from adv.external.foreign_net import foreign_parts
from adv.net_flags import make_external, make_weights, print_warnings
from adv.shape import Shape
from adv.training.rehearsal import rehearse
from search.recipes import RecipeError, catch_recipe_errors
from search.record.json_records import FieldError
from search.record.study_header import StudyHeader
from search.session.options import Options
from search.trials.train_trial import Training
from spaces import Params

Parts = Mapping[str, Any]
"""Fields of a recipe and their values: `net`, an `External`, and `init`, `Weights`."""

_KINDS: Mapping[str, type] = {"net": External, "init": Weights}


def parts_of(options: Options) -> Parts:
    """Return what the flags put into each recipe; no code is run, and no file is read.

    Raises:
      ValueError: the flags do not fit together.
    """
    net = make_external(options.net, options.net_arg, options.mean, options.std)
    init = make_weights(options.init, options.init_key, options.new_head)
    return {name: value for name, value in (("net", net), ("init", init)) if value is not None}


def recorded_parts(options: Options, header: StudyHeader) -> Parts:
    """Return what a run that is resumed puts into each recipe, as its header records it.

    Raises:
      ValueError: the flags say otherwise; the header holds something else; or it names code that
        neither `--net` names nor `--trust-code` allows to run.
    """
    given, found = parts_of(options), {}
    for name, kind in _KINDS.items():
        recorded = getattr(header, name)
        if name in given and repr(given[name]) != recorded:
            raise ValueError(
                f"{options.resume} began with {recorded or f'no --{name}'}, not {given[name]}"
            )
        if recorded:
            found[name] = parse(recorded)
            if not isinstance(found[name], kind):
                raise FieldError(f"key {name!r} holds no {kind.__name__}")
    if "net" in found and "net" not in given and not options.trust_code:
        raise ValueError(
            f"{options.resume} names code, {found['net'].source}, which is run only if you trust "
            "it: --trust-code"
        )
    return found


def describe_parts(parts: Parts) -> str:
    """Return in words what stands in each recipe, "" for nothing."""
    return ", ".join(
        f"{flag} {getattr(parts[name], attribute)}"
        for name, flag, attribute in (("net", "--net", "source"), ("init", "--init", "path"))
        if name in parts
    )


def try_recipe(
    build: Callable[[Params], Recipe], params: Params, classes: int, shape: Shape
) -> dict[str, str]:
    """Try a recipe whose net or weights come from elsewhere, and return checksums of both.

    What a net of another project warns of is printed. A recipe that cannot be built is not tried:
    its trials fail and say why.

    Args:
      build: makes the recipe of a configuration.
      params: a configuration of the search.
      classes: of the data.
      shape: of its images.

    Returns:
      `source_sha256` of the net's code and `init_sha256` of the weights' file, where there are any.

    Raises:
      ValueError: in one line: the net or the weights cannot be used.
    """
    found: dict[str, str] = {}
    try:
        with catch_recipe_errors(params):
            recipe = build(params)
    except RecipeError:
        return found
    if isinstance(recipe.init, Weights):
        found["init_sha256"] = recipe.init.sha256()
    if found or getattr(recipe.net, "runs_code", False):
        with print_warnings():
            net = rehearse(recipe, classes, shape)
        for part in foreign_parts(net):
            found["source_sha256"] = part.hash_source()
    return found


def find_changes_of_code(run: Training, params: Params, header: StudyHeader) -> str:
    """Return in a line that the code of the net has changed since a run began, "" if it has not.

    Raises:
      ValueError: the net cannot be used any more, or the file of the initial weights has changed.
    """
    if not (header.source_sha256 or header.init_sha256):
        return ""
    recipe = run.recipe(params)
    init = recipe.init  # compared before it is read: what has replaced it may be anything
    if header.init_sha256 and isinstance(init, Weights) and init.sha256() != header.init_sha256:
        raise ValueError(f"the weights {init} have changed since {header.name} began")
    now = try_recipe(run.recipe, params, len(run.data.classes), run.data.shape)
    if header.source_sha256 not in ("", now.get("source_sha256", "")):
        name = recipe.net.source if isinstance(recipe.net, External) else "the net"
        return f"The source of {name} has changed since {header.name} began: values may differ."
    return ""
