"""What the plan of a search says of its battery."""

import math
from dataclasses import replace

import pytest

from search.reporting.plan_table import count_gradient_steps
from search.reporting.reading_guide import _describe_attack
from search.session.header import describe_battery
from spaces import SCALES, load


def scale_of(score):
    return replace(SCALES["laptop"], score=score, battery_steps=20, images=50)


@pytest.mark.parametrize(("score", "runs"), [("report", 6 * 20), ("margin", 6 * 20 + 10)])
def test_an_image_that_stands_everywhere_meets_one_second_attack(score, runs):
    scale = scale_of(score)
    recipes = [scale.apply(load("smoke").build(**load("smoke").known[0]))]
    _, attack = count_gradient_steps(scale, recipes, 100)
    watch = scale.watch()
    each = sum(one.steps for _, one in watch.attacks) * watch.draws
    validation = scale.epochs * each * math.ceil(scale.watch_images / scale.batch)
    score_steps = runs * scale.battery().draws * math.ceil(50 / scale.batch)
    assert attack == validation + score_steps


@pytest.mark.parametrize(("score", "ending"), [("report", ""), ("margin", ", 1 second attack")])
def test_the_guide_names_the_second_attack_of_a_radius(score, ending):
    rows = describe_battery(scale_of(score))
    said = [_describe_attack(row) for row in rows]
    assert all(one.endswith(f"20 steps{ending})") for one in said) and len(said) == 6
