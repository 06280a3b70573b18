"""Plots of scores and confusions hold the figures that they show."""

import pytest
import torch

from adv import Score, plot_confusion, plot_robustness, predict
from adv.intervals import wilson


def score(eps=(0.1, 0.05)) -> Score:
    ok = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.bool)
    return Score(("large", "small"), eps, ok)


def test_a_curve_starts_without_an_attack_and_goes_by_radius():
    (line,) = plot_robustness(score()).data
    assert line.x == (0, 0.05, 0.1) and line.y == (75, 50, 25)
    low, high = wilson(0.5, 4)
    assert line.error_y.array[1] == pytest.approx(100 * (high - 0.5))
    assert line.error_y.arrayminus[1] == pytest.approx(100 * (0.5 - low))


def test_several_nets_have_a_curve_each_and_names_are_no_markup():
    figure = plot_robustness({"<b>a</b>": score(), "b": score()}, classes=4)
    assert [line.name for line in figure.data] == ["&lt;b&gt;a&lt;/b&gt;", "b"]
    assert figure.layout.showlegend and figure.layout.shapes[0].y0 == 25


def test_confusions_are_shares_of_the_true_class():
    figure = plot_confusion(torch.tensor([0, 0, 0, 0, 1]), torch.tensor([0, 0, 1, 2, 1]), "abc")
    (heat,) = figure.data
    assert [list(row) for row in heat.z] == [[50, 25, 25], [0, 100, 0], [0, 0, 0]]
    assert [list(row) for row in heat.customdata] == [[2, 1, 1], [0, 1, 0], [0, 0, 0]]


def test_a_prediction_is_the_largest_output_and_bytes_are_pixels():
    images = torch.randint(0, 256, (300, 1, 2, 2), dtype=torch.uint8)
    net = torch.nn.Flatten()
    expected = images.flatten(1).argmax(1)
    assert predict(net, images).equal(expected)
    assert predict(net, images.float() / 255).equal(expected)
