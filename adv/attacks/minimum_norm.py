"""Minimum-norm attacks: the nearest image that fools the net, and with it the whole curve.

An attack within a ball answers for one radius. A minimum-norm attack finds for each image the
smallest change that fools, so one run gives the accuracy at every radius. The distances are upper
bounds, as those of any attack.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from adv.attacks.attack import Iterative, State, default_generator, initial_state
from adv.attacks.black_box import MAX_BATCH
from adv.attacks.counter_rng import draw_seeds, normal
from adv.attacks.gradient import LossAndGrad, loss_and_grad
from adv.attacks.inputs import LabelCheck, check_inputs
from adv.attacks.losses import loss_supports
from adv.attacks.select_rows import choose_rows
from adv.intervals import wilson
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.random_streams import is_random

LAST = 0.01  # length of the last step, relative to the first


@dataclass(frozen=True)
class NearestState(State):
    """The state of a minimum-norm attack, all of it per image.

    `eps` is the radius of the search, `fooled` whether the model is wrong at `adv`, and `step_size`
    the length of the first step, in L2.

    Args:
      seed: [n] int64, from which the random directions of an image come, whatever its batch.
      age: [n] steps taken.
      loss, gradient: those at `adv`.
      radius: [n] the radius in which the last step ended.
      nearest: [n, c, h, w] the nearest image that fools the model.
      distance: [n] its distance; infinite as long as there is none.
    """

    seed: Tensor
    age: Tensor
    loss: Tensor
    gradient: Tensor
    radius: Tensor
    nearest: Tensor
    distance: Tensor


class MinimumNorm(Iterative):
    """An attack that searches the nearest image that fools the model, within a ball.

    It descends the margin of the right class, which confident nets do not saturate.

    Called as any attack it returns that image, or its last one if none was found. `find_nearest`
    returns the distances.
    """

    unused_by_step: ClassVar[frozenset[str]] = frozenset({"ball"})

    @property
    @abstractmethod
    def length(self) -> float:
        """The length of the first step, in L2 and pixel units."""

    @property
    @abstractmethod
    def first_radius(self) -> float:
        """The radius of the search before its first step."""

    def supports(self, classes: int) -> bool:
        return loss_supports("margin", None, classes)

    @abstractmethod
    def advance(self, state: NearestState) -> tuple[Tensor, Tensor]:
        """Return the next images [n, c, h, w] and the radius [n] in which they lie."""

    def start(self, x: Tensor, y: Tensor, generator: torch.Generator) -> State:
        state = initial_state(x, y, x, generator, eps=self.ball.eps, step_size=self.length)
        seed = draw_seeds(len(x), generator).to(x.device)
        number = torch.zeros(len(x), device=x.device)
        return NearestState(
            **vars(state),
            seed=seed,
            age=torch.zeros_like(seed),
            loss=number,
            gradient=torch.zeros_like(x),
            radius=number + self.first_radius,
            nearest=x,
            distance=number + torch.inf,
        )

    def prepare(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, NearestState)
        here = loss_and_grad(model, state.adv, state.labels, "margin")
        return self._record(state, state.adv, state.radius, here)

    def step(self, model: nn.Module, state: State) -> State:
        assert isinstance(state, NearestState)
        adv, radius = self.advance(state)
        here = loss_and_grad(model, adv, state.labels, "margin")
        return self._record(replace(state, age=state.age + 1), adv, radius, here)

    def result(self, state: State) -> Tensor:
        assert isinstance(state, NearestState)
        return choose_rows(state.distance.isfinite(), state.nearest, state.adv)

    def _record(
        self, state: NearestState, adv: Tensor, radius: Tensor, here: LossAndGrad
    ) -> NearestState:
        """Return the state at the images `adv`, with the nearest ones updated."""
        fooled = here.fooled(state.labels) & ~here.logits.isnan().any(1)
        # At the rim rounding may carry an image out of the ball, by a few millionths of its radius.
        distance = self.ball.distance(adv, state.clean).minimum(limit_of(state))
        nearer = fooled & (distance < state.distance)
        return replace(
            state,
            adv=adv,
            fooled=fooled,
            loss=here.loss,
            gradient=here.gradient.nan_to_num(0.0, 0.0, 0.0),
            radius=radius,
            nearest=choose_rows(nearer, adv, state.nearest),
            distance=torch.where(nearer, distance, state.distance),
        )


def limit_of(state: NearestState) -> Tensor:
    """Return the largest radius [n] that is searched."""
    return torch.zeros_like(state.radius) + state.eps


def cosine_decay(age: Tensor, steps: int, last: float = LAST) -> Tensor:
    """Return a factor [n] that falls from 1 to `last` as half a cosine."""
    return last + (1 - last) * (1 + (math.pi * age / steps).cos()) / 2


def check_search(steps: int, length: float, gamma: float) -> None:
    """Raise ValueError unless the settings of a minimum-norm attack lie in their ranges."""
    if steps < 1:
        raise ValueError(f"steps must be 1 or more, got {steps}")
    if not (math.isfinite(length) and length > 0):
        raise ValueError(f"a step must have a finite length above 0, got {length}")
    if not 0 < gamma < 1:
        raise ValueError(f"gamma is a share in (0, 1), got {gamma}")


def unit_direction(state: NearestState) -> Tensor:
    """Return the gradient [n, c, h, w] at L2 length 1; where it is zero, a random direction."""
    flat = state.gradient.flatten(1)
    largest = flat.abs().amax(1, keepdim=True)
    noise = normal(state.seed, state.age, flat.shape[1]).to(flat)
    flat = torch.where(largest > 0, flat / largest.clamp(min=torch.finfo(flat.dtype).tiny), noise)
    return (flat / flat.norm(dim=1, keepdim=True)).reshape(state.gradient.shape)


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest images that fool a model, for n images.

    Args:
      adv: [n, c, h, w] these images; the clean one where none was found.
      distance: [n] their distances in the norm of the attack's ball: 0 where the clean image is
        misclassified, infinite where none was found.
      largest: the radius of the ball that was searched.
    """

    adv: Tensor
    distance: Tensor
    largest: float

    def accuracy(self, eps: float) -> float:
        """Return the accuracy in [0, 1] under changes of at most `eps`.

        Raises:
          ValueError: the radius lies outside the ball that was searched.
        """
        if not 0 <= eps <= self.largest:
            raise ValueError(f"the search went up to eps {self.largest:g}, got {eps:g}")
        return float((self.distance > eps).double().mean())

    def curve(self, radii: Iterable[float]) -> list[tuple[float, float, float, float]]:
        """Return (eps, accuracy, low, high) for each radius, with 95 % Wilson intervals."""
        shares = [(eps, self.accuracy(eps)) for eps in radii]
        return [(eps, share, *wilson(share, len(self.distance))) for eps, share in shares]

    @property
    def area(self) -> float:
        """The area under the curve from eps 0 to `largest`, divided by the latter."""
        return float((self.distance.double().clamp(max=self.largest) / self.largest).mean())


