"""Ask the autoscaler of a Ray cluster for as many GPUs as the queue of trials can use.

Ray itself asks only for trials that wait for a place already, and a search proposes none before
there is room for it. So it has to be told how many more would come.
"""

from __future__ import annotations

from search.backends.gpu_range import GpuRange
from search.study import Study


class Autoscaler:
    """Asks for room for the trials of a study, and says how many trials there is room for.

    Args:
      study: the search.
      trial: what each of its ranks needs: the same `CPU` and `GPU`, the latter above zero.
      concurrent: how many trials run at once at most; None: as many as fit.
      allowed: how many GPUs may be asked for.
    """

    def __init__(
        self,
        study: Study,
        trial: list[dict[str, float]],
        concurrent: int | None,
        allowed: GpuRange,
    ) -> None:
        self.study, self.concurrent, self.allowed = study, concurrent, allowed
        self.trial = trial
        self._asked = 0

    def update(self) -> None:
        """Ask for as much as the queue of now can use."""
        view = self.study.view
        queue = len(view.in_state("running")) + max(0, self.study.trials - len(view.trials))
        if self.concurrent is not None:
            queue = min(queue, self.concurrent)
        self._ask(self.allowed.trials(sum(rank["GPU"] for rank in self.trial), queue))

    def release(self) -> None:
        """Ask for nothing more, so that idle nodes end."""
        self._ask(0)

    def _ask(self, trials: int) -> None:
        if trials != self._asked:
            request_resources(self.trial * trials)
            self._asked = trials


def request_resources(bundles: list[dict[str, float]]) -> None:
    """Ask the autoscaler for room for all bundles at once, in place of what was asked before."""
    from ray.autoscaler import sdk

    sdk.request_resources(bundles=bundles)
