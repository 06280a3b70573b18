"""Scoring stored nets again in a worker: what a net does costs that net alone."""

import threading
import time

import pytest
from formula_runs import score
from rescoring_cases import PARAMS, ScoreOrFail, nets

from search.interrupt import Interrupt, Interrupted
from search.session.rescore_in_worker import rescore_in_worker


def run(rescoring, count, folder, interrupt=None):
    found = rescore_in_worker(rescoring, nets(count, folder), interrupt or Interrupt(120))
    return {net.number: outcome for net, outcome in found}


def test_a_net_that_cannot_be_scored_costs_no_other_its_result(tmp_path):
    mishaps = {1: "raises", 3: "leaves", 5: "interrupts", 7: "crashes", 8: "exits"}
    found = run(ScoreOrFail(mishaps), 10, tmp_path)
    assert {n for n, outcome in found.items() if outcome == score(PARAMS)} == {0, 2, 4, 5, 6, 9}
    assert found[1].startswith("ValueError: invalid literal")
    assert found[3] == "SystemExit: 3"
    assert found[7] == "its worker died 3 times: signal SIGSEGV"
    assert found[8] == "its worker died 3 times: exit status 3"


def test_a_worker_that_is_lost_once_is_started_again(tmp_path):
    assert run(ScoreOrFail({0: "exits"}, tmp_path / "once"), 1, tmp_path) == {0: score(PARAMS)}


def test_a_net_that_hangs_does_not_keep_ctrl_c_from_ending_it(tmp_path):
    interrupt = Interrupt()
    threading.Timer(1.0, lambda: setattr(interrupt, "lost", "interrupted")).start()
    began = time.monotonic()
    with pytest.raises(Interrupted):
        run(ScoreOrFail({0: "hangs"}), 1, tmp_path, interrupt)
    assert time.monotonic() - began < 60
