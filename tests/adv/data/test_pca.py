"""Principal components and effective rank, against closed forms and a plain SVD."""

from __future__ import annotations

import math
import os

import pytest
import torch
from reproducibility import seeded_generator

from adv import effective_rank, load
from adv.data.pca import mean_image, principal_components


def crossed(*sizes: float) -> torch.Tensor:
    """Return points at plus and minus each size on its own axis; sizes are singular values."""
    axes = torch.diag(torch.tensor(sizes, dtype=torch.float64))
    return torch.cat([axes, -axes])


@pytest.mark.parametrize("k", [1, 2, 7])
def test_equal_directions_count_whole(k):
    points = crossed(*[3.0] * k)
    assert effective_rank(points) == pytest.approx(k, abs=1e-6)
    moved = (
        points @ torch.linalg.qr(torch.randn(k, k, generator=seeded_generator()).double())[0] * 5
        + 100
    )
    assert effective_rank(moved) == pytest.approx(k, abs=1e-6)  # no matter where, how large


def test_unequal_directions_count_by_the_entropy_of_their_singular_values():
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert effective_rank(crossed(2.0, 1.0)) == pytest.approx(math.exp(entropy), abs=1e-6)
    squares = -(4 / 5 * math.log(4 / 5) + 1 / 5 * math.log(1 / 5))
    assert effective_rank(crossed(2.0, 1.0)) != pytest.approx(math.exp(squares), abs=1e-2)


@pytest.mark.parametrize("shape", [(30, 3, 4, 4), (2500, 2, 3, 3)], ids=str)
def test_it_is_what_a_plain_svd_gives(shape):
    """With fewer images than pixels, and in more than one chunk; bytes and floats."""
    images = torch.randint(0, 256, shape, generator=seeded_generator(), dtype=torch.uint8)
    pixels = images.flatten(1).double() / 255
    centred = pixels - pixels.mean(0)
    values = torch.linalg.svdvals(centred)
    share = values / values.sum()
    share = share[share > 1e-9]
    wanted = math.exp(-float((share * share.log()).sum()))
    assert effective_rank(images) == pytest.approx(wanted, rel=1e-6)
    assert effective_rank(images.float()) == pytest.approx(wanted, rel=1e-6)
    assert torch.allclose(mean_image(images), pixels.mean(0))
    rank = 5
    mean, basis = principal_components(images, rank)
    assert torch.allclose(mean, pixels.mean(0))
    best = torch.linalg.svd(centred, full_matrices=False)[2][:rank].T
    assert torch.allclose((basis.T @ best).abs(), torch.eye(rank, dtype=torch.float64), atol=1e-6)


def test_few_images_have_few_directions():
    with pytest.raises(ValueError, match="96 images give at most 95 directions, not 96"):
        principal_components(torch.rand(96, 3, 8, 8), 96)


def test_images_that_do_not_differ():
    with pytest.raises(ValueError, match="all images are equal"):
        effective_rank(torch.full((10, 3, 2, 2), 77, dtype=torch.uint8))
    with pytest.raises(ValueError, match="at least two images are needed, got 1"):
        effective_rank(torch.zeros(1, 3, 2, 2))


@pytest.mark.slow
def test_the_reports_dimension_of_cifar10():
    """622.5 on the 10,000 test images as JPEG, where a folder of them is at hand."""
    folder = os.environ.get("ROBUSTUNE_CIFAR10_JPEG")
    if not folder:
        pytest.skip("ROBUSTUNE_CIFAR10_JPEG names no folder")
    assert effective_rank(load(folder).test.images) == pytest.approx(622.5, abs=0.05)
