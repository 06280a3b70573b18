"""Images that stay on the host: the same batches, in the same order, and the same net."""

import pytest
import torch
from reproducibility import bit_equal, seeded_generator
from small_nets import BatchNormNet

from adv import Augment, Curriculum, Recipe, train
from adv.data.datasets import Split
from adv.training import training_state
from adv.training.image_fetcher import ImageFetcher

CPU = torch.device("cpu")


def split(n: int = 48) -> Split:
    images = torch.randint(256, (n, 3, 32, 32), generator=seeded_generator(), dtype=torch.uint8)
    return Split(images, torch.arange(n) % 3)


@pytest.mark.parametrize("announced", [True, False, "another"])
def test_images_are_those_of_the_indices(announced):
    images = split().images
    fetcher = ImageFetcher(images, CPU, ahead=True)
    for indices in torch.randperm(48, generator=seeded_generator(1)).split(10):
        if announced:
            fetcher.announce(indices if announced is True else indices.flip(0))
        assert torch.equal(fetcher.take(indices), images[indices])


def test_a_net_trained_from_the_host_is_the_same_bit_for_bit(monkeypatch):
    recipe = Recipe(
        net=BatchNormNet(),
        curriculum=Curriculum(steps=1),
        augment=Augment(flip=0.5, crop=2, mixup=0.5, resized_crop=0.5),
        epochs=2,
        batch=16,
    )

    def states():
        return [epoch.state() for epoch in train(recipe, split(), classes=3, seed=1)]

    direct, fetched = states(), []
    real = ImageFetcher

    def ahead(images, device, *, ahead):
        fetched.append(ahead)
        return real(images, device, ahead=True)

    monkeypatch.setattr(training_state, "ImageFetcher", ahead)
    assert bit_equal(direct, states()) and fetched == [False]
