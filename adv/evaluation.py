"""Honest evaluation: a battery of attacks, a judge that does not flip coins, and a table to keep.

A random net is attacked through `Votes` (expectation over transformation, Athalye et al. 2018) and
judged by `Votes` with fresh draws, never by one pass: the worst of several single passes makes a
random net look up to eleven points weaker with no attack at all, and an attack on a single draw
makes it look stronger than it is. Every evaluation draws the same images, starts and noise seeds,
so two nets are compared in pairs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Iterative, State, Worst
from adv.battery import Battery
from adv.data import Split
from adv.modes import frozen
from adv.randomness import drawing, is_random, part
from adv.score import Score
from adv.votes import Votes

BLOCK = 2048  # images whose starts are drawn at a time, so that ten thousand need little memory


def evaluate(
    model: nn.Module, split: Split, battery: Battery, *, batch: int | None = None
) -> Score:
    """Attack a net and judge it.

    An image fooled in a ball counts as fooled in every larger ball of that norm, so later attacks
    meet only what still stands; images the net gets wrong without an attack are not attacked.
    A deterministic net is fooled by any iterate of an attack, a random one by the attack's result
    alone, because judging each iterate anew would take the worst of many coin flips. Of an attack's
    parts (`Worst`) those are left out that the net has too few classes for.

    Args:
      model: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images; brought to the model's device.
      battery: what to attack with.
      batch: images at a time; None: 64 on a CPU (more is no faster), 512 on a GPU.

    Raises:
      ValueError: the split is empty, or an attack does not suit the net.
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
        natural, classes = _correct(judge, split, batch)
        fallen: dict[type, Tensor] = {}
        for index in _inside_out(battery):
            attack = battery.attacks[index][1]
            ok = fallen.get(type(attack.ball), natural).clone()
            for restart, member in enumerate(_suiting(attack, classes)):
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


def _suiting(attack: Attack, classes: int) -> list[Attack]:
    """The attacks of a cascade that suit so many classes; if none does, one that will say why."""
    members = list(_members(attack))
    return [member for member in members if member.suits(classes)] or members[:1]


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


@torch.no_grad()
def _correct(judge: nn.Module, split: Split, batch: int) -> tuple[Tensor, int]:
    """[n] booleans on the CPU, right without an attack; and how many classes the net tells."""
    hits, classes = [], 0
    for ids in torch.arange(len(split)).split(batch):
        x, y = _pixels(split, ids)
        logits = judge(x)
        hits.append((logits.argmax(1) == y).cpu())
        classes = logits.shape[1]
    return torch.cat(hits), classes


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

    An image's random start is the same whichever others still stand, and whatever `batch` is.
    """
    if attack.ball.eps == 0:
        return
    for block, every in enumerate(torch.arange(len(split)).split(BLOCK)):
        standing = torch.nonzero(ok[every]).flatten()
        if not len(standing):
            continue
        generator = torch.Generator().manual_seed(part(seed, block))
        begun = (
            attack.start(*_pixels(split, every), generator)
            if isinstance(attack, Iterative)
            else None
        )
        for rows in standing.chunk(math.ceil(len(standing) / batch)):
            ids = every[rows]
            if begun is None:
                x, y = _pixels(split, ids)
                adv = attack(attacked, x, y, generator=generator)
                ok[ids] = _right(judge, adv, y).cpu()
            elif isinstance(attack, Iterative):
                state = begun.keep(rows.to(begun.labels.device))
                ok[ids] = _survivors(attack, attacked, judge, state).cpu()


def _survivors(attack: Iterative, attacked: nn.Module, judge: nn.Module, state: State) -> Tensor:
    """[n] booleans: the images of `state` that are still right at the end of the attack.

    Against a deterministic net an image leaves at the first iterate that fools it.
    """
    leave = attacked is judge
    stands = torch.zeros_like(state.labels, dtype=torch.bool)
    alive = torch.arange(len(stands), device=stands.device)
    state = attack.aim(attacked, state)
    for step in range(attack.steps + 1):
        if leave and state.fooled.any():
            alive, state = alive[~state.fooled], state.keep(~state.fooled)
            if not len(alive):
                return stands
        if step < attack.steps:
            state = attack.step(attacked, state)
    stands[alive] = _right(judge, attack.result(state), state.labels)
    return stands


@torch.no_grad()
def _right(judge: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    return judge(x).argmax(1) == y