def find_nearest(
    attack: MinimumNorm,
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    generator: torch.Generator | None = None,
) -> Nearest:
    """Run a minimum-norm attack to its end, and return the nearest images that fool the model.

    Args:
      attack: `FMN` or `DDN`.
      model: maps [n, c, h, w] in [0, 1] to logits [n, k].
      x: [n, c, h, w] float in [0, 1].
      y: [n] true labels of any whole-number type.
      generator: as for an attack.

    Raises:
      ValueError: the radius of the ball is 0; x and y are not images and labels; or the model is
        random: the smallest of many distances would be that of its luckiest noise.
    """
    if is_random(model):
        raise ValueError("a random net has no nearest image that fools it: evaluate it by radius")
    largest = attack.ball.eps
    if largest == 0:
        raise ValueError("the search needs a ball with a radius above 0")
    x, y = check_inputs(x, y)
    adv, distance = x.clone(), torch.full((len(x),), torch.inf, device=x.device)
    begun = attack.start(x, y, generator or default_generator())
    batch = 64 if x.device.type == "cpu" else MAX_BATCH
    with frozen(model), fused_conv_pool(model):
        asked = LabelCheck(model, y)
        for ids in torch.arange(len(x), device=x.device).split(batch):
            if not len(ids):
                continue
            state = attack.prepare(asked, begun.keep(ids))
            for _ in range(attack.steps):
                state = attack.step(asked, state)
            assert isinstance(state, NearestState)
            adv[ids], distance[ids] = state.nearest, state.distance
    return Nearest(adv, distance, largest)
