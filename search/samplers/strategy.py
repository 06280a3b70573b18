"""A sampler's strategy: how it proposes configurations, and its defaults."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from spaces import Params, Space

if TYPE_CHECKING:  # the command line reads the table of samplers, and needs no NumPy for that
    from search.record.trial_result import TrialResult
    from search.record.view import View

MAX_GP_TRIALS = 500  # beyond them a Gaussian process takes several seconds for a proposal
RANDOM_SHARE = 0.1

Observed = Sequence[tuple["Params", "TrialResult"]]
"""Finished trials of earlier studies under the same battery, as (configuration, result)."""


class Proposed(NamedTuple):
    """A configuration, and the name of who has proposed it, which becomes the trial's origin."""

    params: Params
    origin: str


ProposeParams = Callable[["View", random.Random], "Params | Proposed | None"]
"""Given the view and a random generator, a configuration; None to fall back to the Sobol design.

It is `Proposed` if its origin is not the sampler's name.
"""


def accept_any(space: Space, trials: int) -> None:
    """Accept every space and every number of trials: the check of a sampler without limits."""


@dataclass(frozen=True)
class Strategy:
    """How a sampler proposes configurations.

    Args:
      build: makes the proposing function for a space, given the observed trials of earlier studies;
        None proposes the Sobol sequence and nothing else.
      needs_initial_design: True if proposals start only after the initial design; False if they
        start right after the known configurations.
      random_share: the share of proposals that are drawn at random instead, in [0, 1].
      check: raises ValueError if the sampler cannot handle the space or the number of trials.
    """

    build: Callable[[Space, Observed], ProposeParams] | None
    needs_initial_design: bool = True
    random_share: float = RANDOM_SHARE
    check: Callable[[Space, int], None] = accept_any
