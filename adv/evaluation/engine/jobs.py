"""What is to be done: runs of attacks over images, and which of them may share a batch."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Iterative, State
from adv.attacks.losses import correct
from adv.data.datasets import Split

# Settings that a batch may hold several of: a radius and a step for each image, and what only
# decides where an image begins.
_EACH = ("ball", "step_size", "pace", "random_start", "target")


@dataclass(frozen=True)
class Run:
    """An attack, once, over all images that still stand.

    `seed` is that of its starts; `serves` are the indices of the attacks of the battery whose
    verdict it may decide: its own and, since balls are nested, those after it.
    """

    attack: Attack
    seed: int
    serves: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Problem:
    """A net to attack, what judges it, and images: `batch` of them at a time, in memory of a form.

    `attacked` and `judge` are one object unless the net is random. `adversarial`
    [attacks, n, c, h, w], if it is given, takes the images that were judged under each attack of
    the battery.
    """

    attacked: nn.Module
    judge: nn.Module
    split: Split
    batch: int
    form: torch.memory_format = torch.channels_last
    adversarial: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the images are attacked."""
        return self.split.labels.device

    def pixels(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Images [n, c, h, w], float32 in [0, 1], and labels [n]."""
        ids = ids.to(self.device)
        x = self.split.images[ids].float() / 255
        return x.contiguous(memory_format=self.form), self.split.labels[ids]

    @torch.no_grad()
    def right(self, x: Tensor, y: Tensor) -> Tensor:
        """[n] booleans: what the judge gets right."""
        return correct(self.judge(x), y)

    def store(self, run: Run, ids: Tensor, adv: Tensor) -> None:
        """Keep the images [m, c, h, w] that a run has been judged by, where they are wanted.

        Args:
          run: its later runs overwrite them, for the attacks that those serve.
          ids: [m] indices into the split.
          adv: the images, on any device.
        """
        if self.adversarial is not None:
            for index in run.serves:
                self.adversarial[index, ids] = adv.to(self.adversarial)


def runs(chain: Sequence[Run]) -> list[list[Run]]:
    """The chain in pieces whose steps can share a batch, in their order."""
    return [list(piece) for _, piece in groupby(chain, key=lambda run: _kind(run.attack))]


def blended(attacks: Sequence[Attack], which: Tensor, device: torch.device) -> Iterative:
    """The attack whose step does for image i what that of `attacks[which[i]]` does.

    Args:
      attacks: of one piece that `runs` makes.
      which: [n] int64 on the CPU.
      device: of the images.
    """
    first = attacks[int(which[0])]
    assert isinstance(first, Iterative)
    # float32, as the arithmetic of one radius for all rounds it too.
    eps = torch.tensor([attack.ball.eps for attack in attacks])[which]
    length = torch.tensor([getattr(attack, "length", 0.0) for attack in attacks])[which]
    if (eps == eps[0]).all() and (length == length[0]).all():
        return first
    mixed = copy.copy(first)
    object.__setattr__(mixed, "ball", first.ball.each(eps.to(device)))
    if hasattr(first, "step_size"):
        object.__setattr__(mixed, "step_size", length.to(device)[:, None, None, None])
    return mixed


def joined(states: Sequence[State]) -> State:
    """The images of several states, one after another."""
    first = states[0]
    if len(states) == 1:
        return first
    rows: dict[str, Any] = {}
    for field in fields(first):
        values = [getattr(state, field.name) for state in states]
        rows[field.name] = torch.cat(values) if isinstance(values[0], Tensor) else values[0]
    return type(first)(**rows)


def _kind(attack: Attack) -> object:
    """Equal for attacks that can share a batch."""
    if not (isinstance(attack, Iterative) and attack.mixes):
        return attack
    settings = {f.name: getattr(attack, f.name) for f in fields(attack)}  # type: ignore[arg-type]
    shared = tuple((name, value) for name, value in settings.items() if name not in _EACH)
    return type(attack), type(attack.ball), shared
