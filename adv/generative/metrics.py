"""Scores of generated images: Frechet distance, precision and recall, memorisation.

Distances are taken between features of images, and a score depends on the net that the features
come from. The Frechet distance is Heusel et al.'s (2017), precision and recall are Kynkaanniemi et
al.'s (2019), density and coverage Naeem et al.'s (2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from adv.data.datasets import Split

_CHUNK = 1000


@dataclass(frozen=True)
class PRDC:
    """Precision, recall, density and coverage, in [0, 1] but for density, which may exceed 1.

    Larger is better. `precision` is the share of generated images inside the manifold of the real
    ones, `recall` the share of real images inside that of the generated ones. `density` and
    `coverage` are their counterparts that are less sensitive to outliers.
    """

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Memorisation:
    """The extent to which generated images are copies of training images.

    Args:
      nearest: median distance of a generated image to the nearest training image, divided by the
        same median of held-out real images. Values far below 1 mean copies.
      close: share of generated images that are nearer to a training image than the closest percent
        of the held-out images is; 0.01 is expected by chance.
      copies: number of generated images that equal a training image in every byte.
      images: number of generated images.
    """

    nearest: float
    close: float
    copies: int
    images: int


@dataclass(frozen=True)
class SetScores:
    """The scores of one set of images.

    `distance` is the Frechet distance, `agreement` the share of images, in [0, 1], that a
    classifier assigns to the class of their label.
    """

    title: str
    distance: float
    prdc: PRDC
    agreement: float
    memorisation: Memorisation


def score_set(
    title: str,
    features: tuple[Tensor, Tensor],
    agreement: float,
    splits: tuple[Split, Split, Split],
) -> SetScores:
    """Score a set of generated images.

    Args:
      title: a name for the set, to print.
      features: features of real and of generated images, [n, d] each.
      agreement: see `SetScores`.
      splits: the training images, held-out real images, and the set.
    """
    train, held_out, generated = (split.images for split in splits)
    return SetScores(
        title,
        frechet_distance(*features),
        prdc(*features),
        agreement,
        memorisation(train, held_out, generated),
    )


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Return |m - m'|^2 + tr(S + S' - 2 (S S')^1/2), 0 or more.

    This is the distance between two normal distributions with the means and covariances of features
    [n, d] and [m, d], float64. It depends on n and m: compare sets of one size only.

    Raises:
      ValueError: a set has fewer than two rows, or the features have different lengths.
    """
    if min(len(real), len(generated)) < 2 or real.shape[1] != generated.shape[1]:
        raise ValueError(
            "the Frechet distance needs two sets of two or more features of equal length"
        )
    gap = (real.mean(0) - generated.mean(0)).square().sum()
    first, second = torch.cov(real.T), torch.cov(generated.T)
    first, second = first.reshape(real.shape[1], -1), second.reshape(real.shape[1], -1)
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    # (S S')^1/2 has the trace of (S^1/2 S' S^1/2)^1/2, which is symmetric.
    cross = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float(gap + first.trace() + second.trace() - 2 * cross))


def prdc(real: Tensor, generated: Tensor, k: int = 5) -> PRDC:
    """Compute precision, recall, density and coverage by balls that reach to the k-th neighbour.

    Args:
      real: features [n, d], n > k.
      generated: features [m, d], m > k.
      k: which neighbour; 5 as in Naeem et al.

    Raises:
      ValueError: a set has no k-th neighbour, or k is below 1.
    """
    if min(len(real), len(generated)) <= k or k < 1:
        raise ValueError(f"{k} neighbours need more images than {min(len(real), len(generated))}")
    around_real, around_generated = _radii(real, k), _radii(generated, k)
    inside, nearest_generated = [], []
    recalled = torch.zeros(len(real), dtype=torch.bool)
    for rows in torch.arange(len(generated)).split(_CHUNK):
        distances = torch.cdist(generated[rows], real)
        inside.append((distances <= around_real).sum(1))
        recalled |= (distances <= around_generated[rows, None]).any(0)
        nearest_generated.append(distances.amin(0))
    count = torch.cat(inside)
    return PRDC(
        precision=float((count > 0).double().mean()),
        recall=float(recalled.double().mean()),
        density=float(count.double().mean()) / k,
        coverage=float((torch.stack(nearest_generated).amin(0) <= around_real).double().mean()),
    )


def memorisation(train: Tensor, held_out: Tensor, generated: Tensor) -> Memorisation:
    """Compare the distances of generated and of held-out images to the training images.

    Args:
      train: the images that the generator was trained on, bytes [n, ...].
      held_out: real images that it was not trained on.
      generated: generated images.
    """
    from_generated, from_held_out = (_nearest(images, train) for images in (generated, held_out))
    limit = torch.quantile(from_held_out, 0.01)
    return Memorisation(
        nearest=float(from_generated.median() / from_held_out.median().clamp(min=1e-12)),
        close=float((from_generated < limit).double().mean()),
        copies=int((from_generated < 1e-6).sum()),
        images=len(generated),
    )


def _nearest(images: Tensor, train: Tensor) -> Tensor:
    """Return the distance [m] of each image to its nearest training image, pixels in [0, 1]."""
    train = train.flatten(1).float() / 255
    found = []
    for rows in (images.flatten(1).float() / 255).split(_CHUNK // 4):
        candidates = torch.cdist(rows, train).topk(min(3, len(train)), largest=False)[1]
        # Distances to the three nearest once more: cdist, by way of products, rounds small ones.
        gaps = rows[:, None].double() - train[candidates].double()
        found.append(gaps.square().sum(2).sqrt().amin(1))
    return torch.cat(found)


def _radii(points: Tensor, k: int) -> Tensor:
    """Return the distance [n] of each point to its k-th neighbour, the point itself not counted."""
    found = [
        torch.cdist(chunk, points).topk(k + 1, largest=False)[0][:, -1]
        for chunk in points.split(_CHUNK)
    ]
    return torch.cat(found)
