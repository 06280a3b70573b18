"""Batches that stay full: an image that is done leaves, and its slot takes the next one.

Continuous batching, for nets that are not random. A slot holds one image under one run of one
attack and counts its own steps; fooled or at its end, it is given the next pending (image, run).
Runs that differ in radius, step size, target or seed share a batch, so the batch stays full until
the images run out, and a net's six radii are one queue. A verdict is that of the plain loop,
because nothing that an image meets depends on its neighbours: not its start, not its steps, not
what it draws.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from adv.attacks import Iterative, State
from adv.evaluation.engine.jobs import Problem, Run, blended, joined
from adv.runtime.random_streams import derive_seed

LOOK = {"cpu": 1}  # steps between two looks at who is fooled, elsewhere:
SELDOM = 3  # a look stops a GPU; images that fall do so at the second or third step


def through(
    runs: Sequence[Run], problem: Problem, block: Tensor, standing: Tensor, number: int
) -> Tensor:
    """[m] int64 on the CPU: the run at which each image fell; len(runs) where it withstood all.

    Args:
      runs: that can share a batch; each meets only what the one before it left.
      problem: of a net that is not random.
      block: [n] indices into the split; the starts of all of them are drawn.
      standing: [m] indices into the block, the images to attack.
      number: of the block; the seed of its starts hangs on it.
    """
    slots = _Slots(runs, problem, block, standing, number)
    while slots.fill():
        slots.step()
    return slots.fell[standing]


@dataclass(eq=False)
class _Part:
    """Images under attack: a state on the device, and the books of its rows, kept by the host.

    `image` [n] indexes the block, -1 where a slot idles; `run` [n] and `age` [n] count from 0.
    """

    state: State
    image: Tensor
    run: Tensor
    age: Tensor

    def keep(self, rows: Tensor) -> _Part:
        state = self.state.keep(rows.to(self.state.labels.device))
        return _Part(state, self.image[rows], self.run[rows], self.age[rows])


class _Slots:
    """The queue, the slots, and what is known so far."""

    def __init__(
        self, runs: Sequence[Run], problem: Problem, block: Tensor, standing: Tensor, number: int
    ) -> None:
        self.chain = runs
        self.attacks = [run.attack for run in runs]
        self.seeds = [derive_seed(run.seed, number) for run in runs]
        self.problem = problem
        self.block = block
        self.images = problem.pixels(block)
        self.fell = torch.full((len(block),), len(runs))
        self.pending = deque((image, 0) for image in standing.tolist())
        self.ready: _Part | None = None  # aimed, and waiting for a slot
        self.active: _Part | None = None
        self.ended: list[tuple[Tensor, _Part]] = []  # at their last step, to be judged
        self.turns = 0
        self.look = LOOK.get(problem.device.type, SELDOM)
        self.constant = problem.device.type != "cpu"
        self._starts: dict[int, State] = {}

    def fill(self) -> bool:
        """Give free slots the next images; False where none is left anywhere."""
        fresh: list[_Part] = []
        free = self.problem.batch - self._busy()
        while free and self._stock():
            assert self.ready is not None
            rows = torch.arange(len(self.ready.image))
            fresh.append(self.ready.keep(rows[:free]))
            self.ready = self.ready.keep(rows[free:]) if len(rows) > free else None
            free -= len(fresh[-1].image)
        self._seat(fresh)
        return self.active is not None

    def step(self) -> None:
        """One step for every slot; the slots of those that are done fall idle."""
        now = self.active
        assert now is not None
        before, now.state = now.state, self.stepper.step(self.problem.attacked, now.state)
        now.age += 1
        if self.problem.adversarial is not None:
            self._store_fooling(now, before)
        self.fooled |= now.state.fooled
        self.turns += 1
        if self.turns % self.look == 0 or (now.age == self.stepper.steps).any():
            self._settle(now)

    def _store_fooling(self, now: _Part, before: State) -> None:
        """Store the image at which the net was fooled first, for each slot where it was just now.

        An attack asks the net either where it stood before the step or where the step ended: the
        judge says which of the two fools it.
        """
        rows = ((now.state.fooled & ~self.fooled).cpu() & (now.image >= 0)).nonzero().flatten()
        if len(rows):
            part, old = now.keep(rows), before.keep(rows.to(before.labels.device))
            stood = self.problem.right(old.adv, old.labels)[:, None, None, None]
            self._store(part, torch.where(stood, self.stepper.result(part.state), old.adv))

    def _store(self, part: _Part, adv: Tensor) -> None:
        """Store what a part's images have become, each under the run that it is at."""
        for run in part.run.unique().tolist():
            rows = (part.run == run).nonzero().flatten()
            self.problem.store(
                self.chain[run], self.block[part.image[rows]], adv[rows.to(adv.device)]
            )

    def _busy(self) -> int:
        return 0 if self.active is None else int((self.active.image >= 0).sum())

    def _settle(self, now: _Part) -> None:
        """Write down who fell, put aside who is at the end."""
        fooled, real = self.fooled.cpu(), now.image >= 0
        lost = fooled & real
        self.fell[now.image[lost]] = now.run[lost]
        ended = (now.age == self.stepper.steps) & real & ~fooled
        if ended.any():
            done = now.keep(ended.nonzero().flatten())
            self.ended.append((self.stepper.result(done.state), done))
        now.image[lost | ended] = -1

    def _seat(self, fresh: list[_Part]) -> None:
        """Let images take slots beside those that are in theirs; idle slots go where they can."""
        parts = list(fresh)
        if self.active is not None:
            real = self.active.image >= 0
            if not fresh and self._width(int(real.sum())) == len(real):
                return
            if real.any():
                parts.insert(0, self.active.keep(real.nonzero().flatten()))
        self.active = _together(parts) if parts else None
        if self.active is not None:
            taken = len(self.active.image)
            if (width := self._width(taken)) > taken:
                self.active = self.active.keep(torch.arange(width).clamp(max=taken - 1))
                self.active.image[taken:] = -1
            self.fooled = self.active.state.fooled.clone()
            self.stepper = blended(self.attacks, self.active.run, self.problem.device)

    def _width(self, taken: int) -> int:
        """How many slots there are for so many images.

        On a GPU the whole batch, or a half, a quarter, ... of it, so that there are few shapes.
        """
        if not self.constant:
            return taken
        width = self.problem.batch
        while width // 2 >= max(taken, 1):
            width //= 2
        return width if taken else 0

    def _stock(self) -> bool:
        """See that an image is ready, a whole batch aimed at a time; False where none is left."""
        while self.ready is None:
            enough = self.problem.batch if self.pending else 1
            if sum(len(done.image) for _, done in self.ended) >= enough:
                self._judge()
            if not self.pending:
                return False
            self._aim()
        return True

    def _judge(self) -> None:
        """The last word on images at their end; who stands goes on to the next run."""
        images = torch.cat([done.image for _, done in self.ended])
        reached = torch.cat([done.run for _, done in self.ended])
        labels = torch.cat([done.state.labels for _, done in self.ended])
        right = self.problem.right(torch.cat([adv for adv, _ in self.ended]), labels).cpu()
        for adv, done in self.ended:
            self._store(done, adv)
        self.ended = []
        self.fell[images[~right]] = reached[~right]
        for image, run in zip(images[right].tolist(), (reached[right] + 1).tolist(), strict=True):
            if run < len(self.attacks):
                self.pending.append((image, run))

    def _aim(self) -> None:
        """Bring the next pending images to where their runs begin."""
        taken = [self.pending.popleft() for _ in range(min(self.problem.batch, len(self.pending)))]
        parts = []
        for run in sorted({run for _, run in taken}):
            image = torch.tensor([i for i, at in taken if at == run])
            attack = self.attacks[run]
            assert isinstance(attack, Iterative)
            state = self._start(run).keep(image.to(self.problem.device))
            state = attack.aim(self.problem.attacked, state)
            fooled = state.fooled.cpu()
            self.fell[image[fooled]] = run
            begun = _Part(state, image, torch.full_like(image, run), torch.zeros_like(image))
            if fooled.any():
                fell = begun.keep(fooled.nonzero().flatten())
                self._store(fell, attack.result(fell.state))
            if not fooled.all():
                parts.append(begun.keep((~fooled).nonzero().flatten()))
        self.ready = _together(parts) if parts else None
        first = min(self._runs())
        self._starts = {run: state for run, state in self._starts.items() if run >= first}

    def _runs(self) -> list[int]:
        """The runs at which images are now."""
        parts = [part for part in (self.active, self.ready) if part is not None]
        parts += [done for _, done in self.ended]
        return [len(self.attacks), *(run for _, run in self.pending)] + [
            int(part.run.min()) for part in parts
        ]

    def _start(self, run: int) -> State:
        """Where a run begins on every image of the block, drawn once."""
        if run not in self._starts:
            attack = self.attacks[run]
            assert isinstance(attack, Iterative)
            generator = torch.Generator().manual_seed(self.seeds[run])
            self._starts[run] = attack.start(*self.images, generator)
        return self._starts[run]


def _together(parts: Sequence[_Part]) -> _Part:
    image, run, age = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("image", "run", "age")
    )
    return _Part(joined([part.state for part in parts]), image, run, age)
