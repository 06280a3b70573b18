"""Random resized crops and mixup, and augmentation of grey images of any shape."""

import pytest
import torch
from reproducibility import seeded_generator

from adv.augment import Augment, augment_images, mix_images


def ramp(n: int, height: int = 20, width: int = 30) -> torch.Tensor:
    """Images whose first channel is the column, and whose second is the row, in [0, 1]."""
    columns = ((torch.arange(width) + 0.5) / width).expand(height, width)
    rows = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    return torch.stack([columns, rows, columns]).expand(n, 3, height, width)


def test_a_resized_crop_is_a_part_of_the_image_with_its_own_draw():
    x = ramp(400)
    out = augment_images(Augment(resized_crop=0.25), x, seeded_generator(3))
    width = (out[:, 0, 0, -2] - out[:, 0, 0, 1]) / (27 / 30)
    height = (out[:, 1, -2, 0] - out[:, 1, 1, 0]) / (17 / 20)
    area = width * height
    assert float(area.min()) > 0.2 and float(area.max()) <= 1.01
    assert float(area.mean()) == pytest.approx(0.6, abs=0.05)  # uniform from 0.25 to 1
    ratio = (width / height).log()
    assert float(ratio.abs().max()) <= torch.tensor(4 / 3).log() + 0.02
    assert len(torch.unique((area * 1000).round())) > 200
    for image in out[:5]:  # still ramps: straight lines in, straight lines out
        steps = image[0, 0, 1:-1].diff()
        assert float((steps - steps.mean()).abs().max()) < 1e-4


def test_mixup_is_a_mean_of_two_images_and_of_their_labels():
    n = 500
    images = torch.arange(n).float().reshape(n, 1, 1, 1).expand(n, 1, 2, 2) / n
    mixed, labels = mix_images(Augment(mixup=0.5), images, torch.arange(n), n, seeded_generator())
    expected = labels @ (torch.arange(n).float() / n)  # the images are linear in the labels
    assert torch.allclose(mixed[:, 0, 0, 0], expected, atol=1e-5)
    assert torch.allclose(labels.sum(1), torch.ones(n))
    own = labels.diagonal()
    assert 0.42 < float((own == 1).float().mean()) < 0.58  # half of the images are left alone
    assert float(own[own < 1].mean()) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 24, 40)])
def test_every_augmentation_keeps_shape_and_range(shape):
    x = torch.rand(32, *shape, generator=seeded_generator())
    every = Augment(
        flip=0.5, crop=4, jitter=0.4, cutout=8, erasing=0.5, idbh="weak", resized_crop=0.3
    )
    out = augment_images(every, x, seeded_generator(1))
    assert out.shape == x.shape and float(out.min()) >= 0 and float(out.max()) <= 1


def test_an_earlier_recipe_reads_the_same():
    assert "resized_crop" not in repr(Augment(flip=0.5)) and "mixup" not in repr(Augment())
    again = eval(repr(Augment(mixup=0.25, idbh="weak")), {"Augment": Augment})
    assert again == Augment(mixup=0.25, idbh="weak")


@pytest.mark.parametrize("wrong", [{"mixup": 1.5}, {"resized_crop": -0.1}])
def test_settings_outside_their_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"is in \[0, 1\]"):
        Augment(**wrong)
