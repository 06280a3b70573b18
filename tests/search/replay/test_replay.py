import json
import sys

import pytest
from test_recorded_trials import CSV

from search.command_line import run_command
from search.replay import __main__ as replay


def play(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["search.replay", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        run_command(replay.main, "search.replay")
    return end.value.code or 0


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "public.csv"
    path.write_text(CSV)
    return path


def test_every_combination_is_a_row_with_errors(monkeypatch, capsys, table, tmp_path):
    words = (
        "--sampler",
        "random,tpe",
        "--stopper",
        "none",
        "--seeds",
        3,
        "--workers",
        2,
        "--budget",
        8,
        "--json",
        tmp_path / "rows.json",
    )
    assert play(monkeypatch, table, *words) == 0
    text = capsys.readouterr().out
    assert "nearest recorded trial" in text and "4 finished trials of 2 epochs, 3 on" in text
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {(row["sampler"], row["stopper"]) for row in rows} == {
        ("random", "none"),
        ("tpe", "none"),
    }
    for row in rows:
        assert row["searches"] == 3 and row["spent"] == 16 and row["stopped"] == 0
        mean, error = row["hypervolume"]
        assert 0 < mean <= 1 and error >= 0 and row["front_found"][0] <= 3


def test_one_search_has_no_error_and_few_trials_few_workers(monkeypatch, capsys, table, tmp_path):
    words = ("--sampler", "random", "--stopper", "none", "--seeds", 1, "--json", tmp_path / "rows")
    assert play(monkeypatch, table, *words) == 0
    text = capsys.readouterr().out
    assert "1 workers" in text and "nan" not in text
    (row,) = json.loads((tmp_path / "rows").read_text(), parse_constant=pytest.fail)
    assert row["hypervolume"][0] > 0 and row["hypervolume"][1] is None and row["finished"] == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "no search in nowhere"),
        (["nowhere.csv"], "cannot read nowhere.csv: No such file"),
        (["{table}", "--stopper", "mosha"], "did you mean 'moasha'?"),
        (["{table}", "--sampler", ""], "; there are: portfolio"),
        (["{table}", "--sampler", "gp"], "but 'depth' is one: take tpe"),
        (["{table}", "--seeds", "0"], "--seeds"),
        (["{table}", "--surrogate", "forst"], "did you mean 'forest'?"),
        (["{table}", "--json", "nowhere/rows.json"], "there is no folder nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(monkeypatch, capsys, table, words, said):
    assert play(monkeypatch, *[word.format(table=table) for word in words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
