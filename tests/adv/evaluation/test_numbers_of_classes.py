"""Two classes, and a thousand: training, the batteries and the gap."""

from dataclasses import replace

import pytest
import torch
from reproducibility import seeded_generator

from adv import (
    APGD,
    BaseNet,
    Battery,
    Curriculum,
    Linf,
    Recipe,
    Square,
    Worst,
    autoattack,
    evaluate,
    margin_battery,
    masking_gap,
    quick_battery,
    report_battery,
    train,
)
from adv.data.datasets import Split


def shorten(attack):
    if isinstance(attack, Worst):
        return Worst(tuple(map(shorten, attack.attacks)))
    if isinstance(attack, APGD):
        return replace(attack, steps=2)
    return replace(attack, queries=5) if isinstance(attack, Square) else attack


@pytest.mark.parametrize("classes", [2, 1000])
def test_a_net_of_so_many_classes_is_trained_attacked_and_checked(classes):
    n = max(64, classes)
    generator = seeded_generator()
    images = torch.randint(256, (n, 1, 16, 16), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(n) % classes)
    recipe = Recipe(net=BaseNet(), epochs=1, batch=64, curriculum=Curriculum(steps=1))
    (epoch,) = train(recipe, split, classes=classes, seed=0)
    few = images[:8]
    known = Split(few, epoch.net(few.float() / 255).argmax(1))  # all right without an attack
    strong = autoattack(Linf(0.2), classes)
    strong = Battery(tuple((name, shorten(attack)) for name, attack in strong.attacks))
    for battery in (margin_battery(2), report_battery(2), quick_battery(1), strong):
        score = evaluate(epoch.net, known, battery)
        assert score.natural_accuracy == 1 and score.worst < 1
    assert masking_gap(epoch.net, known, margin_battery(2)).images == 8
