"""Keeping the adversarial images of continuous batching, if an evaluation is to return them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from adv.evaluation.engine.jobs import AttackRun, EvaluationJob
from adv.evaluation.engine.progress import Progress
from adv.evaluation.engine.rows import AttackRows


class KeptImages:
    """Store the adversarial images of a block, if the job keeps any.

    Args:
      runs: the runs of the attacks.
      job: the net and the images.
      block: [n] indices into the split.
      progress: of these images through the runs.
    """

    def __init__(
        self, runs: Sequence[AttackRun], job: EvaluationJob, block: Tensor, progress: Progress
    ) -> None:
        self.runs, self.job, self.block, self.progress = runs, job, block, progress

    def store_fooling(self, rows: AttackRows, adv: Tensor) -> None:
        """Store images [m, c, h, w] that fooled the net: they do so in every larger ball too."""
        for run in rows.run.unique().tolist():
            of_run = (rows.run == run).nonzero().flatten()
            ids = self.block[rows.image[of_run]]
            self.job.store(self.runs[run], ids, adv[of_run.to(adv.device)])

    def store_standing(self, rows: AttackRows, adv: Tensor) -> None:
        """Store images [m, c, h, w] that did not fool the net at the end of a run.

        Those of smaller balls that are not tried for this reason are their projections. Call it
        before the results of the run are recorded.
        """
        clean = rows.state.clean
        for n, (image, run) in enumerate(zip(rows.image.tolist(), rows.run.tolist(), strict=True)):
            one, ids = slice(n, n + 1), self.block[[image]]
            for smaller in self.progress.skipped(image, run):
                inside = self.runs[smaller].attack.ball.project(adv[one], clean[one])
                self.job.store(self.runs[smaller], ids, inside, fooled=False)
            self.job.store(self.runs[run], ids, adv[one], fooled=False)
