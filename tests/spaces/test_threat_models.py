"""Threat models by name, and what of a search follows them."""

import re

import pytest

import adv
import spaces
from adv import APGD, L1, L2, PGD, Linf, user_code
from adv.attacks.composite import members
from adv.evaluation.battery import margin_attack
from adv.user_code import name_file
from search.finals.final_battery import FinalBattery


def attacks(threat_model: str, **changes: object) -> list[adv.Attack]:
    battery = spaces.scale("laptop", threat_model=threat_model, **changes).battery()
    return [attack for _, attack in battery.attacks]


def test_the_default_is_the_reports_radii():
    scale = spaces.scale("laptop")
    assert scale.threat_model == "report"
    assert scale.battery() == adv.margin_battery(10, votes=scale.votes)
    assert scale.watch() == adv.quick_battery(3)


@pytest.mark.parametrize(
    ("text", "ball"),
    [
        ("linf-8/255", Linf(8 / 255)),
        ("linf-0.3", Linf(0.3)),
        ("l2-0.5", L2(0.5)),
        ("l2-128/255", L2(128 / 255)),
        ("l1-12", L1(12.0)),
    ],
)
def test_one_radius_is_attacked_by_the_attack_of_the_score(text, ball):
    scale = spaces.scale("laptop", threat_model=text)
    (margin,), (report,) = attacks(text), attacks(text, score="report")
    if isinstance(ball, L1):
        assert (margin, report) == (APGD(ball, 10, loss="margin"), APGD(ball, 10))
    else:
        assert margin == margin_attack(ball, 10)
        assert report == PGD(ball, 10)
    for battery in (scale.watch(), scale.reference()):
        assert [attack.ball for _, attack in battery.attacks] == [ball]
    final = FinalBattery(scale, 10)
    ((name, whole),) = final.battery(random=False).attacks
    assert whole.ball == ball and margin in members(whole)
    assert name == f"autoattack-{'' if isinstance(ball, Linf) else text[:2] + '-'}{ball.eps:g}"


@pytest.mark.parametrize("text", ["autoattack", "rand", "autoattack-l2-0.5"])
def test_autoattack_is_one_figure(text):
    (whole,) = attacks(text)
    assert len(list(members(whole))) > 1
    assert whole.ball == (L2(0.5) if text.endswith("0.5") else Linf(8 / 255))


@pytest.mark.parametrize(
    ("score", "text", "label"),
    [
        ("margin", "report", "margin"),
        ("report", "l2-0.5", "report, l2-0.5"),
        ("margin", "autoattack", "autoattack"),
        ("margin", "mine.py:battery", "mine.py:battery"),
    ],
)
def test_labels(score, text, label):
    assert spaces.score_label(score, text) == label


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("linf8/255", "did you mean 'linf-8/255'?"),
        ("l2", "here are: report, linf-8/255, l2-0.5, l1-12, autoattack, rand, or FILE.py:NAME"),
        ("linf-8", "of 255 levels: linf-8/255"),
        ("l2-0", "a radius is a number above 0"),
        ("l2-1/0", "a radius is a number above 0"),
        ("mine.py:", "write path.py:NAME"),
    ],
)
def test_names_of_no_threat_model(text, said):
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        spaces.scale("laptop", threat_model=text)
    assert "\n" not in str(error.value)


OWN = """
from adv import PGD, Battery, L2

def shift(model, x, y):
    return (x - 0.01).clamp(0, 1)

shift.ball = L2(2.0)
battery = Battery((("shift", shift), ("pgd", PGD(L2(0.5), 3))), votes=7)

def make():
    return battery

def none():
    return 3

def empty():
    return Battery(())
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setattr(user_code, "_named", set())
    file = tmp_path / "my_battery.py"
    file.write_text(OWN)
    return file


def test_a_battery_of_ones_own_file(own):
    with pytest.raises(ValueError, match="not named in this command"):
        attacks(f"{own}:battery")
    name_file(own)
    scale = spaces.scale("laptop", threat_model=f"{own}:battery")
    assert [name for name, _ in scale.battery().attacks] == ["shift", "pgd"]
    assert scale.battery().votes == 7 and attacks(f"{own}:make") == attacks(f"{own}:battery")
    assert [attack.ball for _, attack in scale.watch().attacks] == [L2(2.0), L2(0.5)]
    names = [name for name, _ in FinalBattery(scale, 10).battery(random=False).attacks]
    assert names == ["autoattack-l2-2", "autoattack-l2-0.5"]
    assert FinalBattery(scale, 10).id == FinalBattery(scale, 10).id


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none", "it is a int, not an adv.Battery, nor a function that returns one"),
        ("empty", "ValueError: a battery needs attacks with different names, got []"),
        ("baterry", "has no 'baterry': did you mean 'battery'?"),
    ],
)
def test_what_is_no_battery(own, name, said):
    name_file(own)
    with pytest.raises(ValueError, match=re.escape(said)) as error:
        attacks(f"{own}:{name}")
    assert "\n" not in str(error.value)
