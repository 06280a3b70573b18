"""An attack of the user's own in a battery: any callable, or an object with `start` and `step`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from adv.attacks.attack import Attack, default_generator
from adv.attacks.ball import Ball, check_ball
from adv.attacks.inputs import check_inputs
from adv.runtime.frozen import frozen

ROUNDING = 1e-4  # of the radius and of the pixel range: a result may lie so far outside
MAX_SEED = 2**62


@dataclass(frozen=True)
class OwnAttack(Attack):
    """An attack of the user's, checked: what it returns counts only in its ball.

    Args:
      function: called with a model, images [n, c, h, w] in [0, 1] and labels [n]; it returns
        adversarial images of that shape. It is called with `generator=`, a CPU generator, if it has
        such an argument; what it draws from torch's global generator is the same each time too.
      ball: the set of allowed perturbations; None: `function.ball`.
      name: in records, which tell two batteries apart by it.

    Raises:
      TypeError: there is no ball, or nothing to call.
    """

    function: Callable[..., Any] = field(repr=False, compare=False)
    ball: Ball = None  # type: ignore[assignment]  # filled in from the function
    name: str = ""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"an attack is called with a model, images and labels: {self.function}")
        ball = getattr(self.function, "ball", None) if self.ball is None else self.ball
        check_ball(ball)
        object.__setattr__(self, "ball", ball)
        own = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        object.__setattr__(self, "name", self.name or own)

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        clean, y = check_inputs(x, y)
        if self.ball.eps == 0 or len(x) == 0:
            return clean.clone()
        generator = generator or default_generator()
        seed = int(torch.randint(MAX_SEED, (1,), generator=generator))
        extra = {"generator": generator} if _takes_generator(self.function) else {}
        with frozen(model), torch.random.fork_rng(devices=[clean.device] if clean.is_cuda else []):
            torch.manual_seed(seed)
            found = self.function(model, clean, y, **extra)
        return self._check(found, clean)

    def _check(self, found: Any, clean: Tensor) -> Tensor:
        """Return the images that the function returned.

        Raises:
          ValueError: they are no images, or lie outside the ball or [0, 1].
        """
        if not isinstance(found, Tensor) or found.shape != clean.shape:
            got = list(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"the attack {self.name} returns {got}, not images {list(clean.shape)}"
            )
        adv = found.detach().to(clean)
        if not adv.isfinite().all():
            raise ValueError(f"the attack {self.name} returns numbers that are not finite")
        low, high = float(adv.amin()), float(adv.amax())
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise ValueError(
                f"the attack {self.name} returns pixels from {low:.3g} to {high:.3g}, "
                "outside [0, 1]"
            )
        far = float(self.ball.distance(adv, clean).amax())
        if far > self.ball.eps * (1 + ROUNDING) + ROUNDING:
            raise ValueError(
                f"the attack {self.name} returns an image {far:g} away, outside {self.ball}"
            )
        return adv.clamp(0, 1)


class StartAndStep:
    """Calls an object with `start`, `step`, `steps` and `ball`, but without a call of its own.

    `start(model, x, y)` returns a state, and `step(model, state)` the next one. The last state is
    the adversarial images, or has them as `adv`.
    """

    def __init__(self, attack: Any) -> None:
        self.attack, self.ball = attack, attack.ball
        self.__qualname__ = type(attack).__qualname__

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        state = self.attack.start(model, x, y)
        for _ in range(int(self.attack.steps)):
            state = self.attack.step(model, state)
        images: Tensor = getattr(state, "adv", state)
        return images


def as_attack(attack: Any) -> Attack:
    """Return an attack as it is, and what a user may give in its place as an `OwnAttack`.

    Raises:
      TypeError: it is no attack, or has no ball.
    """
    if isinstance(attack, Attack):
        return attack
    if hasattr(attack, "start") and hasattr(attack, "step") and not callable(attack):
        missing = [name for name in ("ball", "steps") if not hasattr(attack, name)]
        if missing:
            raise TypeError(f"{type(attack).__name__} has no {missing[0]}, which an attack needs")
        return OwnAttack(StartAndStep(attack))
    return OwnAttack(attack)


def _takes_generator(function: Callable[..., Any]) -> bool:
    try:
        return "generator" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
