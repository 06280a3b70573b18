"""The number of queries that an attack needs: the query-limited setting (Ilyas et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, default_generator
from adv.attacks.black_box import MAX_BATCH, QueryState, query
from adv.attacks.inputs import LabelCheck, check_inputs
from adv.attacks.losses import is_correct
from adv.intervals import wilson
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.precision import settle_precision
from adv.runtime.random_streams import is_random


@dataclass(frozen=True, eq=False)
class Hunt:
    """The result of a query-limited attack on n images: adversarial images and queries spent.

    Args:
      adv: [n, c, h, w] the final images.
      fooled: [n] booleans, whether the model misclassifies the final image.
      queries: [n] queries about each image: up to the first success, else the whole budget, and 0
        where the clean image is misclassified.
    """

    adv: Tensor
    fooled: Tensor
    queries: Tensor

    def accuracy(self, budget: float) -> float:
        """Return the fraction of images, in [0, 1], not fooled within `budget` queries each."""
        return 1 - float((self.fooled & (self.queries <= budget)).double().mean())

    def curve(self, budgets: Iterable[float]) -> list[tuple[float, float, float, float]]:
        """Return (budget, accuracy, low, high) for each budget, with 95 % Wilson intervals."""
        n = len(self.fooled)
        shares = [(budget, self.accuracy(budget)) for budget in budgets]
        return [(budget, share, *wilson(share, n)) for budget, share in shares]

    @property
    def median(self) -> float:
        """The median number of queries to success, over images that were right and got fooled.

        NaN if no attack succeeded.
        """
        needed = self.queries[self.fooled & (self.queries > 0)]
        return float(needed.median()) if len(needed) else float("nan")


def hunt(
    attack: Iterative,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Hunt:
    """Attack with queries until the model is fooled, and count them for each image.

    Against a deterministic model an image is done at the first query that fools it. A random model
    (wrap it in `Votes`) would be fooled by the worst of many random answers, so the whole budget is
    spent and one more call decides. The checks of the clean and of the final images are not
    counted.

    Args:
      attack: `Square` or `NES`.
      model: maps [n, c, h, w] in [0, 1] to logits [n, k]; queried in float32.
      x: [n, c, h, w] float in [0, 1].
      y: [n] true labels of any whole-number type, or [n, k] their probabilities.
      generator: a CPU generator, from which each image gets its own seed; None:
        `adv.attacks.attack.default_generator()`.

    Raises:
      ValueError: the attack does not count queries, or x and y are not images and labels.
    """
    x, y = check_inputs(x, y)
    found = Hunt(
        x.clone(),
        torch.zeros(len(x), dtype=torch.bool, device=x.device),
        torch.zeros(len(x), dtype=torch.int64, device=x.device),
    )
    with frozen(model), fused_conv_pool(model) as form:
        clean = x.contiguous(memory_format=form) if x.dim() == 4 else x
        state = attack.start(clean, y, generator or default_generator())
        if not isinstance(state, QueryState):
            raise ValueError(f"hunt takes attacks that count queries (Square, NES), not {attack}")
        asked = LabelCheck(model, y)
        with settle_precision(asked):
            for ids in torch.arange(len(x), device=x.device).split(MAX_BATCH):
                if len(ids):
                    _attack_batch(attack, asked, state.keep(ids), ids, found)
    return found


def _attack_batch(
    attack: Iterative, model: nn.Module, state: State, ids: Tensor, found: Hunt
) -> None:
    """Attack the images `ids` and write their results into `found`."""
    correct = is_correct(query(model, state.clean), state.labels)
    found.fooled[ids] = ~correct
    ids, state = ids[correct], state.keep(correct)
    if not len(ids) or attack.ball.eps == 0:
        return
    stop_at_success = not is_random(model)
    state = attack.prepare(model, state)
    for _ in range(attack.steps):
        state = attack.step(model, state)
        if stop_at_success and state.fooled.any():
            done = state.keep(state.fooled)
            _write(attack, done, ids[state.fooled], found, done.fooled)
            ids, state = ids[~state.fooled], state.keep(~state.fooled)
            if not len(ids):
                return
    fooled = ~is_correct(query(model, attack.result(state)), state.labels)
    _write(attack, state, ids, found, fooled)


def _write(attack: Iterative, state: State, ids: Tensor, found: Hunt, fooled: Tensor) -> None:
    """Write the results of the images `ids` into `found`."""
    assert isinstance(state, QueryState)
    found.adv[ids] = attack.result(state)
    found.queries[ids] = state.queries
    found.fooled[ids] = fooled
