"""Figures for papers and the trials as Parquet, and that `--report` writes everything again."""

import xml.etree.ElementTree as ET

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image
from synthetic_studies import build, events, final_events

import launch
from search.outcome.front import find_front
from search.record.ledger import Ledger
from search.record.view import View
from search.reporting.csv_tables import trial_rows
from search.reporting.parquet_table import write_parquet
from search.reporting.static_figures import DPI, SIZE, write_static_figures


@pytest.mark.parametrize("finals", [False, True])
def test_each_figure_is_a_picture_and_a_drawing_with_text(tmp_path, finals):
    view = build(16, 3)
    for event in final_events() if finals else ():
        view.apply(event)
    paths = write_static_figures(view, tmp_path / "figures")
    names = {path.name for path in paths}
    for name in ("front", "robustness", "hypervolume", "importance"):
        assert {f"{name}.png", f"{name}.svg"} <= names
    for path in paths:
        if path.suffix == ".png":
            with Image.open(path) as picture:
                assert picture.size == tuple(round(DPI * inches) for inches in SIZE)
    drawing = ET.parse(tmp_path / "figures" / "front.svg")
    words = " ".join("".join(text.itertext()) for text in drawing.iter() if "text" in text.tag)
    assert "Natural accuracy (%)" in words
    flagged = view.trials[2].number in find_front(view).numbers or not finals
    assert ("marked: its score misleads" in words) == flagged


def test_the_same_run_gives_the_same_files(tmp_path):
    view = build(12, 0)
    first = {p.name: p.read_bytes() for p in write_static_figures(view, tmp_path / "a")}
    assert first == {p.name: p.read_bytes() for p in write_static_figures(view, tmp_path / "b")}


def test_names_of_the_users_are_text(tmp_path):
    name = "$\\frac{$ \u4e2d"
    view = build(9, 0, knobs={name: {"kind": "Float", "low": 0, "high": 1, "log": False}})
    for trial in view.trials.values():
        trial.params = {name: trial.number / 9}
    paths = write_static_figures(view, tmp_path)
    assert "importance.svg" in {path.name for path in paths}
    words = "".join(ET.parse(tmp_path / "importance.svg").getroot().itertext())
    assert name in words


def test_a_search_without_a_result_has_none(tmp_path):
    assert write_static_figures(View(), tmp_path / "figures") == []
    assert not (tmp_path / "figures").exists()


def test_parquet_holds_the_rows_of_the_table_with_their_types(tmp_path):
    view = build(16, 3)
    write_parquet(view, tmp_path / "trials.parquet")
    found, rows = pq.read_table(tmp_path / "trials.parquet"), trial_rows(view)
    assert found.column_names == list(rows[0])
    kinds = {name: str(found.schema.field(name).type) for name in ("trial", "lr", "augment")}
    assert kinds == {"trial": "int64", "lr": "double", "augment": "bool"}
    assert found.to_pylist() == rows


def test_values_of_several_types_become_text(tmp_path):
    view = build(4, 0)
    values: tuple[str | int | float, ...] = ("none", 3, True, 0.5)
    for number, value in enumerate(values):
        view.trials[number].params = {**view.trials[number].params, "model": value}
    write_parquet(view, tmp_path / "trials.parquet")
    found = pq.read_table(tmp_path / "trials.parquet")["model"].to_pylist()
    assert found == ["none", "3", "True", "0.5"]


def test_report_writes_all_again_and_nothing_else(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    ledger = Ledger(run / "ledger.jsonl")
    for event in events(9, 1):
        ledger.append(**{key: value for key, value in event.items() if key != "time"})
    ledger.close()
    before = (run / "ledger.jsonl").read_bytes()
    done = CliRunner().invoke(launch.main, ["--report", str(run)])
    assert done.exit_code == 0, done.output
    assert str(run / "report.html") in done.output
    written = {path.name for path in run.iterdir()}
    assert written == {
        *("ledger.jsonl", "report.html", "trials.csv", "trials.parquet", "front.csv", "figures"),
    }
    assert (run / "ledger.jsonl").read_bytes() == before
