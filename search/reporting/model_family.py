"""The family of a trial's net, such as "wrn" or "vit", by which pictures and trackers group."""

from __future__ import annotations

import re
from functools import lru_cache

import spaces
from search.record.study_header import StudyHeader
from search.record.trial import Trial

_KNOBS = ("model", "net", "family", "architecture")  # hyperparameters that choose the net
_FAMILY = re.compile(r"[a-z]+")
_MODEL_NAME = re.compile(r"'model_name': '([^']+)'")  # of timm:create_model
_CALLABLE = re.compile(r"'[^']*?[:.]?([^':.]+)'")  # the last name of the source


def find_model_family(trial: Trial, header: StudyHeader) -> str:
    """Return the family of the net of a trial in lower case, "" if it cannot be told.

    It is the first word of the hyperparameter that chooses the net ("wrn" of "wrn-16-10"), else
    the net of another project by its name there, else the net that the space always builds.
    A file of the user's is never run for it.
    """
    chosen = next((trial.params[name] for name in _KNOBS if name in trial.params), None)
    if isinstance(chosen, str):
        return _first_word(chosen)
    if header.net:
        named = _MODEL_NAME.search(header.net) or _CALLABLE.search(header.net)
        return _first_word(named[1]) if named else ""
    if not header.space or spaces.is_file(header.space):
        return ""
    return _fixed_net(header.space)


@lru_cache(maxsize=32)
def _fixed_net(name: str) -> str:
    """Return the family of the net that a space of this program builds at its known points."""
    try:
        space = spaces.load(name)
        return type(space.build(**space.known[0]).net).__name__.lower().rstrip("0123456789")
    except Exception:  # a space of another version
        return ""


def _first_word(text: str) -> str:
    found = _FAMILY.match(text.lower())
    return found[0] if found else ""
