"""A search that is killed at every epoch gives the ledger of one that is not."""

import pytest
from fault_kinds.exact_resume import MOMENTS, KillAtEpochs
from fault_kinds.lab import Lab

SIZES = ("--trials", "1", "--epochs", "2", "--finalists", "off")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_killed_at_every_moment_has_the_values_of_its_twin(tmp_path):
    """Before the first state is in place, after the second, and after the trial has ended.

    `benchmarks/faults.py` has each moment at each epoch.
    """
    with Lab(tmp_path) as lab:
        outcome = KillAtEpochs([*MOMENTS], SIZES)(lab)
    assert outcome.ok, outcome
    assert list(outcome.statuses) == ["-9"] * 3 + ["0"]
