import gzip
from pathlib import Path

import numpy as np
import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.view import View
from search.replay import csv_records
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
        ("a,y,z\n1,2,3\n2,2\n", "line 3: 2 values for 3 columns"),
        ("a,y,z\n1,2,3\n2,2,3,4\n", "line 3: 4 values for 3 columns"),
        ("a,a,z\n1,2,3\n", "two columns have the same name"),
        ("a,y,z\n1,2,3\n2,2,1e200\n", "line 3: an objective is not finite, or too large"),
        ("a,epoch,y,z\n1,inf,2,3\n2,2,2,3\n", "line 2: epoch and objectives must be numbers"),
        ("a,epoch,y,z\n1,1,2,3\n2,1e9,2,3\n", "line 3: epoch 1000000000 is not a number from 0"),
        ('a,y,z\n"1"x,2,3\n', "cannot be read as CSV in UTF-8"),
        ("a,y,z\n" + "1" * 200_000 + ",2,3\n", "cannot be read as CSV in UTF-8: field larger"),
        ("a,y,z\n-1e308,2,3\n1e308,2,3\n", "a range needs finite ends"),
        ("é".encode("latin-1"), "cannot be read as CSV in UTF-8"),
        ("a,y,z\n1,2,3\n".encode("utf-16"), "cannot be read as CSV in UTF-8"),
        ("a,y,z\n1,2,3\n2,2,3\n", "2 finished trials"),
        ("b,a,y,z\n1,,2,3\n2,4,2,3\n2,5,3,3\n3,,4,4\n", "'a' is empty in some rows"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BenchmarkError, match=said) as error:
        benchmark_from_csv(path)
    assert "\n" not in str(error.value) and path.stem in str(error.value)


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"a,y,z\n" * 99)[:-9]], ids=["other", "cut off"]
)
def test_a_damaged_archive_is_refused_in_one_line(tmp_path, content):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match="cannot be read as CSV"):
        benchmark_from_csv(path)


def test_a_table_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_records, "MAX_BYTES", 1000)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(bytes(5000)))
    with pytest.raises(BenchmarkError, match="of text"):
        benchmark_from_csv(path)


def test_a_table_as_excel_saves_it_is_read(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"{i},{i},{-i}\r\n" for i in range(5))
    path.write_bytes(("\ufeffa,up,right\r\n" + rows).encode())
    assert list(benchmark_from_csv(path).space.knobs) == ["a"]


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
