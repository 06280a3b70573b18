"""Other objectives than the usual ones: direction, ledger, front, tables, bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from synthetic_studies import build, events, header

from adv import Score
from adv.evaluation.image_table import per_image_objectives, read_figures
from search.record.constraints import Constraint, excesses, parse, parse_bounds
from search.record.json_records import FieldError
from search.record.study_header import StudyHeader
from search.record.trial_result import ResultDetails, TrialResult
from search.record.view import View
from search.reporting.csv_tables import column_names, hypervolumes, trial_rows
from search.reporting.html_report import write_html_report
from search.session.other_front import recorded_figures, with_objectives
from search.trials.figures import balanced_accuracy, cheap_figures
from search.trials.rung_evaluation import make_rung

AIMS = ("worst_case", "parameters")
FIGURES = {"natural_accuracy": 0.9, "attacked_score": 200.0, "worst_case": 0.4, "parameters": 1000}


def score(seed: int = 0, images: int = 40) -> Score:
    ok = torch.rand(4, images, generator=torch.Generator().manual_seed(seed)) < 0.6
    return Score(("a", "b", "c"), (0.02, 0.01, 0.02), ok)


def test_less_is_better_for_some_and_the_record_keeps_both():
    result = TrialResult(FIGURES, aims=AIMS)
    assert result.point == (0.4, -1000)
    again = TrialResult.from_json(json.loads(json.dumps(result.to_json())))
    assert again == result and again.point == result.point
    assert "aims" not in TrialResult(FIGURES).to_json()
    with pytest.raises(ValueError, match="worst_case is None"):
        TrialResult({"natural_accuracy": 0.9, "attacked_score": 1.0}, aims=AIMS)


def test_figures_of_a_table_are_those_of_the_score():
    one = score()
    found = read_figures(one.to_dict())
    labels = torch.arange(40) % 3
    cheap = cheap_figures(one, type("S", (), {"labels": labels})())
    for name, value in found.items():
        assert value == pytest.approx(cheap[name], abs=1e-12)
    each = per_image_objectives(one.to_dict(), ("worst_case", "parameters"))
    assert each.shape == (2, 40) and not each[1].any()


def test_balanced_accuracy_counts_each_class_once():
    ok = torch.tensor([[True, True, True, False]])
    split = type("S", (), {"labels": torch.tensor([0, 0, 0, 1])})()
    assert balanced_accuracy(Score((), (), ok), split) == 0.5


def test_a_rung_has_the_objectives_of_the_search():
    rung = make_rung(3, 1.0, score(), AIMS, {"parameters": 7, "multiply_adds": 5})
    assert rung.point == (score().worst, -7) and rung.sd[1] == 0 < rung.sd[0]
    assert set(rung.objectives) == {"natural_accuracy", "attacked_score", *AIMS}
    usual = make_rung(3, 1.0, score())
    assert set(usual.objectives) == {"natural_accuracy", "attacked_score"}
    error = usual.sds["natural_accuracy"]
    each = score().ok[0].double().numpy()
    assert error == pytest.approx(each.std() / np.sqrt(39))


@pytest.fixture
def view():
    """Return a study whose objectives are the worst case and the parameters."""
    view = View()
    head = header(trials=8, objectives=list(AIMS))
    for event in events(8, 0, head=head):
        if event["event"] == "finished":
            number = event["trial"]
            figures = {"worst_case": 0.1 * (number % 4), "parameters": 1000 + 10 * (number % 3)}
            event["objectives"] = {**event["objectives"], **figures}
            event["aims"] = list(AIMS)
        view.apply(event)
    return view


def test_the_front_and_the_tables_follow(view, tmp_path):
    points = {t.number: t.result.objectives for t in view.scored()}
    for trial in view.front():
        mine = points[trial.number]
        assert not any(
            (o["worst_case"] >= mine["worst_case"] and o["parameters"] < mine["parameters"])
            or (o["worst_case"] > mine["worst_case"] and o["parameters"] <= mine["parameters"])
            for o in points.values()
        )
    assert {"worst_case", "parameters", "natural_accuracy"} <= set(column_names(view))
    assert trial_rows(view)[1]["worst_case"] == pytest.approx(0.1)
    area = hypervolumes(view)
    assert area == sorted(area) and area[-1] == 1
    write_html_report(view, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Worst case (%)" in page and "<th" in page and "Parameters" in page


def test_another_front_needs_no_attack():
    view = build(12, 0)
    known = recorded_figures(view.scored()[0])
    assert "training_seconds" in known
    trials = with_objectives(view, ("natural_accuracy", "training_seconds"))
    assert len(trials) == len(view.scored())
    for trial in trials:
        assert trial.result is not None
        assert trial.result.point[1] == -sum(r.seconds for r in trial.epochs.values())
    table = score().to_dict()
    trial = view.scored()[0]
    assert trial.result is not None
    details = replace(ResultDetails(), table=table, parameters=5)
    figures = recorded_figures(replace(trial, result=replace(trial.result, details=details)))
    assert figures["worst_case"] == pytest.approx(score().worst) and figures["parameters"] == 5


def test_a_header_with_impossible_objectives_is_refused():
    plain = header(objectives=["worst_case", "worst_case"])
    with pytest.raises(FieldError, match="key 'objectives': the two objectives are both worst"):
        StudyHeader.from_json({k: v for k, v in plain.items() if k != "event"})


@pytest.mark.parametrize(
    ("text", "bound", "kept"),
    [
        ("worst_case>0.3", Constraint("worst_case", 0.3), True),
        ("worst_case >= .5", Constraint("worst_case", 0.5), False),
        ("parameters<500", Constraint("params", 500.0), False),
        ("training_seconds<60", Constraint("training_seconds", 60.0), None),
        ("certified_accuracy:0.5>0.2", Constraint("certified_accuracy:0.5", 0.2), None),
    ],
)
def test_everything_can_have_a_bound(text, bound, kept):
    assert parse(text) == bound and parse(str(bound)) == bound
    result = TrialResult(FIGURES, details=ResultDetails(parameters=1000))
    excess = excesses(result, StudyHeader(constraints=parse_bounds([text])))
    assert (None if not excess else excess[bound.name] <= 0) is kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("worst_case<0.3", "more worst_case is better: worst_case>0.3"),
        ("params>5", "less params is better: params<5"),
        ("worst_case>30", "worst_case is in [0, 1]: 30 % are 0.3"),
        ("worst_cas>0.3", "did you mean 'worst_case'?"),
    ],
)
def test_bounds_on_the_wrong_side(text, said):
    with pytest.raises(ValueError, match="--constrain") as error:
        parse(text)
    assert said in str(error.value)
