"""Honest evaluation: a battery of attacks, a judge that does not flip coins, and a table to keep.

A random net is attacked through `Votes` (expectation over transformation, Athalye et al. 2018) and
judged by `Votes` with fresh draws, never by one pass: the worst of several single passes makes a
random net look up to eleven points weaker with no attack at all, and an attack on a single draw
makes it look stronger than it is. Every evaluation draws the same images, starts and noise seeds,
so two nets are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Ball, Iterative, Worst
from adv.attacks.losses import correct
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.engine import Problem, Run, plainly, runs, through
from adv.evaluation.score import Score
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.precision import conv_precision
from adv.runtime.random_streams import derive_seed, is_random, use_seed
from adv.runtime.votes import Votes

BLOCK = 2048  # images whose starts are drawn at a time, so that ten thousand need little memory


def evaluate(
    model: nn.Module,
    split: Split,
    battery: Battery,
    *,
    batch: int | None = None,
    keep_images: bool = False,
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
      keep_images: keep the adversarial images that were judged, as `Score.adversarial`.

    Raises:
      ValueError: the split is empty, or an attack does not suit the net.
    """
    device = device_of(model)
    split = split.to(device)
    batch = batch or (64 if device.type == "cpu" else 512)
    if len(split) == 0:
        raise ValueError("there is no image to evaluate on")
    random = is_random(model)
    attacked = Votes(model, battery.draws) if random else model
    judge = Votes(model, battery.votes) if random else model
    rows: dict[int, Tensor] = {}
    with (
        frozen(model),
        fused_conv_pool(model) as form,
        use_seed(model, battery.seed),
        conv_precision("tf32"),
    ):
        kept = _clean_copies(split, len(battery.attacks)) if keep_images else None
        problem = Problem(attacked, judge, split, batch, form, kept)
        natural, classes = _correct(problem)
        for kind in dict.fromkeys(type(attack.ball) for _, attack in battery.attacks):
            rows |= _nested(battery, kind, problem, natural, classes)
    return Score(
        tuple(name for name, _ in battery.attacks),
        tuple(attack.ball.eps for _, attack in battery.attacks),
        torch.stack([natural, *(rows[i] for i in range(len(rows)))]),
        votes=battery.votes if random else 1,
        draws=battery.draws if random else 1,
        adversarial=kept,
    )


def _clean_copies(split: Split, attacks: int) -> Tensor:
    """Return the images [attacks, n, c, h, w] as they are before any attack."""
    clean = split.images.cpu().float() / 255
    return clean.expand(attacks, *clean.shape).clone()


def _nested(
    battery: Battery, kind: type[Ball], problem: Problem, natural: Tensor, classes: int
) -> dict[int, Tensor]:
    """For each attack of one norm its index and [n] booleans: what still stands after it.

    Smaller balls come first; an image that falls in one is not attacked in the larger ones.
    """
    chain: list[Run] = []
    reached: dict[int, int] = {}
    order = _inside_out(battery, kind)
    for position, index in enumerate(order):
        serves = tuple(order[position:])
        for restart, member in enumerate(_suiting(battery.attacks[index][1], classes)):
            if member.ball.eps > 0:
                chain.append(Run(member, battery.seed + 1000 * index + restart, serves))
        reached[index] = len(chain)
    fell = torch.where(natural, len(chain), -1)
    done = 0
    for piece in runs(chain):
        _attack(piece, problem, fell, done, len(chain))
        done += len(piece)
    return {index: fell >= end for index, end in reached.items()}


def _attack(piece: list[Run], problem: Problem, fell: Tensor, done: int, total: int) -> None:
    """Attack the images that `fell` [n] says stand, and note the run at which they fall.

    Args:
      piece: runs that can share a batch.
      problem: net and images.
      fell: the run of the chain at which an image fell; `total` where it stands.
      done: runs of the chain that came before the piece.
      total: runs of the chain.
    """
    sure = problem.attacked is problem.judge
    for number, block in enumerate(torch.arange(len(fell)).split(BLOCK)):
        standing = (fell[block] == total).nonzero().flatten()
        if len(standing) and sure and isinstance(piece[0].attack, Iterative):
            at = through(piece, problem, block, standing, number)
            fell[block[standing]] = torch.where(at < len(piece), done + at, total)
            continue
        for step, run in enumerate(piece):
            if len(standing):
                stands = plainly(run, problem, block, standing, derive_seed(run.seed, number))
                fell[block[standing[~stands]]] = done + step
                standing = standing[stands]


def _inside_out(battery: Battery, kind: type[Ball]) -> list[int]:
    """The indices of the attacks in that norm, smaller balls first."""
    balls = [attack.ball for _, attack in battery.attacks]
    ours = [i for i, ball in enumerate(balls) if type(ball) is kind]
    return sorted(ours, key=lambda i: balls[i].eps)


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


@torch.no_grad()
def _correct(problem: Problem) -> tuple[Tensor, int]:
    """[n] booleans on the CPU, right without an attack; and how many classes the net tells."""
    hits, classes = [], 0
    for ids in torch.arange(len(problem.split)).split(problem.batch):
        x, y = problem.pixels(ids)
        logits = problem.judge(x)
        hits.append(correct(logits, y).cpu())
        classes = logits.shape[1]
    return torch.cat(hits), classes
