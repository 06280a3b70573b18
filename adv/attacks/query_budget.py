"""How many queries an attack needs: the query-limited setting (Ilyas et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks.attack import _DEFAULT, Iterative, State, check_images
from adv.attacks.black_box import MOST, Queried, ask
from adv.attacks.losses import correct
from adv.intervals import wilson
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random


@dataclass(frozen=True, eq=False)
class Hunt:
    """What a black-box attack found on n images, and what it cost.

    `adv` [n, c, h, w] are the images it ended with. `fooled` [n] says which the model gets wrong
    there. `queries` [n] is how often the model was asked about each: up to success where it was
    fooled, else all there were, and none where the model was wrong without an attack.
    """

    adv: Tensor
    fooled: Tensor
    queries: Tensor

    def accuracy(self, budget: float) -> float:
        """Share of the images that `budget` queries each do not fool, in [0, 1]."""
        return 1 - float((self.fooled & (self.queries <= budget)).double().mean())

    def curve(self, budgets: Iterable[float]) -> list[tuple[float, float, float, float]]:
        """(budget, accuracy, low, high) for each, with 95 % Wilson intervals."""
        n = len(self.fooled)
        shares = [(budget, self.accuracy(budget)) for budget in budgets]
        return [(budget, share, *wilson(share, n)) for budget, share in shares]

    @property
    def median(self) -> float:
        """Queries to success: half of the images that were right and fell needed no more.

        Not a number where none fell.
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
    """Attack with queries until the model is fooled, image by image.

    Against a deterministic model an image is done at the first query that fools. A random one
    (wrap it in `Votes`) would be fooled by the worst of many coin flips, so all queries are spent,
    and one more call judges. Checking the clean images and judging at the end are not counted.

    Args:
      attack: `Square` or `NES`.
      model: maps [n, c, h, w] in [0, 1] to logits [n, k]; asked in float32.
      x: [n, c, h, w] float in [0, 1].
      y: [n] true labels, or [n, k] their probabilities.
      generator: a CPU generator; gives each image a seed of its own.

    Raises:
      ValueError: the attack does not count queries, or x and y are no images and labels.
    """
    check_images(x, y)
    x = x.detach().float()
    found = Hunt(
        x.clone(),
        torch.zeros(len(x), dtype=torch.bool, device=x.device),
        torch.zeros(len(x), dtype=torch.int64, device=x.device),
    )
    begun = attack.start(x, y, generator or _DEFAULT)
    if not isinstance(begun, Queried):
        raise ValueError(f"hunt takes attacks that count queries (Square, NES), not {attack}")
    with frozen(model):
        for ids in torch.arange(len(x), device=x.device).split(MOST):
            if len(ids):
                _hunt(attack, model, begun.keep(ids), ids, found)
    return found


def _hunt(attack: Iterative, model: nn.Module, state: State, ids: Tensor, found: Hunt) -> None:
    """Write what is found on the images `ids` into `found`."""
    right = _right(model, state.clean, state.labels)
    found.fooled[ids] = ~right
    ids, state = ids[right], state.keep(right)
    if not len(ids) or attack.ball.eps == 0:
        return
    leave = not is_random(model)
    state = attack.aim(model, state)
    for _ in range(attack.steps):
        state = attack.step(model, state)
        if leave and state.fooled.any():
            done = state.keep(state.fooled)
            _note(attack, done, ids[state.fooled], found, done.fooled)
            ids, state = ids[~state.fooled], state.keep(~state.fooled)
            if not len(ids):
                return
    _note(attack, state, ids, found, ~_right(model, attack.result(state), state.labels))


def _note(attack: Iterative, state: State, ids: Tensor, found: Hunt, fooled: Tensor) -> None:
    assert isinstance(state, Queried)
    found.adv[ids] = attack.result(state)
    found.queries[ids] = state.queries
    found.fooled[ids] = fooled


def _right(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return correct(ask(model, x), y)
