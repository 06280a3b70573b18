"""Evaluate a net under a battery of attacks and keep the result of every image.

A random net is attacked through several draws (expectation over transformation, Athalye et al.
2018) and classified by votes with fresh draws, as by `Votes`, never by one pass: the worst of
several single passes makes a random net look up to eleven points weaker with no attack at all, and
an attack on a single draw makes it look stronger than it is. Every evaluation uses the same images,
starts and noise seeds, so two nets can be compared image by image.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from adv.attacks import Attack, Ball, Iterative
from adv.attacks.composite import members
from adv.attacks.inputs import check_classes, check_labels
from adv.attacks.losses import is_correct
from adv.data.datasets import Split
from adv.evaluation.battery import Battery
from adv.evaluation.engine import (
    AttackRun,
    EvaluationJob,
    attack_progress,
    group_runs,
    run_batch,
    run_continuous,
)
from adv.evaluation.engine.jobs import NATURAL
from adv.evaluation.engine.random_net import RandomNet
from adv.evaluation.score import Score
from adv.runtime.devices import device_of
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool
from adv.runtime.precision import conv_precision, settle_precision
from adv.runtime.random_streams import derive_seed, is_random, lend_stream
from adv.runtime.ranks import ALONE, Ranks
from adv.runtime.row_streams import RowStream

BLOCK = 2048  # images whose starts are drawn at a time, so that ten thousand need little memory


def evaluate(
    model: nn.Module,
    split: Split,
    battery: Battery,
    *,
    batch: int | None = None,
    keep_images: bool = False,
    ranks: Ranks = ALONE,
) -> Score:
    """Return the accuracies of a net under a battery of attacks.

    An image fooled in a ball counts as fooled in every larger ball of that norm, so later attacks
    only get images that are still correct; images that the net misclassifies without an attack are
    not attacked. A deterministic net is fooled by any iterate of an attack. A random one is judged
    at most twice in a run, because classifying each iterate anew would take the worst of many
    random answers: once as soon as the draws of the gradients say clearly that it is fooled, which
    counts if the votes are clearly wrong too, and else by the final result. If all images lie near
    the boundary, the first verdict costs .1 points more than the final one alone. Where the same
    attack runs in balls of several radii, an image of a random net goes from the largest but one to
    smaller ones until it stands, and stands in every ball that is smaller; under a nested battery
    an image of any net does. What fools it is first moved into the next smaller ball, where it
    counts if the votes are clearly wrong.

    Members of a `Worst` are left out if the net has too few classes for them.

    Args:
      model: maps images in [0, 1] to logits; on the device where it shall run.
      split: the images; brought to the model's device.
      battery: the attacks.
      batch: images at a time; None: 512 on a GPU, 64 on a CPU (more is hardly faster), and there
        128 for queries to a net that is not random, which keep nothing for a gradient.
      keep_images: keep the final adversarial images, as `Score.adversarial`.
      ranks: the processes that evaluate the net together, each of which calls this with the same
        arguments and attacks every so many images, or batches of an attack that is not iterative;
        all return the same score.

    Raises:
      ValueError: the split is empty, its labels are no classes of the net, or an attack does not
        support the net.
    """
    if keep_images and ranks.count > 1:
        raise ValueError("adversarial images are not gathered from several ranks")
    if keep_images and battery.nested:
        raise ValueError("a nested battery does not attack each image in each ball")
    device = device_of(model)
    split = split.to(device)
    wide = None if batch or device.type != "cpu" else 128
    batch = batch or (64 if device.type == "cpu" else 512)
    if len(split) == 0:
        raise ValueError("there is no image to evaluate on")
    random = is_random(model)
    stream = RowStream(battery.seed)
    asked = RandomNet(model, stream, battery.draws, battery.votes, batch) if random else model
    rows: dict[int, Tensor] = {}
    with (
        frozen(model),
        fused_conv_pool(model) as form,
        lend_stream(model, stream),
        conv_precision("tf32"),
        settle_precision(asked),
    ):
        kept = _clean_copies(split, len(battery.attacks)) if keep_images else None
        job = EvaluationJob(asked, split, batch, form, kept, None if random else wide)
        natural, classes = _predict_clean(job, battery.seed)
        norms = dict.fromkeys(type(attack.ball) for _, attack in battery.attacks)
        plans = [_plan_runs(battery, norm, classes, random) for norm in norms]
        attack_progress.begin(sum(plan.count() for plan in plans))
        for plan in plans:
            rows |= plan.attack(job, natural, ranks)
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


@dataclass(frozen=True)
class _Plan:
    """The runs of the attacks of one norm.

    Args:
      first: the index of each attack in the battery and its runs through the balls, smaller ones
        first.
      later: the runs that begin in the largest ball in which an image stands.
      nested: whether an image that stands in a ball stands in all that are smaller.
    """

    first: list[tuple[int, list[AttackRun]]]
    later: list[AttackRun]
    nested: bool

    @property
    def chain(self) -> list[AttackRun]:
        """The runs through the balls, one after another."""
        return [run for _, runs in self.first for run in runs]

    def count(self) -> int:
        """Return how many runs there are."""
        return len(self.chain) + len(self.later)

    def attack(self, job: EvaluationJob, natural: Tensor, ranks: Ranks) -> dict[int, Tensor]:
        """Return, for each attack, its index and [n] booleans: the images still correct.

        An image that is fooled in a ball is not attacked in the larger ones.
        """
        chain = self.chain
        fooled_by = torch.where(natural, len(chain), -1)
        _attack_chain(chain, job, fooled_by, ranks)
        ends = itertools.accumulate(len(runs) for _, runs in self.first)
        alone = {index: fooled_by >= end for (index, _), end in zip(self.first, ends, strict=True)}
        if not self.later and not self.nested:
            return alone
        stands, fell = self._attack_later(job, natural, ranks, fooled_by)
        both = {
            index: stands >= (self.sizes[runs[0].attack.ball.eps] if runs else 0)
            for index, runs in self.first
        }
        return both if self.nested else {i: alone[i] & (both[i] | ~fell) for i in alone}

    @property
    def sizes(self) -> dict[float, int]:
        """The rank of each radius, 1 for the smallest one."""
        return {e: k for k, e in enumerate(sorted({r.attack.ball.eps for r in self.chain}), 1)}

    def _attack_later(
        self, job: EvaluationJob, natural: Tensor, ranks: Ranks, fooled_by: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return [n] in how many of the smallest balls each image stands, and which one fell here.

        An image meets all later runs only in the largest ball in which it stands, and in larger
        ones those up to the one that fools it.
        """
        smaller = [self.sizes[run.attack.ball.eps] - 1 for run in self.chain]
        stands = torch.tensor([*smaller, len(self.sizes), -1])[fooled_by]
        unsettled, fallen = natural, torch.zeros_like(natural)
        for eps, size in reversed(self.sizes.items()):
            here = unsettled & (stands == size)
            rest = [run for run in self.later if run.attack.ball.eps == eps]
            fooled_by = torch.where(here, len(rest), -1)
            _attack_chain(rest, job, fooled_by, ranks)
            fell = here & (fooled_by < len(rest))
            stands[fell] -= 1
            unsettled, fallen = unsettled & ~here | fell, fallen | fell
        return stands, fallen


