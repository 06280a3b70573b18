"""The flags of a training like that of a net: `python -m adv train --like CHECKPOINT`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import spaces
from adv.checkpoints.checkpoint import read_checkpoint
from adv.cli.export_run import read_training
from adv.user_code import name_file


def list_flags(path: Path, asked: Mapping[str, Any], *, trust_code: bool) -> list[str]:
    """Return the flags of `train` that train as a net was trained.

    Args:
      path: the checkpoint.
      asked: by flag, what the user says instead: the space, which must be that of the net; the
        data, the image size, the epochs, the seed. None: as the net has it.
      trust_code: run the code that the checkpoint names.

    Raises:
      ValueError: the checkpoint cannot be used, or is of another space; or it names code, and
        `trust_code` is not set.
    """
    space = asked["space"]
    if space is not None:
        _check_space(path, space)
        if spaces.is_file(space):
            name_file(space)
    words, seed = read_training(path, trust_code=trust_code, own_data=asked["data"] is None)
    given = {"seed": seed} | {name: value for name, value in asked.items() if value is not None}
    for name, value in given.items():
        words = _replace(words, f"--{name.replace('_', '-')}", str(value))
    return words


def _check_space(path: Path, space: str) -> None:
    known = read_checkpoint(path)[1].get("space")
    if known is None or spaces.title(str(known)) != spaces.title(space):
        raise ValueError(f"--space {space}: {path} was trained in the space {known}")


def _replace(words: list[str], flag: str, value: str) -> list[str]:
    """Return the words of a command with another value of a flag, or with the flag added."""
    if flag not in words:
        return [*words, flag, value]
    place = words.index(flag) + 1
    return [*words[:place], value, *words[place + 1 :]]
