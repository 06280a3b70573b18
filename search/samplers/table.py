"""The samplers by their names on the command line.

To add a sampler, write a file with a `Strategy` and add a line to `SAMPLERS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from search.samplers.strategy import MAX_GP_TRIALS, Strategy
from spaces import Params, Space

if TYPE_CHECKING:
    from search.record.study_header import StudyHeader
    from search.samplers.sampler import Sampler

# Name -> where its `Strategy` is (imported on first use: --help must stay fast), and its help.
SAMPLERS: Mapping[str, tuple[str, str]] = {
    "portfolio": (
        "search.samplers.portfolio:PORTFOLIO",
        "kriging, a forest, tpe, nsga2 and Sobol share the trials by what each has found "
        f"(default up to {MAX_GP_TRIALS} trials)",
    ),
    "kriging": (
        "search.samplers.model_sampler:KRIGING",
        "multi-fidelity Gaussian processes that also learn from stopped trials; the model is used "
        "as often as cross-validation shows that it predicts well",
    ),
    "forest": (
        "search.samplers.model_sampler:FOREST",
        "randomised trees, in the same way, but without values at rungs",
    ),
    "tpe": (
        "search.samplers.optuna_samplers:TPE",
        "tree-structured Parzen estimators (default for more trials)",
    ),
    "nsga2": ("search.samplers.nsga2:NSGA2", "offspring of the best configurations"),
    "gp": (
        "search.samplers.optuna_samplers:GP",
        f"Optuna's Gaussian processes, up to {MAX_GP_TRIALS} trials, no conditional "
        "hyperparameters",
    ),
    "random": ("search.samplers.initial_design:RANDOM", "independent uniform draws"),
    "qmc": ("search.samplers.initial_design:QMC", "a Sobol sequence"),
}
SAMPLER_HELP = "; ".join(f"{name}: {text}" for name, (_, text) in SAMPLERS.items()) + "."


def load_strategy(name: str) -> Strategy:
    """Return the strategy of the sampler `name`, a key of `SAMPLERS`."""
    strategy: Strategy = resolve_name(SAMPLERS[name][0])
    return strategy


def make_sampler(
    name: str,
    space: Space,
    *,
    seed: int,
    start: int,
    header: StudyHeader | None = None,
    allowed: Callable[[Params], bool] = lambda _: True,
) -> Sampler:
    """Build the sampler `name`, a key of `SAMPLERS`.

    Args:
      name: of the sampler.
      space: the search space.
      seed: of the search.
      start: how many trials the initial design has, see `initial_design_size`. A study that
        was warm-started with observed trials needs none.
      header: the study's; it may hold configurations and trials of earlier studies
        (`search.samplers.warm_start`).
      allowed: returns False for configurations that must not be tried; known configurations that
        it rejects are left out.

    Raises:
      ValueError: the sampler cannot handle this space.
    """
    from search.samplers.sampler import StagedSampler
    from search.samplers.warm_start import observed_trials

    strategy = load_strategy(name)
    strategy.check(space, 0)
    warm = header.warm if header else None
    observed = observed_trials(warm)
    known = (*(warm.points if warm else ()), *space.known)
    first = [params for i, params in enumerate(known) if params not in known[:i]]
    first = [params for params in first if allowed(params)]
    if observed or not strategy.needs_initial_design:
        start = len(first)
    propose = strategy.build(space, observed) if strategy.build else None
    start = max(start, len(first))
    return StagedSampler(space, seed, first, start, name, propose, strategy.random_share, allowed)


def default_sampler_name(trials: int) -> str:
    """Return the sampler that won in `benchmarks/search_quality.py`, or TPE if that is too slow."""
    return "portfolio" if trials <= MAX_GP_TRIALS else "tpe"


def initial_design_size(space: Space, trials: int) -> int:
    """Return how many trials the initial design has.

    A third of the trials, at least 4 and at most 16, and at least all known configurations.
    """
    return max(min(16, max(4, trials // 3)), len(space.known))
