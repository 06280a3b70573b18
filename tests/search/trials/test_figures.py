"""The figures that take time: the strong judge and the certificate, and those of a net's shape."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import adv
import spaces
from search.trials.figures import Figures


class Brightness(nn.Module):
    """Says 1 if the mean of the image is above a half."""

    def forward(self, x: Tensor) -> Tensor:
        above = 20 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-above, above], 1)


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Return the figures of a net on ten images: four near the border, six far from it."""
    values = torch.tensor([129, 130, 131, 132, 180, 190, 200, 210, 220, 230], dtype=torch.uint8)
    images = values[:, None, None, None].expand(10, 3, 32, 32).clone()
    split = adv.Split(images, torch.ones(10).long())
    scale = spaces.scale("laptop", threat_model="linf-8/255", strong_steps=5, strong_queries=20)
    net = Brightness()
    score = adv.evaluate(net, split, scale.battery())
    recipe = adv.Recipe(net=adv.BaseNet())
    return Figures(recipe, scale, 2, net, split, score, {"latency": 1.5, "training_seconds": 2.0})


def test_the_strong_judge_and_the_certificate_by_hand(figures):
    found = figures.measure(("strong_accuracy", "worst_case", "natural_accuracy"))
    assert found == {"strong_accuracy": 0.6, "worst_case": 0.6, "natural_accuracy": 1.0}
    # The border is (mean - .5) * sqrt(3072) away in l2: .33 for the nearest image, 11 for the rest.
    small = replace(figures, split=figures.split.head(6))
    certified = small.measure(("certified_accuracy:1.5",))
    assert certified == {"certified_accuracy:1.5": pytest.approx(2 / 6)}


def test_what_is_known_is_not_measured_again(figures):
    known = figures.measure(("latency", "training_seconds", "parameters", "multiply_adds"))
    size = adv.size_of(adv.BaseNet(), 2)
    assert known == {
        "latency": 1.5,
        "training_seconds": 2.0,
        "parameters": size.parameters,
        "multiply_adds": size.multiply_adds,
    }
