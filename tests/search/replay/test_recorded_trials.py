import gzip
from pathlib import Path

import numpy as np
import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.view import View
from search.replay.csv_records import benchmark_from_csv
from search.replay.ledger_records import benchmark_from_view, rebuild_space
from search.replay.recorded_trials import BenchmarkError
from search.samplers.table import make_sampler
from search.study import Study
from spaces import Choice, Float, Int

CSV = """kind,depth,rate,epoch,natural_accuracy,attacked_score
plain,,0.001,1,0.2,10
plain,,0.001,2,0.4,20
fancy,3,0.01,1,0.3,15
fancy,3,0.01,2,0.5,10
fancy,1,0.1,1,0.1,5
fancy,1,0.1,2,0.3,30
fancy,2,1,1,0.1,1
fancy,2,1,2,0.2,2
"""


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    study = Study(
        SPACE,
        MemoryLedger(),
        trials=20,
        seed=0,
        sampler=make_sampler("qmc", SPACE, seed=0, start=20),
    )
    study.ledger.path = folder / "ledger.jsonl"
    study.ledger.append("study", format=1, knobs=SPACE.describe())
    serial.search(study, Formula(3), Interrupt())
    return study.view


def last(table, params, seed=0):
    *_, values = table(params, seed, Path())
    return values


def test_the_nearest_record_answers_as_it_was_recorded(view):
    table = benchmark_from_view("formula", view)
    assert table.epochs == 3 and len(table.records) == 20
    for trial in view.trials.values():
        assert last(table, trial.params).result.point == trial.result.point
        assert table.true_objectives(trial.params) == trial.result.point
    moved = {**view.trials[0].params, "x": view.trials[0].params["x"] + 0.01}
    assert last(table, moved, 1).result.point == view.trials[0].result.point


def test_the_space_of_a_ledger_is_the_one_that_was_searched(view):
    space = benchmark_from_view("formula", view).space
    assert space.knobs == SPACE.knobs and space.known == SPACE.known


def test_the_forest_interpolates(view):
    table = benchmark_from_view("formula", view, "forest")
    for trial in view.trials.values():
        assert table.true_objectives(trial.params) == pytest.approx(trial.result.point, abs=1e-9)
    between = table.true_objectives({"x": 0.45, "waste": 0.01, "kind": "plain"})
    assert 0.1 < between[0] < 0.7 and 40 < between[1] < 100
    points = [(natural, attacked) for natural, attacked in table.points]
    assert table.true_front().share(points) == pytest.approx(1.0)


def test_a_table_in_a_file_needs_no_code(tmp_path):
    path = tmp_path / "public.csv"
    path.write_text(CSV)
    table = benchmark_from_csv(path)
    assert dict(table.space.knobs) == {
        "kind": Choice(("fancy", "plain")),
        "depth": Int(1, 3, when={"kind": ("fancy",)}),
        "rate": Float(0.001, 1.0, log=True),
    }
    assert table.epochs == 2 and len(table.records) == 4
    values = list(table({"kind": "fancy", "depth": 3, "rate": 0.02}, 0, Path()))
    assert [v.metrics["watched_natural"] for v in values] == [0.3, 0.5]
    assert values[-1].result is not None and values[-1].result.point == (0.5, 10.0)
    assert sorted(table.points[table.best].tolist()) == [[0.3, 30.0], [0.4, 20.0], [0.5, 10.0]]
    packed = tmp_path / "public.csv.gz"
    packed.write_bytes(gzip.compress(CSV.encode()))
    assert benchmark_from_csv(packed).space.knobs == table.space.knobs


def test_without_epochs_and_names_the_last_two_columns_are_the_objectives(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b,up,right\n" + "".join(f"{i},x,{i},{-i}\n" for i in range(1, 6)))
    table = benchmark_from_csv(path)
    assert list(table.space.knobs) == ["a"] and table.epochs == 1
    assert last(table, {"a": 4}).result.point == (4.0, -4.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rows"),
        ("a,y,z\n1,2,3\n", "different values"),
        ("a,y,z\n1,2,3\n2,2,nan\n3,3,3\n4,4,4\n", "line 3: an objective is not finite"),
        ("a,y,z\n1,2,3\n2,2,\n3,3,3\n4,4,4\n", "line 3: epoch and objectives must be numbers"),
        ("a,y,z\n1,2,3\n2,2,3\n", "2 finished trials"),
        ("b,a,y,z\n1,,2,3\n2,4,2,3\n2,5,3,3\n3,,4,4\n", "'a' is empty in some rows"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=said) as error:
        benchmark_from_csv(path)
    assert "\n" not in str(error.value)


def test_what_cannot_be_replayed_is_refused():
    with pytest.raises(BenchmarkError, match="0 finished trials"):
        benchmark_from_view("empty", View())
    with pytest.raises(BenchmarkError, match="unknown kind"):
        rebuild_space({"a": {"kind": "Tensor"}})


def test_gaps_in_a_curve_repeat_what_came_before(view):
    table = benchmark_from_view(
        "formula", view
    )  # the formula watches nothing: only the end is known
    for record in table.records:
        assert (record.curve == np.array(record.final)).all()
