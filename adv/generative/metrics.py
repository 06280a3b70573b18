"""How good generated images are: distance, precision and recall, memorisation.

All are taken between sets of features; whose features they are belongs to the figure's name. The
Frechet distance is Heusel et al.'s (2017), precision and recall Kynkaanniemi et al.'s (2019),
density and coverage Naeem et al.'s (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adv.data.datasets import Split

_ROWS = 1000


@dataclass(frozen=True)
class PRDC:
    """Shares in [0, 1], but for density, which may be above 1. Larger is better.

    `precision`: generated images inside the real ones' manifold; `recall`: real ones inside the
    generated ones'; `density`, `coverage`: the same asked so that outliers count less.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Memorisation:
    """Whether images were learnt by heart.

    Args:
      nearest: median distance of a generated image to its nearest training image, divided by the
        same of a held-out real one. Far below 1: copies.
      close: share of generated images nearer to a training image than the nearest percent of
        held-out ones is; 0.01 is what chance gives.
      copies: how many are a training image to the byte.
      images: how many generated ones were looked at.
    """

    nearest: float
    close: float
    copies: int
    images: int


@dataclass(frozen=True)
class SetScores:
    """All scores of one set; `right` is the share that a classifier calls what they are called."""

    title: str
    distance: float
    prdc: PRDC
    agreement: float
    memorisation: Memorisation


def score_set(
    title: str, told: tuple[Tensor, Tensor], agreement: float, splits: tuple[Split, Split, Split]
) -> SetScores:
    """The row of a set.

    Args:
      title: of the row.
      told: features of real and of generated images, [n, d] each.
      agreement: see `SetScores`.
      splits: the training images, held-out ones, and the set.
    """
    known, held, made = (split.images for split in splits)
    return SetScores(
        title, frechet_distance(*told), prdc(*told), agreement, memorisation(known, held, made)
    )


def frechet_distance(real: Tensor, made: Tensor) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^1/2) of features [n, d] and [m, d], float64; from 0 on.

    The distance of two normal distributions with these means and covariances. It depends on n and
    m: compare sets of one size.

    Raises:
      ValueError: fewer than two rows, or features of different lengths.
    """
    if min(len(real), len(made)) < 2 or real.shape[1] != made.shape[1]:
        raise ValueError("wanted are two sets of two or more features of one length")
    gap = (real.mean(0) - made.mean(0)).square().sum()
    first, second = torch.cov(real.T), torch.cov(made.T)
    first, second = first.reshape(real.shape[1], -1), second.reshape(real.shape[1], -1)
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # (S S')^1/2 has the trace of (S^1/2 S' S^1/2)^1/2, which is symmetric.
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(gap + first.trace() + second.trace() - 2 * cross))


def prdc(real: Tensor, made: Tensor, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage by balls up to the k-th neighbour.

    Args:
      real: features [n, d], n > k.
      made: [m, d], m > k.
      k: 5 as in Naeem et al.

    Raises:
      ValueError: k neighbours are more than there are.
    """
    if min(len(real), len(made)) <= k or k < 1:
        raise ValueError(f"{k} neighbours need more images than {min(len(real), len(made))}")
    around_real, around_made = _radii(real, k), _radii(made, k)
    inside, nearest_made = [], []
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for rows in torch.arange(len(made)).split(_ROWS):
        distances = torch.cdist(made[rows], real)
        inside.append((distances <= around_real).sum(1))
        recalled |= (distances <= around_made[rows, None]).any(0)
        nearest_made.append(distances.amin(0))
    count = torch.cat(inside)
    return PRDC(
        precision=float((count > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(count.double().mean()) / k,
        coverage=float((torch.stack(nearest_made).amin(0) <= around_real).double().mean()),
    )


def memorisation(train: Tensor, held: Tensor, made: Tensor) -> Memorisation:
    """Whether generated images lie nearer to training images than other real ones do.

    Args:
      train: the images that a generator was trained on, bytes [n, ...].
      held: real images that it was not trained on.
      made: generated images.
    """
    own, other = (_nearest(images, train) for images in (made, held))
    limit = torch.quantile(other, 0.01)
    return Memorisation(
        nearest=float(own.median() / other.median().clamp(min=1e-12)),
        close=float((own < limit).double().mean()),
        copies=int((own < 1e-6).sum()),
        images=len(made),
    )


def _nearest(images: Tensor, train: Tensor) -> Tensor:
    """[m] the distance of each image to the nearest training image, of pixels in [0, 1]."""
    known = train.flatten(1).float() / 255
    found = []
    for rows in (images.flatten(1).float() / 255).split(_ROWS // 4):
        few = torch.cdist(rows, known).topk(min(3, len(known)), largest=False)[1]
        # Of the nearest few as they are: the usual trick through products loses small distances.
        gaps = rows[:, None].double() - known[few].double()
        found.append(gaps.square().sum(2).sqrt().amin(1))
    return torch.cat(found)


def _radii(points: Tensor, k: int) -> Tensor:
    """[n] the distance of each point to its k-th neighbour, itself not counted."""
    found = [
        torch.cdist(part, points).topk(k + 1, largest=False)[0][:, -1]
        for part in points.split(_ROWS)
    ]
    return torch.cat(found)
