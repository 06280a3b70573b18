import math

import pytest

from search.record.trial_result import TrialResult
from search.replay.search_quality import Yardstick, judge, mean_and_error, precision, share_at
from search.replay.simulator import Finish, History


def truth(params):
    return params["x"], params["y"]


def finish(number, x, y, seen, spent):
    result = TrialResult({"natural_accuracy": seen[0], "attacked_score": seen[1]})
    return Finish(number, {"x": x, "y": y}, number, result, spent, float(spent))


def test_a_front_is_worth_what_its_points_truly_are():
    # Trial 1 looks better than trial 0 and is worse: the reported front loses hypervolume.
    history = History([finish(0, 0.5, 0.5, (0.5, 0.5), 10), finish(1, 0.1, 0.1, (0.9, 0.9), 20),
                       finish(2, 1.0, 1.0, (1.0, 1.0), 30)])  # fmt: skip
    verdict = judge(history, Yardstick(truth, (0.0, 0.0), 1.0))
    assert verdict.curve == ((10, pytest.approx(0.25)), (20, pytest.approx(0.01)), (30, 1.0))
    assert verdict.epochs == 30 and verdict.share == 1.0 and verdict.precision == 1.0
    assert [share_at(verdict, spent) for spent in (5, 10, 29, 99)] == pytest.approx(
        [0.0, 0.25, 0.01, 1.0]
    )


def test_a_search_that_finished_nothing_has_no_front():
    verdict = judge(History(), Yardstick(truth, (0.0, 0.0), 1.0))
    assert (verdict.share, verdict.epochs, verdict.precision) == (0.0, math.inf, 0.0)


def test_precision_counts_reported_points_that_are_truly_on_the_front():
    true = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.4, 0.4)]
    assert precision([True, True, True, False], true) == pytest.approx(2 / 3)
    assert precision([False] * 4, true) == 0.0


def test_mean_and_standard_error():
    assert mean_and_error([1.0, 3.0]) == (2.0, pytest.approx(1.0))
    assert math.isnan(mean_and_error([1.0])[1])
