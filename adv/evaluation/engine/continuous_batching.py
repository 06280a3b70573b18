"""Continuous batching: an image that is done leaves its slot, and the next pending one takes it.

A slot holds one image under one run of an attack and counts its own steps; when the image is fooled
or the run ends, the slot takes the next pending (image, run). Runs that differ in radius, step
size, target or seed share a batch, so the batch stays full until the images run out, and the six
radii of the report are one queue.

A net that is not random is fooled by any iterate, and its images go through the radii from the
smallest to the largest. The result is that of the plain loop, because an image's start, steps and
random numbers do not depend on its batch.

A random net is fooled where votes say so, of which there are two in a run at most
(`adv.evaluation.engine.verdicts`), and its images search for the smallest radius that fools them
(`adv.evaluation.engine.progress`). An image that fools the net is moved into the next smaller ball
and classified there: half of them still fool it, without another run. The noise of an image depends
on its batch only on a GPU and where the net's modules share it (`adv.runtime.row_streams`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adv.attacks import Iterative, State
from adv.evaluation.engine.attack_progress import look
from adv.evaluation.engine.jobs import (
    FIRST_VERDICT,
    LAST_VERDICT,
    PREPARE,
    SMALLER_BALL,
    STEP,
    AttackRun,
    EvaluationJob,
)
from adv.evaluation.engine.kept_images import KeptImages
from adv.evaluation.engine.progress import Progress
from adv.evaluation.engine.random_net import RandomNet
from adv.evaluation.engine.rows import AttackRows, StartCache, concatenate_rows, first_rows
from adv.evaluation.engine.verdicts import add_evidence, is_clearly_fooled
from adv.runtime.random_streams import derive_seed

# Steps between two checks of which images are fooled. A check makes a GPU wait, and images that
# are fooled at all are fooled at the second or third step. Each step of a random net is checked.
CHECK_EVERY = {"cpu": 1}
CHECK_EVERY_ON_GPU = 3


def run_continuous(
    runs: Sequence[AttackRun], job: EvaluationJob, block: Tensor, standing: Tensor, number: int
) -> Tensor:
    """Return [m] int64 on the CPU: the run that fooled each image; len(runs) where none did.

    It is the first one in the order of the runs among those that an image met.

    Args:
      runs: iterative attacks that can share a batch, in the order of their radii.
      job: the net and the images.
      block: [n] indices into the split; the starts of all of them are drawn.
      standing: [m] indices into the block, the images to attack.
      number: number of the block, from which the seed of its starts is derived.
    """
    scheduler = _Scheduler(runs, job, block, standing, number)
    while scheduler.fill():
        scheduler.step()
        look(scheduler.count_over)
    return scheduler.progress.fooled_by[standing]


@dataclass
class _Candidates:
    """Adversarial images [n, c, h, w] that wait to be classified, and their rows.

    Args:
      adv: the images.
      rows: where each of them is.
      purpose: `FIRST_VERDICT`, after which the run of those that are still correct goes on;
        `LAST_VERDICT`, on the results of runs; or `SMALLER_BALL`, on images that were moved into
        the ball of a smaller run, which those that are still correct have yet to meet.
    """

    adv: Tensor
    rows: AttackRows
    purpose: int


class _Scheduler:
    """The queue of pending images, the slots, and the results so far."""

    def __init__(
        self,
        runs: Sequence[AttackRun],
        job: EvaluationJob,
        block: Tensor,
        standing: Tensor,
        number: int,
    ) -> None:
        self.runs, self.job, self.block = runs, job, block
        self.attacks = [run.attack for run in runs if isinstance(run.attack, Iterative)]
        assert len(self.attacks) == len(runs), "continuous batching takes iterative attacks"
        self.stepper = self.attacks[0]  # all of them take the same steps
        self.seeds = torch.tensor([run.seed for run in runs])
        seeds = [derive_seed(run.seed, number) for run in runs]
        self.starts = StartCache(self.attacks, seeds, job.pixels(block))
        self.random = job.model if isinstance(job.model, RandomNet) else None
        radii = [attack.ball.eps for attack in self.attacks]
        self.radii = torch.tensor(radii)
        random = self.random is not None
        self.progress = Progress(radii, len(block), standing, searching=random)
        self.kept = KeptImages(runs, job, block, self.progress)
        self.pending: deque[tuple[int, int]] = deque()  # images, and the runs that they wait for
        self._queue(standing, self.progress.at[standing])
        self.ready: AttackRows | None = None  # prepared, and waiting for a slot
        self.active: AttackRows | None = None
        self.candidates: list[_Candidates] = []
        self.turns = 0
        self.check_every = 1 if random else CHECK_EVERY.get(job.device.type, CHECK_EVERY_ON_GPU)
        self.constant = job.device.type != "cpu"

    def count_over(self) -> int:
        """Return how many runs no image is in any more, nor may still come to."""
        return sum(not self.progress.is_open(run) for run in range(len(self.runs)))

    def fill(self) -> bool:
        """Give free slots the next images; return False if no image is left anywhere."""
        fresh: list[AttackRows] = []
        free = self.job.batch - self._count_active()
        while free and self._refill():
            assert self.ready is not None
            rows = torch.arange(len(self.ready.image))
            fresh.append(self.ready.keep(rows[:free]))
            self.ready = self.ready.keep(rows[free:]) if len(rows) > free else None
            free -= len(fresh[-1].image)
        self._assign_slots(fresh)
        return self.active is not None

    def step(self) -> None:
        """Take one step in every slot; slots whose image is done become idle."""
        now = self.active
        assert now is not None
        self._seed_noise(now, STEP)
        before, now.state = now.state, self.stepper.step(self.job.model, now.state)
        now.age += 1
        if self.random is not None:
            self.fooled = self._is_clearly_fooled(now, self.random.answers).cpu() & ~now.asked
        else:
            if self.job.adversarial is not None:
                self._store_fooling(now, before)
            self.fooled |= now.state.fooled
        self.turns += 1
        if self.turns % self.check_every == 0 or (now.age == self.stepper.steps).any():
            self._release(now)

    def _seed_noise(self, rows: AttackRows, purpose: int) -> None:
        self.job.seed_noise(self.block[rows.image], self.seeds[rows.run], rows.age, purpose)

    def _is_clearly_fooled(self, now: AttackRows, draws: Tensor) -> Tensor:
        """Return [n] booleans: which images the draws of the last steps clearly show as fooled."""
        if draws.shape[1] != len(now.image):  # the last call was not about each image once
            return torch.zeros_like(now.state.fooled)
        now.evidence = add_evidence(now.evidence, draws, now.state.labels, now.state.fooled)
        return is_clearly_fooled(now.evidence)

    def _store_fooling(self, now: AttackRows, before: State) -> None:
        """Store the image of each slot that has just been fooled for the first time.

        An attack queries the net either where it stood before the step or where the step ended: the
        predictor says which of the two fools it. Before the step it may stand outside its ball, as
        APGD does in L1, so its result comes first.
        """
        rows = ((now.state.fooled & ~self.fooled).cpu() & (now.image >= 0)).nonzero().flatten()
        if len(rows):
            new, old = now.keep(rows), before.keep(rows.to(before.labels.device))
            result = self.stepper.result(new.state)
            withstood = self.job.is_correct(result, old.labels)[:, None, None, None]
            self.kept.store_fooling(new, torch.where(withstood, old.adv, result))

    def _count_active(self) -> int:
        """Return how many slots hold an image."""
        return 0 if self.active is None else int((self.active.image >= 0).sum())

    def _release(self, now: AttackRows) -> None:
        """Free the slots of images that are fooled, or said to be, or at their last step."""
        fooled, busy = self.fooled.cpu(), now.image >= 0
        lost = fooled & busy
        if self.random is None:
            self._record(now.image[lost], now.run[lost], lost[lost])
        elif lost.any():
            rows = lost.nonzero().flatten()
            said = now.keep(rows)
            said.asked[:] = True
            images = self.random.images[rows.to(self.random.images.device)]
            self.candidates.append(_Candidates(images, said, FIRST_VERDICT))
        ended = (now.age == self.stepper.steps) & busy & ~fooled
        if ended.any():
            self._end(now.keep(ended.nonzero().flatten()))
        now.image[lost | ended] = -1

    def _end(self, rows: AttackRows) -> None:
        """Let the results of these rows, at their last step, be classified."""
        result = self.stepper.result(rows.state)
        self.candidates.append(_Candidates(result, rows, LAST_VERDICT))

    def _record(self, images: Tensor, runs: Tensor, fooled: Tensor) -> None:
        """Record the results of runs, and let images that are not done wait for the next one."""
        self._queue(images, self.progress.record(images, runs, fooled))

    def _queue(self, images: Tensor, runs: Tensor) -> None:
        """Let images wait for their next runs; a run of -1 is none."""
        pairs = zip(images.tolist(), runs.tolist(), strict=True)
        self.pending.extend((image, run) for image, run in pairs if run >= 0)

    def _assign_slots(self, fresh: list[AttackRows]) -> None:
        """Give slots to fresh images beside the active ones, and drop idle slots if possible."""
        parts = list(fresh)
        if self.active is not None:
            busy = self.active.image >= 0
            if not fresh and self._width(int(busy.sum())) == len(busy):
                return
            if busy.any():
                parts.insert(0, self.active.keep(busy.nonzero().flatten()))
        self.active = concatenate_rows(parts) if parts else None
        if self.active is not None:
            taken = len(self.active.image)
            if (width := self._width(taken)) > taken:
                self.active = self.active.keep(torch.arange(width).clamp(max=taken - 1))
                self.active.image[taken:] = -1
            self.fooled = self.active.state.fooled.clone()

    def _width(self, taken: int) -> int:
        """Return the number of slots for so many images.

        On a GPU it is the whole batch, or a half, a quarter, ... of it, so that few shapes occur.
        """
        if not self.constant:
            return taken
        width = self.job.batch
        while width // 2 >= max(taken, 1):
            width //= 2
        return width if taken else 0

    def _refill(self) -> bool:
        """Make sure that images are ready, a batch at a time; return False if none is left."""
        while self.ready is None:
            enough = self.job.batch if self.pending else max(1, self._count_active())
            if sum(len(some.rows.image) for some in self.candidates) >= enough:
                self._classify_candidates()
            elif self.pending:
                self._prepare()
            else:
                return False
        return True

    def _classify_candidates(self) -> None:
        """Classify what the runs have found; images that stand go on."""
        waiting, self.candidates = self.candidates, []
        rows = [some.rows for some in waiting]
        ids = self.block[torch.cat([some.image for some in rows])]
        seeds = self.seeds[torch.cat([some.run for some in rows])]
        purpose = torch.cat([torch.full_like(some.rows.run, some.purpose) for some in waiting])
        self.job.seed_noise(ids, seeds, 0, purpose)
        labels, adv = torch.cat([r.state.labels for r in rows]), torch.cat([c.adv for c in waiting])
        stands = self.job.stands(adv, labels, purpose != LAST_VERDICT)
        again = []
        for some, part in zip(waiting, stands.split([len(r.image) for r in rows]), strict=True):
            again += self._settle(some, part)
        self.ready = concatenate_rows(again) if again else None

    def _settle(self, some: _Candidates, stands: Tensor) -> list[AttackRows]:
        """Record a verdict [n]; return the rows that go on in their run, if any."""
        left, fell = stands.nonzero().flatten(), (~stands).nonzero().flatten()
        last = some.purpose == LAST_VERDICT
        if self.job.adversarial is not None:
            device = some.adv.device
            self.kept.store_fooling(some.rows.keep(fell), some.adv[fell.to(device)])
            if last:
                self.kept.store_standing(some.rows.keep(left), some.adv[left.to(device)])
        known = torch.arange(len(stands)) if last else fell
        self._move_on(some.rows.keep(known), some.adv[known.to(some.adv.device)], ~stands[known])
        if some.purpose == SMALLER_BALL:
            images = some.rows.image[left]
            self._queue(images, self.progress.at[images])
        if some.purpose != FIRST_VERDICT or not len(left):
            return []
        rows = some.rows.keep(left)
        over = rows.age == self.stepper.steps
        if over.any():
            self._end(rows.keep(over.nonzero().flatten()))
        return [rows.keep((~over).nonzero().flatten())] if not over.all() else []

    def _move_on(self, rows: AttackRows, adv: Tensor, fooled: Tensor) -> None:
        """Record the results of runs; move images that fooled the net into the next smaller ball.

        Args:
          rows: n rows at the end of their runs.
          adv: [n, c, h, w] what the runs have found.
          fooled: [n] booleans.
        """
        following = self.progress.record(rows.image, rows.run, fooled)
        moves = fooled & (following >= 0)
        self._queue(rows.image[~moves], following[~moves])
        if moves.any():
            moved = moves.nonzero().flatten()
            rows, adv = rows.keep(moved), adv[moved.to(adv.device)]
            rows.run = self.progress.next_smaller(rows.image)
            adv = self.stepper.ball.project(adv, rows.state.clean, self.radii[rows.run].to(adv))
            self.candidates.append(_Candidates(adv, rows, SMALLER_BALL))

    def _prepare(self) -> None:
        """Start and prepare the next pending images, up to a batch of them."""
        taken = [self.pending.popleft() for _ in range(min(self.job.batch, len(self.pending)))]
        parts = []
        for run in sorted({run for _, run in taken}):
            image = torch.tensor([i for i, at in taken if at == run])
            attack = self.attacks[run]
            self.job.seed_noise(self.block[image], self.runs[run].seed, 0, PREPARE)
            state = self.starts.state(run).keep(image.to(self.job.device))
            rows = first_rows(attack.prepare(self.job.model, state), image, run)
            fooled = rows.state.fooled.cpu()
            if self.random is None and fooled.any():
                fell = rows.keep(fooled.nonzero().flatten())
                self.kept.store_fooling(fell, attack.result(fell.state))
                self._record(fell.image, fell.run, fooled[fooled])
                rows = rows.keep((~fooled).nonzero().flatten())
            if len(rows.image):
                parts.append(rows)
        self.ready = concatenate_rows(parts) if parts else None
        self.starts.keep(self.progress.is_open)
