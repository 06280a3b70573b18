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
from adv.evaluation.engine.random_net import RandomNet
from adv.evaluation.engine.verdicts import FIRM
from adv.runtime.row_streams import mix_keys

# What a random net is asked for; each has noise of its own.
STEP, FIRST_VERDICT, LAST_VERDICT, PREPARE, NATURAL, SMALLER_BALL = range(6)


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
      model: the net; a random one as `RandomNet`.
      split: the images, on the device of the net.
      batch: images at a time.
      form: memory format of the images.
      adversarial: [attacks, n, c, h, w], or None. It takes the images that were classified after
        each attack of the battery.
      query_batch: images at a time of attacks that only query the net; None: as many as of others.
    """

    model: nn.Module
    split: Split
    batch: int
    form: torch.memory_format = torch.channels_last
    adversarial: Tensor | None = None
    query_batch: int | None = None

    @property
    def device(self) -> torch.device:
        """The device on which the images are attacked."""
        return self.split.labels.device

    def pixels(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return images [n, c, h, w], float32 in [0, 1], and labels [n]."""
        ids = ids.to(self.device)
        x = self.split.images[ids].float() / 255
        return x.contiguous(memory_format=self.form), self.split.labels[ids]

    def seed_noise(
        self, ids: Tensor, seed: Tensor | int, age: Tensor | int, purpose: Tensor | int
    ) -> None:
        """Seed the noise of the coming calls of a random net, for each image on its own.

        Args:
          ids: [n] indices into the split, of the images of these calls in their order.
          seed: of the run.
          age: steps that were taken in it.
          purpose: one of `STEP`, `FIRST_VERDICT`, ... .
        """
        if isinstance(self.model, RandomNet):
            self.model.seed_noise(mix_keys([ids, seed, age, purpose]))

    @torch.no_grad()
    def answer(self, x: Tensor, y: Tensor) -> Tensor:
        """Return logits or, of a random net, sums of votes, [n, k]; the largest is the answer."""
        if isinstance(self.model, RandomNet):
            return self.model.ask_votes(x, y)[0]
        logits: Tensor = self.model(x)
        return logits

    def is_correct(self, x: Tensor, y: Tensor) -> Tensor:
        """Return [n] booleans: which images the net classifies correctly."""
        return is_correct(self.answer(x, y), y)

    def stands(self, x: Tensor, y: Tensor, early: Tensor) -> Tensor:
        """Return [n] booleans on the CPU: which images are correct or, of a random net, may be.

        Args:
          x: [n, c, h, w] adversarial images.
          y: their labels.
          early: [n] booleans on the CPU, whether an image stands unless it is clearly wrong.
        """
        if not isinstance(self.model, RandomNet):
            return self.is_correct(x, y).cpu()
        answer, lead = self.model.ask_votes(x, y, early)
        return is_correct(answer, y).cpu() | (early & ~(lead <= -FIRM).cpu())

    def store(self, run: AttackRun, ids: Tensor, adv: Tensor, *, fooled: bool = True) -> None:
        """Store adversarial images in `adversarial`, unless it is None.

        Args:
          run: the run that made them; a later one overwrites them.
          ids: [m] indices into the split.
          adv: [m, c, h, w] the images, on any device.
          fooled: whether they count for all the attacks that the run serves, or for its own alone.
        """
        if self.adversarial is not None:
            for index in run.serves if fooled else run.serves[:1]:
                self.adversarial[index, ids] = adv.to(self.adversarial)


def group_runs(chain: Sequence[AttackRun]) -> list[list[AttackRun]]:
    """Split the chain into consecutive groups whose images can share a batch."""
    return [list(group) for _, group in groupby(chain, key=lambda run: _batch_key(run.attack))]


def _batch_key(attack: Attack) -> Hashable:
    """Return a value that is equal for attacks whose images can share a batch."""
    return (attack.step_key(), attack.steps) if isinstance(attack, Iterative) else attack
