import math
from typing import Any

import pytest

from search.record.trial_result import TrialResult
from search.replay.search_quality import (
    TrueFront,
    mean_and_error,
    precision,
    score_search,
    share_at,
)
from search.replay.simulator import FinishedTrial, SearchHistory


def truth(params):
    return params["x"], params["y"]


def finish(number, x, y, seen, spent):
    result = TrialResult({"natural_accuracy": seen[0], "attacked_score": seen[1]})
    return FinishedTrial(number, {"x": x, "y": y}, number, result, spent, float(spent))


def test_a_front_is_worth_what_its_points_truly_are():
    # Trial 1 looks better than trial 0 and is worse: the reported front loses hypervolume.
    finished = [
        finish(0, 0.5, 0.5, (0.5, 0.5), 10),
        finish(1, 0.1, 0.1, (0.9, 0.9), 20),
        finish(2, 1.0, 1.0, (1.0, 1.0), 30),
    ]
    history = SearchHistory(finished)
    score = score_search(history, TrueFront(truth, (0.0, 0.0), 1.0))
    curve: Any = ((10, pytest.approx(0.25)), (20, pytest.approx(0.01)), (30, 1.0))
    assert score.curve == curve
    assert score.epochs_to_target == 30 and score.share == 1.0 and score.precision == 1.0
    assert [share_at(score, spent) for spent in (5, 10, 29, 99)] == pytest.approx(
        [0.0, 0.25, 0.01, 1.0]
    )


def test_a_search_that_finished_nothing_has_no_front():
    score = score_search(SearchHistory(), TrueFront(truth, (0.0, 0.0), 1.0))
    assert (score.share, score.epochs_to_target, score.precision) == (0.0, math.inf, 0.0)


def test_precision_counts_reported_points_that_are_truly_on_the_front():
    true = [(1.0, 0.0), (0.0, 1.0), (0.5, 0.0), (0.4, 0.4)]
    assert precision([True, True, True, False], true) == pytest.approx(2 / 3)
    assert precision([False] * 4, true) == 0.0


def test_mean_and_standard_error():
    expected: Any = (2.0, pytest.approx(1.0))
    assert mean_and_error([1.0, 3.0]) == expected
    assert math.isnan(mean_and_error([1.0])[1])
