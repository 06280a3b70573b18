"""A random net under evaluation: its draws, and its answer by votes.

It does what `Votes` does. But each draw of each image has noise of its own, so that the result of
an image does not depend on its batch; small batches take several draws at once; and votes end when
the answer is clear.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from adv.attacks.losses import hard_labels
from adv.evaluation.engine.verdicts import LEAST, is_settled, measure_lead
from adv.runtime.random_streams import is_declared_random
from adv.runtime.row_streams import RowStream


class RandomNet(nn.Module):
    """The ensemble of `draws` draws of a random net, which keeps what it was last asked.

    Args:
      model: the net, to which `stream` is lent.
      stream: its random stream.
      draws: draws of each gradient.
      votes: draws that classify an image, at most.
      batch: images at a time. Five draws of each share a call of the net if its noise allows it,
        and then what comes before the first random layer is computed once for all of them, unless
        later layers need it for each draw, such as a shortcut around that layer.

    Attributes:
      images: [n, c, h, w] of the last call.
      answers: [draws, n, k] log-probabilities of the last call.
    """

    def __init__(
        self, model: nn.Module, stream: RowStream, draws: int, votes: int, batch: int
    ) -> None:
        super().__init__()
        self.model, self.stream, self.draws, self.votes = model, stream, draws, votes
        random = [module for module in model.modules() if is_declared_random(module)]
        by_row = all(getattr(module, "by_row", False) for module in random)
        self._rows = batch * LEAST if by_row else 1
        self._repeats: bool | None = None  # whether the first random layer can repeat the images
        self._drawn = 0

    def seed_noise(self, keys: Tensor) -> None:
        """Take `keys` [n] int64 as the seeds of the noise of the images that are asked about next.

        Where the net is then asked about another number of images, their noise is not seeded.
        """
        self.stream.keys, self._drawn = keys, 0

    def forward(self, x: Tensor) -> Tensor:
        answers = self._draw(x, self.draws)
        self.images, self.answers = x.detach(), answers.detach()
        return answers.logsumexp(0) - math.log(len(answers))

    @torch.no_grad()
    def ask_votes(
        self, x: Tensor, y: Tensor, doubted: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return sums of probabilities [n, k] over votes, and by how many errors they lead [n].

        The largest sum is the answer. The lead is the mean margin of the votes between the right
        class and the best wrong one, in standard errors; it is below 0 where the answer is wrong.

        An image is asked for 5 votes, and for as many again, until all votes are spent or it is
        clear whether their mean will be correct (`is_settled`).

        Args:
          x: [n, c, h, w] images.
          y: classes [n] or probabilities [n, k].
          doubted: [n] booleans on the CPU, images that count as right unless they are clearly
            wrong: no more votes are spent on those that the first ones take to be right.
        """
        keys, right = self.stream.keys, hard_labels(y)
        seen = self._draw(x, min(self.votes, LEAST)).exp()
        sums, rows = seen.sum(0), torch.arange(len(x), device=x.device)
        lead, error = measure_lead(seen, right)
        leads = lead / error
        while left := self.votes - len(seen):
            unclear = ~is_settled(lead, error, len(seen), left)
            if doubted is not None:
                unclear &= (lead < 0) | ~doubted[rows.cpu()].to(lead.device)
            kept = unclear.nonzero().flatten()
            if not len(kept):
                break
            rows, seen = rows[kept], seen[:, kept]
            self.stream.keys = keys[rows.cpu()] if len(keys) == len(x) else keys
            seen = torch.cat([seen, self._draw(x[rows], min(left, len(seen))).exp()])
            lead, error = measure_lead(seen, right[rows])
            sums[rows], leads[rows] = seen.sum(0), lead / error
        return sums, leads

    def _draw(self, x: Tensor, count: int) -> Tensor:
        """Return log-probabilities [count, n, k] of new draws; several share a call if they fit."""
        found, at_once = [], max(1, self._rows // max(1, len(x)))
        end = self._drawn + count
        while self._drawn < end:
            some = range(self._drawn, min(end, self._drawn + at_once))
            repeats = len(some) > 1 and self._can_repeat(x)
            self.stream.begin(some, len(x), repeats=repeats)
            batch = x if repeats or len(some) == 1 else torch.cat([x] * len(some))
            logits = self.model(batch).float()
            found.append(logits.log_softmax(1).unflatten(0, (len(some), len(x))))
            self._drawn = some.stop
        return torch.cat(found)

    def _can_repeat(self, x: Tensor) -> bool:
        """Return whether the net's first random layer can repeat images for several draws.

        It is tried once, with two draws of two images: the answers have to be the same.
        """
        keys = self.stream.keys
        if len(x) != len(keys):
            return False
        if self._repeats is None and len(x) > 1:
            self.stream.keys = keys[:2]
            try:
                self._repeats = self._is_equal_if_repeated(x[:2].detach())
            finally:
                self.stream.keys = keys
        return bool(self._repeats)

    @torch.no_grad()
    def _is_equal_if_repeated(self, x: Tensor) -> bool:
        draws = range(2)
        self.stream.begin(draws, len(x))
        expected = self.model(torch.cat([x] * len(draws)))
        self.stream.begin(draws, len(x), repeats=True)
        try:
            answer = self.model(x)
        except (RuntimeError, ValueError):  # shapes that do not go together
            return False
        return answer.shape == expected.shape and torch.allclose(answer, expected, 1e-3, 1e-4)
