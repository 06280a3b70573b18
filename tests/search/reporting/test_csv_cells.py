"""No cell of a table is run as a formula, and our own reader gets back what was written."""

import csv

import pytest
from synthetic_studies import build

from search.replay.csv_records import benchmark_from_csv
from search.reporting.csv_cells import escape_cell, unescape_cell
from search.reporting.csv_tables import write_tables
from spaces import Choice

DANGEROUS = ("=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(1)", "\t=1", "\r=1", "'=1", "''@x", "=")
HARMLESS = (
    "-3.5",
    "+1e-5",
    "-inf",
    "it's",
    "'quoted'",
    "",
    "a=b",
    "1-2",
    "é",
    -3.5,
    -1,
    True,
    None,
)


@pytest.mark.parametrize("text", DANGEROUS)
def test_a_formula_is_written_as_text_and_read_back(text):
    written = escape_cell(text)
    assert written == f"'{text}" and unescape_cell(written) == text


@pytest.mark.parametrize("value", HARMLESS, ids=repr)
def test_numbers_and_other_texts_stay_as_they_are(value):
    assert escape_cell(value) is value
    if isinstance(value, str):
        assert unescape_cell(value) == value


def test_tables_hold_no_formula_in_any_cell(tmp_path):
    view = build(6, 1, knobs={"=kind": {"kind": "Choice", "options": ["=1+1", "@x", "plain"]}})
    for trial in view.trials.values():
        trial.params = {"=kind": ("=1+1", "@x", "plain")[trial.number % 3]}
        trial.reason = "=HYPERLINK(1)"
    write_tables(view, tmp_path)
    with (tmp_path / "trials.csv").open(newline="") as lines:
        table = list(csv.reader(lines))
    assert not [cell for row in table for cell in row if cell[:1] in ("=", "@", "\t", "\r")]
    assert {row[table[0].index("'=kind")] for row in table[1:]} == {"'=1+1", "'@x", "plain"}
    assert {row[table[0].index("reason")] for row in table[1:]} == {"'=HYPERLINK(1)"}


def test_the_replay_reads_the_values_that_were_written(tmp_path):
    rows = [
        ("a", "=1+1", -0.5, 0.1, 100.0),
        ("b", "-x", -3.5, 0.2, 90.0),
        ("b", "'=y", 2.0, 0.3, 80.0),
        ("a", "=1+1", 0.0, 0.4, 70.0),
    ]
    heads = ("net", "=kind", "shift", "natural_accuracy", "attacked_score")
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([map(escape_cell, row) for row in (heads, *rows)])
    benchmark = benchmark_from_csv(tmp_path / "t.csv")
    kind = benchmark.space.knobs["=kind"]
    assert isinstance(kind, Choice) and set(kind.options) == {"=1+1", "-x", "'=y"}
    assert [trial.params["shift"] for trial in benchmark.records] == [-0.5, -3.5, 2.0, 0.0]
