"""Continuous batching: an image that is done leaves its slot, and the next pending one takes it.

It is for nets that are not random. A slot holds one image under one run of an attack and counts
its own steps; when the image is fooled or the run ends, the slot takes the next pending (image,
run). Runs that differ in radius, step size, target or seed share a batch, so the batch stays full
until the images run out, and the six radii of the report are one queue. The result is that of the
plain loop, because an image's start, steps and random numbers do not depend on its batch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from adv.attacks import Iterative, State
from adv.evaluation.engine.jobs import AttackRun, EvaluationJob
from adv.evaluation.engine.rows import AttackRows, StartCache, concatenate_rows
from adv.runtime.random_streams import derive_seed

# Steps between two checks of which images are fooled. A check makes a GPU wait, and images that
# are fooled at all are fooled at the second or third step.
CHECK_EVERY = {"cpu": 1}
CHECK_EVERY_ON_GPU = 3


def run_continuous(
    runs: Sequence[AttackRun], job: EvaluationJob, block: Tensor, standing: Tensor, number: int
) -> Tensor:
    """Return [m] int64 on the CPU: the run that fooled each image; len(runs) where none did.

    Args:
      runs: iterative attacks that can share a batch; each attacks what the ones before it left.
      job: the job of a net that is not random.
      block: [n] indices into the split; the starts of all of them are drawn.
      standing: [m] indices into the block, the images to attack.
      number: number of the block, from which the seed of its starts is derived.
    """
    scheduler = _Scheduler(runs, job, block, standing, number)
    while scheduler.fill():
        scheduler.step()
    return scheduler.fooled_by[standing]


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
        seeds = [derive_seed(run.seed, number) for run in runs]
        self.starts = StartCache(self.attacks, seeds, job.pixels(block))
        self.fooled_by = torch.full((len(block),), len(runs))
        self.pending = deque((image, 0) for image in standing.tolist())
        self.ready: AttackRows | None = None  # prepared, and waiting for a slot
        self.active: AttackRows | None = None
        self.ended: list[tuple[Tensor, AttackRows]] = []  # after the last step, to be classified
        self.turns = 0
        self.check_every = CHECK_EVERY.get(job.device.type, CHECK_EVERY_ON_GPU)
        self.constant = job.device.type != "cpu"

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
        before, now.state = now.state, self.stepper.step(self.job.attack_model, now.state)
        now.age += 1
        if self.job.adversarial is not None:
            self._store_fooling(now, before)
        self.fooled |= now.state.fooled
        self.turns += 1
        if self.turns % self.check_every == 0 or (now.age == self.stepper.steps).any():
            self._release(now)

    def _store_fooling(self, now: AttackRows, before: State) -> None:
        """Store the image of each slot that has just been fooled for the first time.

        An attack queries the net either where it stood before the step or where the step ended: the
        predictor says which of the two fools it.
        """
        rows = ((now.state.fooled & ~self.fooled).cpu() & (now.image >= 0)).nonzero().flatten()
        if len(rows):
            new, old = now.keep(rows), before.keep(rows.to(before.labels.device))
            stood = self.job.is_correct(old.adv, old.labels)[:, None, None, None]
            self._store(new, torch.where(stood, self.stepper.result(new.state), old.adv))

    def _store(self, rows: AttackRows, adv: Tensor) -> None:
        """Store the adversarial images of these rows, each under the run that it is at."""
        for run in rows.run.unique().tolist():
            of_run = (rows.run == run).nonzero().flatten()
            self.job.store(
                self.runs[run], self.block[rows.image[of_run]], adv[of_run.to(adv.device)]
            )

    def _count_active(self) -> int:
        """Return how many slots hold an image."""
        return 0 if self.active is None else int((self.active.image >= 0).sum())

    def _release(self, now: AttackRows) -> None:
        """Record which images are fooled, set aside those at their last step, free their slots."""
        fooled, busy = self.fooled.cpu(), now.image >= 0
        lost = fooled & busy
        self.fooled_by[now.image[lost]] = now.run[lost]
        ended = (now.age == self.stepper.steps) & busy & ~fooled
        if ended.any():
            done = now.keep(ended.nonzero().flatten())
            self.ended.append((self.stepper.result(done.state), done))
        now.image[lost | ended] = -1

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
            enough = self.job.batch if self.pending else 1
            if sum(len(done.image) for _, done in self.ended) >= enough:
                self._classify_ended()
            if not self.pending:
                return False
            self._prepare()
        return True

    def _classify_ended(self) -> None:
        """Classify images after their last step; those still correct go on to the next run."""
        images = torch.cat([done.image for _, done in self.ended])
        reached = torch.cat([done.run for _, done in self.ended])
        labels = torch.cat([done.state.labels for _, done in self.ended])
        correct = self.job.is_correct(torch.cat([adv for adv, _ in self.ended]), labels).cpu()
        for adv, done in self.ended:
            self._store(done, adv)
        self.ended = []
        self.fooled_by[images[~correct]] = reached[~correct]
        following = (reached[correct] + 1).tolist()
        for image, run in zip(images[correct].tolist(), following, strict=True):
            if run < len(self.attacks):
                self.pending.append((image, run))

    def _prepare(self) -> None:
        """Start and prepare the next pending images, up to a batch of them."""
        taken = [self.pending.popleft() for _ in range(min(self.job.batch, len(self.pending)))]
        parts = []
        for run in sorted({run for _, run in taken}):
            image = torch.tensor([i for i, at in taken if at == run])
            attack = self.attacks[run]
            state = self.starts.state(run).keep(image.to(self.job.device))
            state = attack.prepare(self.job.attack_model, state)
            fooled = state.fooled.cpu()
            self.fooled_by[image[fooled]] = run
            rows = AttackRows(state, image, torch.full_like(image, run), torch.zeros_like(image))
            if fooled.any():
                fell = rows.keep(fooled.nonzero().flatten())
                self._store(fell, attack.result(fell.state))
            if not fooled.all():
                parts.append(rows.keep((~fooled).nonzero().flatten()))
        self.ready = concatenate_rows(parts) if parts else None
        self.starts.drop_before(self._earliest_run())

    def _earliest_run(self) -> int:
        """Return the earliest run that an image is at."""
        parts = [rows for rows in (self.active, self.ready) if rows is not None]
        parts += [done for _, done in self.ended]
        runs = [run for _, run in self.pending] + [int(rows.run.min()) for rows in parts]
        return min(runs, default=len(self.attacks))