def _plan_runs(battery: Battery, norm: type[Ball], classes: int, random: bool) -> _Plan:
    """Return the runs of the attacks of one norm."""
    order = _by_radius(battery, norm)
    first, later = [], list[AttackRun]()
    for position, index in enumerate(order):
        serves, seed = tuple(order[position:]), battery.seed + 1000 * index
        parts = enumerate(_list_supported(battery.attacks[index][1], classes))
        runs = [AttackRun(part, seed + restart, serves) for restart, part in parts]
        runs = [run for run in runs if run.attack.ball.eps > 0]
        count = 1 if battery.nested else len(runs)
        first.append((index, runs[:count]))
        later += runs[count:]
    balls = [run.attack.ball for _, runs in first for run in runs]
    for number, attack in enumerate(battery.second_attacks, len(battery.attacks)):
        if random or attack.ball not in balls:
            continue
        serves = tuple(i for i in order if battery.attacks[i][1].ball.eps >= attack.ball.eps)
        for seed, part in enumerate(members(attack), battery.seed + 1000 * number):
            if part.supports(classes):
                later.append(AttackRun(part, seed, serves))
    return _Plan(first, later, battery.nested)


def _attack_chain(
    chain: list[AttackRun], job: EvaluationJob, fooled_by: Tensor, ranks: Ranks
) -> None:
    """Attack images by a chain of runs, and write to `fooled_by` which run fooled them.

    Args:
      chain: the runs, in their order.
      job: the net and the images.
      fooled_by: [n] `len(chain)` for images to attack; those that no run fools keep it.
      ranks: the processes that share the work.
    """
    mine = torch.arange(len(fooled_by)) % ranks.count == ranks.rank
    done = 0
    for group in group_runs(chain):
        if ranks.count > 1 and isinstance(group[0].attack, Iterative):
            part = torch.where(mine, fooled_by, -1)
            _attack_group(group, job, part, done, len(chain))
            fooled_by.copy_(ranks.largest(part))
        else:
            _attack_group(group, job, fooled_by, done, len(chain), ranks)
        done += len(group)
        attack_progress.advance(len(group))


