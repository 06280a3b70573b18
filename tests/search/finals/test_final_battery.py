"""Batteries keep their ids: an id that changed would refuse the finals of earlier runs."""

import pytest

import spaces
from adv import PGD
from adv.attacks.composite import members
from search.finals.final_battery import FinalBattery, hash_battery

REPORT = {"score": "report"}
EARLIER = {**REPORT, "images": 100, "test_images": 50}  # of scale laptop


@pytest.mark.parametrize(("classes", "known"), [(10, "a645ca84616e"), (2, "1fbfd065733d")])
def test_the_battery_of_earlier_runs_has_the_id_that_they_recorded(classes, known):
    scale = spaces.scale("laptop", **EARLIER)
    assert FinalBattery(scale, classes, nested=False).id == known != FinalBattery(scale, classes).id


@pytest.mark.parametrize(("name", "known"), [("laptop", "246ba5b2df89"), ("full", "dec8c217cdcf")])
def test_so_has_the_battery_of_a_search(name, known):
    scale = spaces.scale(name, **(EARLIER if name == "laptop" else REPORT))
    assert hash_battery((scale.battery(), scale.images)) == known


@pytest.mark.parametrize("score", spaces.SCORES)
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_the_final_battery_of_a_plain_net_has_the_attacks_of_the_search(score, classes):
    scale = spaces.scale("laptop", score=score)
    strong = FinalBattery(scale, classes).battery(random=False)
    for (_, attack), (_, own) in zip(strong.attacks, scale.battery().attacks, strict=True):
        runs = list(members(attack))
        assert runs[: len(list(members(own)))] == list(members(own))
        assert all(run.ball == own.ball for run in runs)
        assert len(runs) > len(list(members(own)))


@pytest.mark.parametrize("classes", [2, 10])
def test_a_random_net_meets_the_same_final_attacks_whatever_the_score(classes):
    report, margin = (
        FinalBattery(spaces.scale("laptop", score=score), classes) for score in ("report", "margin")
    )
    assert [attack for _, attack in report.battery(True).attacks] == [
        attack for _, attack in margin.battery(True).attacks
    ]
    assert not any(
        isinstance(run, PGD)
        for _, attack in margin.battery(True).attacks
        for run in members(attack)
    )
    assert report.id != margin.id


def test_it_says_whose_attacks_come_first():
    said = FinalBattery(spaces.scale("laptop", score="margin"), 10).describe()["attacks"]
    assert said.startswith("The attacks of the margin score, then AutoAttack's")
