"""The margin battery: what its figures are made of, for few classes and for random nets too."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from reproducibility import seeded_generator
from torch import nn

from adv import Battery, Linf, Split, evaluate, margin_battery, report_battery
from adv.evaluation.battery import margin_attack
from adv.runtime.random_layers import Noise

RADII = (0.01, 0.02, 0.03, 0.04, 0.06, 0.1)


def problem(classes: int, sigma: float = 0.0, n: int = 40) -> tuple[nn.Module, Split]:
    """Return a small net, random if there is noise, and images of which it gets one wrong."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(classes)
        noise = [Noise(sigma)] if sigma else []
        layers = (nn.Conv2d(3, 8, 3), nn.GELU(), nn.Flatten(), nn.Linear(288, classes))
        net = nn.Sequential(*noise, *layers).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.data *= 3
        images = torch.randint(
            0, 256, (n, 3, 8, 8), generator=seeded_generator(3), dtype=torch.uint8
        )
        labels = nn.Sequential(*layers)(images.float() / 255).argmax(1)
    labels[0] = (labels[0] + 1) % classes
    return net, Split(images, labels)


def test_its_radii_and_settings_are_those_of_the_reports_battery():
    battery, report = margin_battery(7, draws=3, votes=4), report_battery()
    assert [attack.ball for _, attack in battery.attacks] == [Linf(eps) for eps in RADII]
    assert [attack.ball for _, attack in report.attacks] == [Linf(eps) for eps in RADII]
    assert [name for name, _ in battery.attacks] == [f"margin7-{eps:g}" for eps in RADII]
    assert (battery.draws, battery.votes, battery.seed) == (3, 4, report.seed)
    for _, attack in battery.attacks:
        assert attack == margin_attack(attack.ball, 7)


@pytest.mark.parametrize("steps", [1, 2, 5, 20])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_is_defined_for_few_classes_and_few_steps(steps, classes):
    assert margin_attack(Linf(0.03), steps).supports(classes)
    net, split = problem(classes, n=4)
    assert evaluate(net, split, margin_battery(steps)).images == 4


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_an_image_stands_if_no_attack_fools_it_up_to_the_radius(classes):
    net, split = problem(classes)
    battery = margin_battery(6)
    found = evaluate(net, split, battery)
    standing = [found.ok[0]]
    for index, one in enumerate(battery.attacks):
        alone = evaluate(net, split, Battery((one,), seed=battery.seed + 1000 * index))
        standing.append(standing[-1] & alone.ok[1])
    # The second attack of a ball meets those that stand there and in no larger one.
    for index in reversed(range(len(RADII) if classes > 3 else 0)):
        second = Battery(
            (("second", battery.second_attacks[index]),), seed=battery.seed + 1000 * (6 + index)
        )
        alone = evaluate(net, split, second)
        larger = standing[index + 2] if index + 2 < len(standing) else torch.zeros(40).bool()
        standing[index + 1] = standing[index + 1] & (alone.ok[1] | larger)
    assert torch.equal(found.ok, torch.stack(standing))
    assert 0 < found.attacked_accuracies[2] < found.natural_accuracy < 1


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("sigma", [0.0, 0.2])
def test_accuracy_falls_with_the_radius_from_the_natural_one_on(classes, sigma):
    net, split = problem(classes, sigma)
    battery = margin_battery(4, draws=2, votes=5)
    found = evaluate(net, split, battery)
    assert (found.votes, found.draws) == ((5, 2) if sigma else (1, 1))
    accuracies = (found.natural_accuracy, *found.attacked_accuracies)
    assert all(before >= after for before, after in pairwise(accuracies))
    report = evaluate(net, split, report_battery(4, draws=2, votes=5))
    assert found.natural_accuracy == report.natural_accuracy
    assert accuracies[-1] < accuracies[0]
    assert torch.equal(evaluate(net, split, battery).ok, found.ok)


def test_it_finds_what_the_cross_entropy_misses_on_a_confident_net():
    net, split = problem(10)
    with torch.no_grad():
        for weight in list(net.parameters())[-2:]:
            weight.data *= 1e4  # the softmax saturates and its gradient underflows
    margin, report = (evaluate(net, split, make(10)) for make in (margin_battery, report_battery))
    assert margin.attacked_score < report.attacked_score - 100
    whole = margin_battery(10)
    few = replace(whole, attacks=whole.attacks[:1], second_attacks=whole.second_attacks[:1])
    assert evaluate(net, split, few).attacked_accuracies[0] == margin.attacked_accuracies[0]


def test_its_attacks_are_named_in_one_line():
    battery = replace(margin_battery(5), attacks=margin_battery(5).attacks[:2], second_attacks=())
    assert battery.describe_attacks() == "margin5-0.01, margin5-0.02"
    two = replace(battery, second_attacks=margin_battery(5).second_attacks[:2])
    then = ", then APGD at the largest radius withstood"
    assert two.describe_attacks() == "margin5-0.01, margin5-0.02" + then
    assert two.describe_attacks(random=True) == battery.describe_attacks()
