"""How large a share of a GPU, or how many cores, a trial gets: by what its architecture has needed.

The first trials of an architecture, the same net, batch and precision, get the share of the scale.
Each reports its largest share of the device's memory and the seconds of its first epoch. From then
on as many share a GPU as fit into its memory, and no more than get more done together. A trial that
runs out of memory is started again with twice the share, and so are those of its architecture. All
is computed from the ledger, so that a resumed search goes on with the same shares.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from statistics import fmean

from search.recipes import RecipeError, catch_recipe_errors
from search.record.trial import Trial
from search.study import Study
from search.trials.gpu_share import PEAK, SHARE

MARGIN = 1.15  # of the measured peak: fragments, and the context of CUDA
MOST = 16  # trials on a GPU
GAIN = 1.05  # by which twice as many trials must get more done together
RECENT = 200  # trials that are looked at


@dataclass(frozen=True)
class Usage:
    """The memory and time of a trial in its first epoch.

    Args:
      count: how many such trials a GPU held: 1 / its share.
      peak: largest share of the device's memory, in [0, 1].
      seconds: of the epoch.
    """

    count: int
    peak: float
    seconds: float


def count_by_memory(peaks: Iterable[float]) -> int:
    """Return how many trials fit into the memory of a GPU, by the largest of their peaks."""
    largest = MARGIN * max(peaks, default=1.0)
    return max(1, min(MOST, int(1 / largest + 1e-9))) if largest > 0 else MOST


def choose_count(usages: Iterable[Usage], first: int) -> int:
    """Return how many trials of an architecture shall share a GPU.

    That is `first` until something is measured. Then the number is doubled, as far as memory goes,
    while twice as many trials finish more epochs together; the best number so far is kept.
    """
    known = list(usages)
    most = count_by_memory([usage.peak for usage in known]) if known else MOST
    seconds: dict[int, list[float]] = defaultdict(list)
    for usage in known:
        if usage.seconds > 0:
            seconds[usage.count].append(usage.seconds)
    done = {count: count / fmean(each) for count, each in seconds.items() if count <= most}
    if not done:
        return min(first, most)
    best = min(done)
    for count in sorted(done):
        best = count if done[count] > GAIN * done[best] else best
    larger = min(most, 2 * best)
    return larger if best == max(done) and larger > best else best


def grow(share: float, whole: float) -> float | None:
    """Return twice a share, at most the whole; None if it is the whole already."""
    return None if share >= whole else min(whole, 2 * share)


class Packer:
    """Chooses the share of each trial of a search.

    Args:
      study: the search.
      share: of the first trials: GPUs in (0, 1], or cores.
      whole: the largest share: 1 GPU, or the cores of the largest node.
      on_gpu: whether it is a share of a GPU; the share of a CPU follows from threads alone, so only
        running out of memory changes it.
    """

    def __init__(self, study: Study, share: float, whole: float, *, on_gpu: bool) -> None:
        self.study, self.first, self.whole, self.on_gpu = study, share, whole, on_gpu
        self.last = share
        self._kinds: dict[int, str] = {}

    def has_room(self, shares: Iterable[float], at_once: int) -> bool:
        """Return whether another trial, of the size of the last one, has a place.

        Args:
          shares: of the trials that run.
          at_once: how many trials of the first share the cluster can hold.
        """
        return sum(shares) + self.last <= at_once * self.first + 1e-6

    def share(self, number: int) -> float:
        """Return the share of a trial that is about to start."""
        self.last = self._choose(number)
        return self.last

    def _choose(self, number: int) -> float:
        view = self.study.view
        if not (self.on_gpu or view.squeezed):
            return self.first
        kind = self._architecture(view.trials[number])
        recent = islice(reversed(view.trials.values()), RECENT)
        alike = [t for t in recent if self._architecture(t) == kind]
        chosen = self.first
        if self.on_gpu:
            found = [usage for t in alike if (usage := read_usage(t)) is not None]
            chosen = 1 / choose_count(found, round(1 / self.first))
        failed = [view.squeezed[t.number] for t in alike if t.number in view.squeezed]
        grown = [grow(share, self.whole) or self.whole for share in failed]
        return min(self.whole, max([chosen, *grown]))

    def squeeze(self, number: int, share: float, reason: str) -> bool:
        """Record that a trial ran out of memory; return whether it is started again, with more."""
        if grow(share, self.whole) is None:
            return False
        self.study.ledger.append("squeezed", trial=number, share=share, reason=reason[:500])
        return True

    def _architecture(self, trial: Trial) -> str:
        """Return what decides how much memory a trial needs, in words; "" if nothing tells it."""
        if trial.number not in self._kinds:
            kind = ""
            with suppress(RecipeError), catch_recipe_errors(trial.params):  # its trial says so
                recipe = self.study.space.build(**trial.params)
                kind = f"{recipe.net} {recipe.batch} {recipe.precision}"
            self._kinds[trial.number] = kind
        return self._kinds[trial.number]


def read_usage(trial: Trial) -> Usage | None:
    """Return what a trial has needed in its first epoch; None if that is not recorded."""
    report = trial.epochs.get(1)
    metrics: Mapping[str, float] = report.metrics if report else {}
    if report is None or PEAK not in metrics or not 0 < metrics.get(SHARE, 0.0) <= 1:
        return None
    return Usage(round(1 / metrics[SHARE]), metrics[PEAK], report.seconds)
