"""Cutout, random erasing and CutMix, by counting and beside torchvision."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from reproducibility import seeded_generator
from scipy import stats
from torchvision.transforms import RandomErasing

from adv.augment import Augment, augment_images, mix_images

# --- cutout and random erasing ---


def black_boxes(images: torch.Tensor) -> list[tuple[int, int, int, int] | None]:
    """Where each image is black: top, bottom, left, right (past the end); it must be a box."""
    boxes: list[tuple[int, int, int, int] | None] = []
    for black in (images == 0).all(dim=1):
        if not black.any():
            boxes.append(None)
            continue
        rows, columns = black.any(dim=1).nonzero()[:, 0], black.any(dim=0).nonzero()[:, 0]
        box = (int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        assert black.sum() == (box[1] - box[0]) * (box[3] - box[2])
        assert black[box[0] : box[1], box[2] : box[3]].all()
        boxes.append(box)
    return boxes


@pytest.mark.parametrize("size", [1, 3, 8, 16])
def test_cutout_is_a_square_around_a_pixel_less_what_lies_outside(size):
    out = augment_images(Augment(cutout=size), torch.ones(300, 3, 32, 32), seeded_generator())
    assert ((out == 0) | (out == 1)).all()
    whole = 0
    for box in black_boxes(out):
        assert box is not None
        top, bottom, left, right = box
        for start, end in ((top, bottom), (left, right)):
            assert end - start == size or (start == 0 or end == 32)
            assert end - start >= size // 2
        whole += (bottom - top, right - left) == (size, size)
    share = ((33 - size) / 32) ** 2  # of centres that leave the square whole
    assert abs(whole - 300 * share) < 4 * math.sqrt(300 * share * (1 - share) + 1)


def test_cutouts_lie_around_every_pixel_alike():
    """4,096 squares of 16: the mean area by counting, and chi-squared over the first rows."""
    out = augment_images(Augment(cutout=16), torch.ones(4096, 3, 32, 32), seeded_generator())
    kept = np.array([min(32, c + 8) - max(0, c - 8) for c in range(32)])  # of 16 rows around c
    area = (out[:, 0] == 0).sum(dim=(1, 2)).double()
    error = np.outer(kept, kept).std() / 64
    assert abs(area.mean() - kept.mean() ** 2) < 4 * error
    tops = Counter(box[0] for box in black_boxes(out) if box is not None)
    assert tops.total() == 4096
    expected = [9 * 128] + [128] * 23  # nine centres have their square begin at the upper edge
    assert stats.chisquare([tops[row] for row in range(24)], expected).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_erasing_meets_its_share_of_the_images(probability):
    images = torch.ones(2000, 3, 32, 32)
    out = augment_images(Augment(erasing=probability), images, seeded_generator())
    met = sum(box is not None for box in black_boxes(out))
    error = math.sqrt(2000 * probability * (1 - probability))
    assert abs(met - 2000 * probability) <= 4 * error


@pytest.mark.parametrize("shape", [(32, 32), (24, 40)])
def test_erased_boxes_are_drawn_as_torchvision_draws_them(shape):
    """2,000 boxes of each: height, width, first row, first column, area (Kolmogorov-Smirnov)."""
    height, width = shape
    out = augment_images(Augment(erasing=1), torch.ones(2000, 3, *shape), seeded_generator())
    ours = [(b - t, r - left, t, left) for t, b, left, r in filter(None, black_boxes(out))]
    image = torch.ones(3, *shape)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [RandomErasing.get_params(image, (0.02, 0.33), (0.3, 3.3)) for _ in range(2000)]
    theirs = [(h, w, t, left) for t, left, h, w, _ in drawn if (h, w) != shape]
    assert len(ours) > 1990
    for mine, other in zip(np.array(ours).T, np.array(theirs).T, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-3
    areas = [h * w / (height * width) for h, w, _, _ in ours]
    assert min(areas) > 0.01 and max(areas) < 0.36  # 2 and 33 %, but for rounding of the sides


# --- CutMix ---


def labelled(n: int, classes: int, side: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Each image is of one colour of its own; labels go round."""
    images = (torch.arange(n) / n)[:, None, None, None].expand(n, 3, side, side).contiguous()
    return images, torch.arange(n) % classes


