"""A search that is killed at every epoch gives the ledger of one that is not."""

from pathlib import Path

import pytest
from fault_kinds.exact_resume import MOMENTS, KillAtEpochs
from fault_kinds.lab import Lab
from warm_process import WarmProcess

SCRIPT = Path(__file__).with_name("hooked_launch.py")
SIZES = ("--trials", "1", "--epochs", "2", "--finalists", "off")


class WarmLab(Lab):
    """A laboratory whose searches are forked; the hooks end their workers with them."""

    def open_process(self, words, home, environment, output, stdout):
        process = WarmProcess(SCRIPT, words, home, environment, output)
        self.at_end += [process.wait, process.kill]  # the last one first
        return process


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_search_killed_at_every_epoch_has_the_values_of_its_twin(
    moment, tmp_path, tmp_path_factory
):
    workshop = tmp_path_factory.getbasetemp() / "workshop"  # so that the twin is trained once
    with WarmLab(tmp_path, workshop=workshop) as lab:
        outcome = KillAtEpochs(moment, SIZES)(lab)
    assert outcome.ok, outcome
    assert list(outcome.statuses) == ["-9"] * 3 + ["0"]
