"""The text of an attack's settings, from which ids of batteries are made."""

from dataclasses import fields, replace

import pytest
from attack_cases import ATTACKS

from adv import APGD, PGD, Linf, Square, Worst, report_battery
from adv.attacks.composite import members
from adv.attacks.settings import ADDED_LATER, format_settings

BALL = Linf(0.1)


@pytest.mark.parametrize(
    ("attack", "text"),
    [
        (
            PGD(BALL),
            "PGD(ball=Linf(eps=0.1), steps=20, step_size=None, pace=0.25, random_start=True, "
            "loss='ce', target=None)",
        ),
        (APGD(BALL, 5), "APGD(ball=Linf(eps=0.1), steps=5, loss='ce', target=None)"),
        (Square(BALL), "Square(ball=Linf(eps=0.1), queries=5000, p=0.8)"),
    ],
    ids=str,
)
def test_settings_that_came_later_are_left_out_at_their_defaults(attack, text):
    assert format_settings(attack) == text
    assert format_settings(Worst((attack,))) == f"Worst(attacks=({text},))"
    assert format_settings((attack, ("name", 3))) == f"({text}, ('name', 3))"


def test_settings_that_came_later_are_written_once_they_differ():
    assert "schedule='cosine'" in format_settings(PGD(BALL, schedule="cosine"))
    assert "order" in format_settings(APGD(BALL, loss="dlr-targeted", target=1, order="distance"))
    aimed = format_settings(Square(BALL, loss="margin-targeted", target=2))
    assert aimed.endswith("p=0.8, loss='margin-targeted', target=2)")


@pytest.mark.parametrize("name", ATTACKS)
def test_the_rest_is_what_python_writes(name):
    for attack in members(ATTACKS[name]):
        written = repr(attack)
        for one in fields(attack):  # type: ignore[arg-type]  # every attack is a dataclass
            later = ADDED_LATER.items() <= one.metadata.items()
            if later and getattr(attack, one.name) == one.default:
                written = written.replace(f", {one.name}={one.default!r}", "")
        assert format_settings(attack) == written


def test_batteries_that_differ_have_different_texts():
    battery = report_battery()
    others = [report_battery(19), replace(battery, votes=19), replace(battery, draws=4)]
    assert len({format_settings(one) for one in (battery, *others)}) == 4
