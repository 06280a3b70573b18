"""Batteries keep their ids: an id that changed would refuse the finals of earlier runs."""

import pytest

import spaces
from search.finals.final_battery import FinalBattery


@pytest.mark.parametrize(("classes", "known"), [(10, "a645ca84616e"), (2, "1fbfd065733d")])
def test_the_battery_of_earlier_runs_has_the_id_that_they_recorded(classes, known):
    assert FinalBattery(spaces.scale("laptop"), classes).id == known
