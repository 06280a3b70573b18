"""Warm starts: what a new study takes over from earlier ones."""

import json
from dataclasses import replace
from types import MethodType
from typing import Any

import pytest
from formula_runs import KNOBS, KNOWN, SPACE, no_recipe, propose, score

from search.record.json_records import to_json
from search.record.ledger import Ledger
from search.record.study_header import StudyHeader
from search.record.trial_result import TrialResult
from search.record.view import View
from search.samplers.sampler import StagedSampler
from search.samplers.table import make_sampler
from search.samplers.warm_start import adapt_params, is_comparable, observed_trials, warm_start
from spaces import Choice, Float, Int, Params, Space

HEAD: dict[str, Any] = {
    "battery": [{"name": "pgd10-0.03", "eps": 0.03, "steps": 10}],
    "data_fingerprint": "d1",
    "classes": 10,
    "scale": {"name": "laptop", "epochs": 6, "cpus": 1.0, "gpus": 0.0, "trials": 16},
}
POINTS: list[Params] = [
    {"x": 0.1, "waste": 0.01, "kind": "plain"},
    {"x": 0.9, "waste": 0.01, "kind": "fancy", "depth": 1},
    {"x": 0.5, "waste": 0.45, "kind": "plain"},
]


@pytest.fixture
def run(tmp_path):
    """Return the folder of a search over POINTS, of which the last is not on the front."""
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("study", format=1, **HEAD)
    for n, params in enumerate(POINTS):
        ledger.append("proposed", trial=n, params=params, seed=n, origin="tpe")
        ledger.append(
            "finished",
            trial=n,
            objectives=dict(score(params).objectives),
            intervals={},
            details={"parameters": 5, "images": 50},
        )
    ledger.close()
    return tmp_path


def test_fronts_come_first_and_values_of_the_same_battery_are_known(run):
    head = StudyHeader.from_json(HEAD)
    known = json.loads(json.dumps(to_json(warm_start([run], SPACE, head, 9))))
    assert known["runs"] == [str(run)]
    assert sorted(p["x"] for p in known["points"]) == [0.1, 0.9]
    assert [t["params"] for t in known["told"]] == POINTS
    assert known["told"][0]["details"] == {"parameters": 5}
    head = head.merge({"warm": known})
    assert [r.point for _, r in observed_trials(head.warm)] == [score(p).point for p in POINTS]
    ask, view = make_sampler("tpe", SPACE, seed=0, start=8, header=head), View(header=head)
    first = []
    for n in range(6):
        params, origin = propose(ask, view)
        first.append((params, origin))
        view.apply(
            {
                "event": "proposed",
                "trial": n,
                "params": params,
                "seed": n,
                "origin": origin,
                "time": 0.0,
            }
        )
    assert [p for p, _ in first[:5]] == [*known["points"], *KNOWN]
    assert first[5][1] in ("tpe", "random")  # there is enough to learn from


@pytest.mark.parametrize(
    "other",
    [
        {"battery": [{"name": "pgd20-0.03", "eps": 0.03, "steps": 20}]},
        {"data_fingerprint": "d2"},
        {"scale": {**HEAD["scale"], "epochs": 7}},
    ],
)
def test_values_of_another_battery_data_or_scale_are_never_taken(run, other):
    head = StudyHeader.from_json({**HEAD, **other})
    known = warm_start([run], SPACE, head, 9)
    assert known.told == [] and len(known.points) == 2
    ask = make_sampler("tpe", SPACE, seed=0, start=8, header=replace(head, warm=known))
    assert isinstance(ask, StagedSampler) and ask.start == 8


def test_where_it_ran_is_no_difference():
    head = StudyHeader.from_json(HEAD)
    assert is_comparable(head, replace(head, scale={**head.scale, "gpus": 0.5, "trials": 99}))


def test_a_run_without_a_recorded_score_has_the_reports():
    head = StudyHeader.from_json(HEAD)
    report, margin = (
        replace(head, scale={**head.scale, "score": score}) for score in ("report", "margin")
    )
    assert is_comparable(head, report) and is_comparable(report, head)
    assert not is_comparable(head, margin) and not is_comparable(report, margin)


def test_points_are_those_of_this_space_with_what_both_have():
    narrow = Space(
        "?",
        {
            "x": Float(0.3, 0.6),
            "kind": Choice(("fancy", "odd")),
            "depth": Int(2, 4, when={"kind": "fancy"}),
            "new": Float(0.0, 1.0),
        },
        no_recipe,
    )
    assert adapt_params(narrow, POINTS[1]) == {"x": 0.6, "kind": "fancy", "depth": 2, "new": 0.5}
    assert adapt_params(narrow, POINTS[0]) == {"x": 0.3, "kind": "odd", "new": 0.5}
    assert adapt_params(SPACE, {"x": 0.2}) == {**KNOWN[0], "x": 0.2}
    assert adapt_params(SPACE, {"y": 1}) is None
    for point in POINTS:
        adapted = adapt_params(narrow, point)
        assert adapted is not None
        narrow.check(adapted)


def test_there_are_no_more_points_than_asked_for_and_none_twice(run):
    head = StudyHeader.from_json(HEAD)
    assert len(warm_start([run], SPACE, head, 1).points) == 1
    assert len(warm_start([run, run], SPACE, head, 9).points) == 2


def test_a_folder_without_a_search_or_without_a_shared_knob_is_refused(run, tmp_path):
    with pytest.raises(ValueError, match=r"--warm-from .*nowhere: no search in .*nowhere"):
        warm_start([tmp_path / "nowhere"], SPACE, StudyHeader.from_json(HEAD), 9)
    other = Space("?", {"y": KNOBS["x"]}, no_recipe)
    with pytest.raises(ValueError, match="shares no hyperparameter"):
        warm_start([run], other, StudyHeader.from_json(HEAD), 9)


def test_values_of_warm_trials_are_what_the_estimator_learns_from(run):
    head = StudyHeader.from_json(HEAD)
    known = warm_start([run], SPACE, head, 9)
    many = replace(known, told=[*known.told] * 4, points=[])
    told = make_sampler("tpe", SPACE, seed=0, start=3, header=replace(head, warm=many))
    assert isinstance(told, StagedSampler) and isinstance(told.propose_params, MethodType)
    strategy: Any = told.propose_params.__self__
    assert len(strategy.observed) == 12
    assert isinstance(strategy.observed[0][1], TrialResult)
