"""The work of an evaluation: a net, its images, and the runs of attacks that may share a batch."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Iterative
from adv.attacks.losses import is_correct
from adv.data.datasets import Split


@dataclass(frozen=True)
class AttackRun:
    """One run of an attack over all images that are still correct.

    Args:
      attack: the attack.
      seed: the seed of its starts.
      serves: indices of the battery's attacks whose result it may decide: its own and, since balls
        are nested, those after it.
    """

    attack: Attack
    seed: int
    serves: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class EvaluationJob:
    """A net under evaluation and its images.

    Args:
      attack_model: the model that attacks query; of a random net a few draws.
      predictor: the model whose prediction counts. The same object unless the net is random.
      split: the images, on the device of the net.
      batch: images at a time.
      form: memory format of the images.
      adversarial: [attacks, n, c, h, w], or None. It takes the images that were classified after
        each attack of the battery.
    """

    attack_model: nn.Module
    predictor: nn.Module
    split: Split
    batch: int
    form: torch.memory_format = torch.channels_last
    adversarial: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """The device on which the images are attacked."""
        return self.split.labels.device

    def pixels(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return images [n, c, h, w], float32 in [0, 1], and labels [n]."""
        ids = ids.to(self.device)
        x = self.split.images[ids].float() / 255
        return x.contiguous(memory_format=self.form), self.split.labels[ids]

    @torch.no_grad()
    def is_correct(self, x: Tensor, y: Tensor) -> Tensor:
        """Return [n] booleans: which images the predictor classifies correctly."""
        return is_correct(self.predictor(x), y)

    def store(self, run: AttackRun, ids: Tensor, adv: Tensor) -> None:
        """Store adversarial images in `adversarial`, unless it is None.

        Args:
          run: the run that made them; a later one overwrites them, for the attacks that it serves.
          ids: [m] indices into the split.
          adv: [m, c, h, w] the images, on any device.
        """
        if self.adversarial is not None:
            for index in run.serves:
                self.adversarial[index, ids] = adv.to(self.adversarial)


def group_runs(chain: Sequence[AttackRun]) -> list[list[AttackRun]]:
    """Split the chain into consecutive groups whose images can share a batch."""
    return [list(group) for _, group in groupby(chain, key=lambda run: _batch_key(run.attack))]


def _batch_key(attack: Attack) -> Hashable:
    """Return a value that is equal for attacks whose images can share a batch."""
    return (attack.step_key(), attack.steps) if isinstance(attack, Iterative) else attack
