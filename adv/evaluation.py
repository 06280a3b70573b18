"""Honest evaluation: a battery of attacks, a judge that does not flip coins, and a table to keep.

A random net is attacked through `Votes` (expectation over transformation, Athalye et al. 2018) and
judged by `Votes` with fresh draws, never by one pass: the worst of several single passes makes a
random net look up to eleven points weaker with no attack at all, and an attack on a single draw
makes it look stronger than it is. Every evaluation draws the same images, starts and noise seeds,
so two nets are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from adv.attacks import PGD, Attack, Iterative, Linf, State, Worst
from adv.data import Split
from adv.modes import frozen
from adv.randomness import drawing, is_random
from adv.score import Score
from adv.votes import Votes

_REPORT = (
    (0.01, 0.0025), (0.02, 0.005), (0.03, 0.008), (0.04, 0.01), (0.06, 0.015), (0.1, 0.02)
)  # fmt: skip


@dataclass(frozen=True)
class Battery:
    """Named attacks, and how a random net is treated.

    Args:
      attacks: (name, attack) pairs; names differ.
      draws: of a random net in each gradient (expectation over transformation).
      votes: fresh draws of a random net that judge an image.
      seed: of the starts and the noise, the same for all nets.
    """

    attacks: tuple[tuple[str, Attack], ...]
    draws: int = 5
    votes: int = 20
    seed: int = 20_240_601

    def __post_init__(self) -> None:
        names = [name for name, _ in self.attacks]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a battery needs attacks with different names, got {names}")
        if self.draws < 1 or self.votes < 1:
            raise ValueError("draws and votes must be 1 or more")


def report_battery(steps: int = 20, draws: int = 5, votes: int = 20) -> Battery:
    """The report's battery: six PGD points whose attacked accuracies are summed.

    (eps, step) = (.01, .0025) (.02, .005) (.03, .008) (.04, .01) (.06, .015) (.1, .02).
    """
    attacks = tuple(
        (f"pgd{steps}-{eps:g}", PGD(Linf(eps), steps=steps, step_size=size))
        for eps, size in _REPORT
    )
    return Battery(attacks, draws=draws, votes=votes)


def quick_battery(steps: int = 10) -> Battery:
    """A cheap look at a net while it trains: PGD at two radii, five draws of a random net."""
    points = (0.03, 0.1)
    attacks = tuple((f"pgd{steps}-{e:g}", PGD(Linf(e), steps=steps, pace=0.3)) for e in points)
    return Battery(attacks, draws=5, votes=10)


def evaluate(
    model: nn.Module, split: Split, battery: Battery, *, batch: int | None = None
) -> Score:
    """Attack a net and judge it.

    An image fooled in a ball counts as fooled in every larger ball of that norm, so later attacks
    meet only what still stands; images the net gets wrong without an attack are not attacked.
    A deterministic net is fooled by any iterate of an attack, a random one by the last, because
    judging each iterate anew would take the worst of many coin flips.

    Args:
      model: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images; brought to the model's device.
      battery: what to attack with.
      batch: images at a time; None: 64 on a CPU (more is no faster), 512 on a GPU.

    Raises:
      ValueError: the split is empty.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    split = split.to(device)
    batch = batch or (64 if device.type == "cpu" else 512)
    if len(split) == 0:
        raise ValueError("there is no image to evaluate on")
    random = is_random(model)
    attacked = Votes(model, battery.draws) if random else model
    judge = Votes(model, battery.votes) if random else model
    rows = [torch.zeros(len(split), dtype=torch.bool)] * len(battery.attacks)
    with frozen(model), drawing(model, battery.seed):
        natural = _correct(judge, split, batch)
        fallen: dict[type, Tensor] = {}
        for index in _inside_out(battery):
            attack = battery.attacks[index][1]
            ok = fallen.get(type(attack.ball), natural).clone()
            for restart, member in enumerate(_members(attack)):
                seed = battery.seed + 1000 * index + restart
                _attack(member, attacked, judge, split, ok, seed, batch)
            rows[index] = fallen[type(attack.ball)] = ok
    return Score(
        tuple(name for name, _ in battery.attacks),
        tuple(attack.ball.eps for _, attack in battery.attacks),
        torch.stack([natural, *rows]),
        votes=battery.votes if random else 1,
        draws=battery.draws if random else 1,
    )


def _inside_out(battery: Battery) -> list[int]:
    """The attacks' indices, smaller balls first."""
    return sorted(range(len(battery.attacks)), key=lambda i: battery.attacks[i][1].ball.eps)


def _members(attack: Attack) -> Iterator[Attack]:
    """The attacks of a cascade, one by one."""
    if isinstance(attack, Worst):
        for member in attack.attacks:
            yield from _members(member)
    else:
        yield attack


def _pixels(split: Split, ids: Tensor) -> tuple[Tensor, Tensor]:
    ids = ids.to(split.labels.device)
    x = split.images[ids].float() / 255
    return x.contiguous(memory_format=torch.channels_last), split.labels[ids]


def _correct(judge: nn.Module, split: Split, batch: int) -> Tensor:
    """[n] booleans on the CPU: right without an attack."""
    hits = []
    for ids in torch.arange(len(split)).split(batch):
        x, y = _pixels(split, ids)
        hits.append(_right(judge, x, y).cpu())
    return torch.cat(hits)


def _attack(
    attack: Attack,
    attacked: nn.Module,
    judge: nn.Module,
    split: Split,
    ok: Tensor,
    seed: int,
    batch: int,
) -> None:
    """Attack the images that `ok` [n] says still stand, and strike out those that fall.

    An image's random start is the same whichever others still stand.
    """
    if attack.ball.eps == 0 or not ok.any():
        return
    generator = torch.Generator().manual_seed(seed)
    every = torch.arange(len(split))
    begun = (
        attack.start(*_pixels(split, every), generator) if isinstance(attack, Iterative) else None
    )
    for ids in torch.nonzero(ok).flatten().split(batch):
        if begun is None:
            x, y = _pixels(split, ids)
            adv = attack(attacked, x, y, generator=generator)
            ok[ids] = _right(judge, adv, y).cpu()
        elif isinstance(attack, Iterative):
            state = begun.keep(ids.to(begun.labels.device))
            ok[ids] = _survivors(attack, attacked, judge, state).cpu()


def _survivors(attack: Iterative, attacked: nn.Module, judge: nn.Module, state: State) -> Tensor:
    """[n] booleans: the images of `state` that are still right at the end of the attack.

    Against a deterministic net an image leaves at the first iterate that fools it.
    """
    leave = attacked is judge
    stands = torch.zeros_like(state.labels, dtype=torch.bool)
    alive = torch.arange(len(stands), device=stands.device)
    state = attack.aim(attacked, state)
    for _ in range(attack.steps):
        state = attack.step(attacked, state)
        if leave and state.fooled.any():
            alive, state = alive[~state.fooled], state.keep(~state.fooled)
            if not len(alive):
                return stands
    stands[alive] = _right(judge, attack.result(state), state.labels)
    return stands


@torch.no_grad()
def _right(judge: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return judge(x).argmax(1) == y
