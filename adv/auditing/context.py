"""A net under audit and the evaluation that is checked, and ways to evaluate it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from adv.attacks import PGD, Attack, Ball, Linf, Worst
from adv.auditing.confidence import mean_confidence
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.evaluator import evaluate
from adv.evaluation.score import Score
from adv.runtime.devices import device_of
from adv.runtime.foreign_nets import memory_format_of
from adv.runtime.frozen import frozen
from adv.runtime.random_streams import is_random
from adv.runtime.votes import Votes

DRAWS, VOTES = 5, 20  # the fewest draws and votes of a random net in the audit's own evaluations


@dataclass(frozen=True)
class JointAttack(Attack):
    """Several attacks with one prediction at the end: each gets the images not fooled before.

    `evaluate` classifies the result of each member of a `Worst`. A random net would then be asked
    several times, and an image that it classifies at random would count as fooled after one miss.
    """

    attacks: tuple[Attack, ...]
    ball: Ball = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ball", self.attacks[0].ball)

    def __call__(
        self, model: nn.Module, x: Tensor, y: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        return Worst(self.attacks)(model, x, y, generator=generator)


@dataclass(frozen=True, eq=False)
class AuditContext:
    """A net, its images, and the battery whose score is checked, reduced to one ball.

    Args:
      model: the net.
      split: the images, on the net's device.
      battery: the attacks over that ball.
      whole: the battery with its attacks over other balls.
      batch: images at a time; None: as for `evaluate`.
      score: the score of the whole battery on these images, if it is known.
    """

    model: nn.Module
    split: Split
    battery: Battery
    whole: Battery
    batch: int | None = None
    score: Score | None = None

    @property
    def n(self) -> int:
        """The number of images."""
        return len(self.split)

    @property
    def ball(self) -> Ball:
        """The ball that every attack of the battery searches."""
        return self.battery.attacks[0][1].ball

    @cached_property
    def random(self) -> bool:
        """True if the net declares itself random."""
        return is_random(self.model)

    @cached_property
    def classes(self) -> int:
        """The number of classes of the net."""
        with frozen(self.model), torch.no_grad():
            return int(self.model(self.pixels(torch.arange(1))[0]).shape[1])

    @cached_property
    def claim(self) -> Score:
        """The score that is checked: that of the whole battery, over the audit's ball.

        What falls in a smaller ball counts in this one too.
        """
        whole = self.score or evaluate(self.model, self.split, self.whole, batch=self.batch)
        names = {name for name, _ in self.battery.attacks}
        kept = [i for i, name in enumerate(whole.names) if name in names]
        return replace(
            whole,
            names=tuple(whole.names[i] for i in kept),
            eps=tuple(whole.eps[i] for i in kept),
            ok=whole.ok[[0, *(1 + i for i in kept)]],
        )

    @cached_property
    def natural(self) -> Tensor:
        """[n] booleans: correct without an attack."""
        return self.claim.ok[0]

    @cached_property
    def standing(self) -> Tensor:
        """[n] booleans: correct under every attack of the battery."""
        return self.claim.ok.all(0)

    @cached_property
    def confidence(self) -> float:
        """The mean of the largest probability without an attack."""
        return mean_confidence(self.model, self.split, self.battery.seed, self.batch)

    @property
    def steps(self) -> int:
        """Steps of the audit's own attacks: fewer for a random net, whose gradients cost more."""
        return 10 if self.random else 20

    @cached_property
    def pgd(self) -> PGD:
        """The audit's own white-box attack: PGD on the cross-entropy."""
        return PGD(self.ball, self.steps, pace=5 / self.steps)

    @cached_property
    def standing_pgd(self) -> Tensor:
        """[n] booleans: correct under `pgd`."""
        return self.evaluate_under(self.pgd)

    def evaluate_under(
        self,
        attack: Attack | Sequence[Attack],
        among: Tensor | None = None,
        *,
        again: int = 0,
        draws: int = 0,
    ) -> Tensor:
        """Return [n] booleans: which images are still correct under one or more attacks.

        A deterministic net must withstand each of several attacks; a random net is evaluated once,
        at the strongest point.

        Args:
          attack: the attack or attacks.
          among: [n] booleans, the images to attack; None: those correct without an attack.
          again: number of the repetition; each has its own starts and draws.
          draws: draws in each gradient of a random net, if more than the battery's and `DRAWS`.
        """
        among = self.natural if among is None else among
        correct = torch.zeros(self.n, dtype=torch.bool)
        if not among.any():
            return correct
        attacks = (attack,) if isinstance(attack, Attack) else tuple(attack)
        if self.random and len(attacks) > 1:
            attacks = (JointAttack(attacks),)
        ids = torch.nonzero(among).flatten().to(self.split.labels.device)
        some = Split(self.split.images[ids], self.split.labels[ids])
        battery = Battery(
            tuple((f"{i}", attack) for i, attack in enumerate(attacks)),
            draws=max(self.battery.draws, DRAWS, draws),
            votes=max(self.battery.votes, VOTES),
            seed=self.battery.seed + 7919 * again,
        )
        correct[among] = evaluate(self.model, some, battery, batch=self.batch).ok.all(0)
        return correct

    def attack_model(self, draws: int) -> nn.Module:
        """Return the model that an attack queries: `draws` draws of a random net."""
        return Votes(self.model, draws) if self.random else self.model

    def pixels(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return images in [0, 1] and labels of the given indices."""
        ids = ids.to(self.split.labels.device)
        x = self.split.images[ids].float() / 255
        return x.contiguous(memory_format=memory_format_of(self.model)), self.split.labels[ids]

    def batches(self, among: Tensor) -> Sequence[Tensor]:
        """Return the indices of the images in `among` [n], split into batches."""
        size = self.batch or (64 if self.split.labels.device.type == "cpu" else 512)
        ids = torch.nonzero(among).flatten()
        return ids.split(size) if len(ids) else ()


def audit_context(
    model: nn.Module,
    split: Split,
    battery: Battery | None,
    eps: float,
    batch: int | None = None,
    score: Score | None = None,
) -> AuditContext:
    """Return the context of an audit at the battery's radius that is closest to `eps`.

    Raises:
      ValueError: there is no image, the battery attacks at radius 0 only, or the score is of
        another battery.
    """
    device = device_of(model)
    if len(split) == 0:
        raise ValueError("there is no image to audit with")
    battery = battery or Battery((("pgd20", PGD(Linf(eps), 20)),))
    names = [name for name, _ in battery.attacks]
    if score is not None and (list(score.names) != names or score.images < len(split)):
        raise ValueError("the score is of another battery, or of fewer images")
    if score is not None:
        score = replace(score, ok=score.ok[:, : len(split)])
    return AuditContext(model, split.to(device), _at_one_ball(battery, eps), battery, batch, score)


def _at_one_ball(battery: Battery, eps: float) -> Battery:
    """Return the battery with only its attacks over the ball with the radius closest to `eps`."""
    balls = [attack.ball for _, attack in battery.attacks if attack.ball.eps > 0]
    if not balls:
        raise ValueError("the battery attacks at radius 0 only: there is nothing to audit")
    ball = min(balls, key=lambda ball: abs(ball.eps - eps))
    attacks = tuple((name, attack) for name, attack in battery.attacks if attack.ball == ball)
    return replace(battery, attacks=attacks, second_attacks=())
