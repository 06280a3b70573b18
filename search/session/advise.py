"""What would help a search most: more trials, or more fresh seeds for its candidates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from adv.shell import join_command
from search.finals.advice import AHEAD, collect_knowledge, gain_of_seeds, gain_of_trials
from search.formatting import format_clock
from search.record.view import View
from search.samplers.finite_space import list_configurations, tried_keys
from search.samplers.sampler import Sampler
from spaces import Params, Space

NEGLIGIBLE = 0.0005  # a gain that rounds to 0.0 %
NONE_LEFT = "No configuration is left to try"
SURE = "a rough estimate, right in six of ten searches"  # docs/search-benchmarks.md


@dataclass(frozen=True)
class Advice:
    """The expected gain of the next trials and that of fresh seeds, and how long each takes.

    Args:
      trials: by which share more trials raise the hypervolume.
      seeds: by which share `AHEAD` more fresh seeds do.
      trial_seconds: until the trials are done, as many at a time as so far.
      seed_seconds: the same for the seeds.
      count: how many trials come: `AHEAD`, or as many as the space has configurations left.
    """

    trials: float
    seeds: float
    trial_seconds: float
    seed_seconds: float
    count: int = AHEAD

    @property
    def more_seeds(self) -> bool:
        """True if fresh seeds bring more for their time, or if there is nothing else to try."""
        return not self.count or self.seeds * self.trial_seconds > self.trials * self.seed_seconds

    def to_json(self) -> dict[str, Any]:
        """Return the advice as plain data: gains as shares, and gains per hour."""
        plain: dict[str, Any] = {"more": "seeds" if self.more_seeds else "trials"}
        for name, count, gain, seconds in (
            ("trials", self.count, self.trials, self.trial_seconds),
            ("seeds", AHEAD, self.seeds, self.seed_seconds),
        ):
            hours = max(seconds, 1e-9) / 3600
            found = {"gain": gain, "seconds": seconds, "gain_per_hour": gain / hours}
            plain[name] = {"count": count, **found}
        return plain


def advise(view: View, space: Space) -> Advice | None:
    """Return what would help a search most; None while too few trials have finished to tell.

    Args:
      view: of the search.
      space: of the search, which may have few configurations left, or none.
    """
    done = view.scored()
    if not done:
        return None
    listed = list_configurations(space)
    count = AHEAD if listed is None else min(AHEAD, max(0, len(listed) - len(tried_keys(view))))
    known = collect_knowledge(view)
    trials, seeds = gain_of_trials(known, count), gain_of_seeds(known)
    if math.isnan(trials) or math.isnan(seeds):
        return None
    finals = view.finals.scored() if view.finals else []
    every = [*view.trials.values(), *(view.finals.trials.values() if view.finals else ())]
    at_once = max(1.0, sum(t.seconds for t in every) / view.elapsed) if view.elapsed else 1.0
    trial, seed = (fmean(t.seconds for t in some) / at_once for some in (done, finals or done))
    return Advice(trials, seeds, count * trial, AHEAD * seed, count)


def describe_advice(advice: Advice | None, view: View, folder: Path) -> list[str]:
    """Return the advice in words, with the command that follows it; none if there is no advice."""
    if advice is None:
        return []
    count, seeds = advice.count, f"{AHEAD} fresh seeds"
    if max(advice.trials, advice.seeds) < NEGLIGIBLE:
        neither = (
            f"Neither {count} more trials nor {seeds} are"
            if count
            else f"{NONE_LEFT}, and {seeds} are not"
        )
        return [f"{neither} expected to add 0.1 % to the hypervolume."]
    begun = len(view.finals.trials) if view.finals else 0
    if advice.more_seeds:
        helps = "more seeds would help more than more trials"
        words: list[str | Path] = ["--finalists", folder, "--final-trainings", str(begun + AHEAD)]
    else:
        helps = "more trials would help more than more seeds"
        words = ["--resume", folder, "--trials", str(len(view.trials) + count)]
    gain, clock = _share(advice.seeds), format_clock(advice.seed_seconds)
    if count:
        text = (
            f"{count} more trials are expected to add {_share(advice.trials)} to the hypervolume "
            f"in {format_clock(advice.trial_seconds)}, {seeds} {gain} in {clock}: {helps} ({SURE}):"
        )
    else:
        text = f"{NONE_LEFT}. {seeds} are expected to add {gain} to the hypervolume in {clock}:"
    return [text, f"  {join_command('python', 'launch.py', *words)}"]


def _share(gain: float) -> str:
    return f"{100 * gain:.1f} %" if gain >= NEGLIGIBLE else "nothing"


@dataclass
class UntilGain:
    """A sampler that proposes nothing once the next trials are expected to add too little.

    Args:
      sampler: that proposes until then.
      least: the gain in hypervolume by the next `AHEAD` trials below which the search ends.
      gain: the gain that has ended it; None: it goes on.
    """

    sampler: Sampler
    least: float
    gain: float | None = None

    def propose(self, view: View) -> tuple[Params, str] | None:
        """Return what the sampler proposes, or None if the expected gain is too small."""
        gain = gain_of_trials(collect_knowledge(view)) if view.scored() else math.nan
        self.gain = gain if gain < self.least else None
        return None if self.gain is not None else self.sampler.propose(view)

    def event(self) -> Mapping[str, Any]:
        """Return what the ledger records of the end."""
        return {"gain": self.gain, "least": self.least, "ahead": AHEAD}

    def describe(self, folder: Path) -> str:
        """Return why the search ended, and the command that goes on, on a line of its own."""
        command = join_command("python", "launch.py", "--resume", folder)
        return (
            f"No more trials: {AHEAD} more are expected to add {100 * (self.gain or 0):.2f} % to "
            f"the hypervolume, less than --until-gain {100 * self.least:g}%. To go on:\n  {command}"
        )
