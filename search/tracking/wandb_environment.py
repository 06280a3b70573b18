"""The environment variables of W&B: which of them a search honours, and which it hides.

Those that say where or how to log (WANDB_PROJECT, WANDB_ENTITY, WANDB_MODE, WANDB_TAGS and others)
are honoured as W&B documents: a flag comes before the variable, the variable before the default.
Those that describe one run cannot apply to a search, which has a run for each trial under ids of
its own. `wandb agent` and launchers leave them behind.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

DEFAULT_PROJECT = "robustune"
HIDDEN = (
    "WANDB_CONFIG",
    "WANDB_FORK_FROM",
    "WANDB_JOB_TYPE",
    "WANDB_LAUNCH",
    "WANDB_LAUNCH_CONFIG_PATH",
    "WANDB_NAME",
    "WANDB_RESUME",
    "WANDB_RESUMED",
    "WANDB_RESUME_FROM",
    "WANDB_RUN_GROUP",
    "WANDB_RUN_ID",
    "WANDB_RUN_JOB_TYPE",
    "WANDB_RUN_NAME",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
)
_FORBIDDEN = "/\\#?%:"  # as in wandb.Settings.validate_project
_LONGEST = 128


@contextmanager
def hide_run_variables() -> Iterator[None]:
    """Hide the variables that describe one run, until the context ends.

    With WANDB_SWEEP_ID set, W&B ignores the id that a run is given, and nothing can be resumed.
    """
    hidden = {name: os.environ.pop(name) for name in HIDDEN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


def resolve_project(flag: str | None) -> str:
    """Return the project: that of `--wandb-project`, of WANDB_PROJECT, or "robustune".

    Raises:
      ValueError: W&B allows no project of this name.
    """
    source, name = _find_name("--wandb-project", flag, "WANDB_PROJECT")
    if name is None:
        return DEFAULT_PROJECT
    _check_name(source, name)
    return name


def resolve_entity(flag: str | None) -> str | None:
    """Return the entity: that of `--wandb-entity` or WANDB_ENTITY; None: the account's own.

    Raises:
      ValueError: W&B allows no team or user of this name.
    """
    source, name = _find_name("--wandb-entity", flag, "WANDB_ENTITY")
    if name is not None:
        _check_name(source, name)
    return name


def _find_name(flag: str, given: str | None, variable: str) -> tuple[str, str | None]:
    """Return where a name comes from, and the name; an empty variable counts as not set."""
    return (flag, given) if given is not None else (variable, os.environ.get(variable) or None)


def _check_name(source: str, name: str) -> None:
    """Raise ValueError unless W&B accepts a name of a project or entity."""
    found = [char for char in _FORBIDDEN if char in name]
    found += [repr(char) for char in name if not char.isprintable()]
    if not name.strip() or found or len(name) > _LONGEST:
        size = f"has {len(name)} characters" if name.strip() else "is empty"
        what = f"contains {' '.join(found)}" if found else size
        raise ValueError(
            f"{source} {name[: _LONGEST + 1]!r} {what}: W&B takes names of 1 to {_LONGEST} "
            f"characters without {' '.join(_FORBIDDEN)}"
        )