def _attack_group(
    group: list[AttackRun],
    job: EvaluationJob,
    fooled_by: Tensor,
    done: int,
    total: int,
    ranks: Ranks = ALONE,
) -> None:
    """Attack the images that are still correct, and write to `fooled_by` which run fooled them.

    Args:
      group: runs that can share a batch.
      job: the net and the images.
      fooled_by: [n] index in the chain of the run that fooled an image; `total` if none did.
      done: runs of the chain before this group.
      total: runs of the chain.
      ranks: that attack whole batches in turn, if the attack is not iterative.
    """
    if job.query_batch and group[0].attack.budget_setting == "queries":
        job = replace(job, batch=job.query_batch)
    for number, block in enumerate(torch.arange(len(fooled_by)).split(BLOCK)):
        standing = (fooled_by[block] == total).nonzero().flatten()
        if len(standing) and isinstance(group[0].attack, Iterative):
            at = run_continuous(group, job, block, standing, number)
            fooled_by[block[standing]] = torch.where(at < len(group), done + at, total)
            continue
        for step, run in enumerate(group):
            if len(standing):
                correct = run_batch(run, job, block, standing, derive_seed(run.seed, number), ranks)
                fooled_by[block[standing[~correct]]] = done + step
                standing = standing[correct]


def _by_radius(battery: Battery, norm: type[Ball]) -> list[int]:
    """Return the indices of the attacks in this norm, smaller balls first."""
    balls = [attack.ball for _, attack in battery.attacks]
    indices = [i for i, ball in enumerate(balls) if type(ball) is norm]
    return sorted(indices, key=lambda i: balls[i].eps)


def _list_supported(attack: Attack, classes: int) -> list[Attack]:
    """Return the members of a cascade that support so many classes.

    If none does, the first is returned: it raises an error that says why.
    """
    every = list(members(attack))
    return [member for member in every if member.supports(classes)] or every[:1]


def _predict_clean(job: EvaluationJob, seed: int) -> tuple[Tensor, int]:
    """Return [n] booleans on the CPU, correct without an attack, and the number of classes."""
    hits, classes = [], 0
    largest = int(check_labels(job.split.labels, len(job.split)).max())
    for ids in torch.arange(len(job.split)).split(job.batch):
        x, y = job.pixels(ids)
        job.seed_noise(ids, seed, 0, NATURAL)
        answer = job.answer(x, y)
        check_classes(answer, largest)
        hits.append(is_correct(answer, y).cpu())
        classes = answer.shape[1]
    return torch.cat(hits), classes