@pytest.mark.parametrize("given", ["classes", "probabilities"])
def test_a_label_is_worth_its_share_of_the_pixels(given):
    images, labels = labelled(100, 7)
    sure = torch.eye(7)[labels]
    y = labels if given == "classes" else sure
    out, probabilities = mix_images(Augment(cutmix=1), images, y, 7, seeded_generator())
    assert probabilities.shape == (100, 7) and probabilities.dtype == torch.float32
    seen = (out[:, 0].reshape(100, -1) * 100).round().long()  # whose pixel each one is
    shares = sure[seen].mean(dim=1)
    assert torch.allclose(probabilities, shares, atol=1e-6)
    assert torch.allclose(probabilities.sum(dim=1), torch.ones(100), atol=1e-6)
    assert max(len(row.unique()) for row in seen) == 2
    foreign = [row[row != i] for i, row in enumerate(seen)]
    assert len({int(row[0]) for row in foreign if len(row)}) > 80  # partners are all different
    assert torch.equal(out[:, 0], out[:, 1])


def test_patches_are_boxes_of_the_published_size():
    """4,096 patches: area 1 - Beta(1, 1), clipped at the edges; the mean in closed form."""
    images = torch.cat([torch.zeros(4096, 1, 32, 32), torch.ones(4096, 1, 32, 32)])
    labels = torch.arange(8192) // 4096
    out, probabilities = mix_images(Augment(cutmix=1), images, labels, 2, seeded_generator())
    marked = [i for i in range(8192) if 0 < probabilities[i, 0] < 1]
    black_boxes(torch.where(labels[marked, None, None, None] == 0, 1 - out[marked], out[marked]))
    share = [((s + 1) / 32) ** 2 - (s / 32) ** 2 for s in range(32)]  # P(side = s)
    kept = [
        float(np.mean([min(32, c - s // 2 + s) - max(0, c - s // 2) for c in range(32)])) / 32
        for s in range(32)
    ]
    expected = sum(p * k**2 for p, k in zip(share, kept, strict=True)) / 2  # half meet their own
    foreign = probabilities[torch.arange(8192), 1 - labels].double()
    assert abs(foreign.mean() - expected) < 4 * foreign.std() / math.sqrt(8192)


@pytest.mark.parametrize("probability", [0.25, 1.0])
def test_cutmix_meets_its_share_of_the_images(probability):
    images, labels = labelled(2000, 10, side=8)
    out, _ = mix_images(Augment(cutmix=probability), images, labels, 10, seeded_generator())
    met = int((out != images).flatten(1).any(dim=1).sum())
    # side 0 (1 of 64 areas) and an image that is its own partner change nothing
    error = math.sqrt(2000 * probability * (1 - probability) + 2000 * probability / 64)
    assert abs(met - 2000 * probability * 63 / 64) <= 4 * error


def test_mixing_is_decided_by_its_generator_alone():
    images, labels = labelled(64, 10)
    copy, before = images.clone(), torch.get_rng_state()
    first = mix_images(Augment(cutmix=0.5), images, labels, 10, seeded_generator(5))
    again = mix_images(Augment(cutmix=0.5), images, labels, 10, seeded_generator(5))
    other = mix_images(Augment(cutmix=0.5), images, labels, 10, seeded_generator(6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(images, copy) and torch.equal(torch.get_rng_state(), before)
    none, sure = mix_images(Augment(cutmix=1), images[:0], labels[:0], 10, seeded_generator())
    assert none.shape == (0, 3, 32, 32) and sure.shape == (0, 10)
