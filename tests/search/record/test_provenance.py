"""What differs from the start of a run is found, recorded, and marked on the values."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from search.outcome.front import find_front
from search.record.provenance import (
    describe_changes,
    find_changes,
    read_commit,
    read_hardware,
    read_versions,
)
from search.record.study_header import StudyHeader
from search.record.view import View
from search.reporting.csv_tables import column_names, trial_rows, write_tables
from search.reporting.front_html import front_section
from search.reporting.front_table import describe_marks, front_table
from search.reporting.page import Page

SCALE = {"name": "laptop", "cpus": 1.0, "gpus": 0.0}
HERE = StudyHeader(
    format=1,
    scale=SCALE,
    versions=read_versions(),
    commit=read_commit(),
    hardware=read_hardware(),
    battery=[{"name": "pgd-1", "eps": 0.1}],
)
OLDER = replace(HERE, versions={**HERE.versions, "torch": "1.0"})
FINISHED = {
    "objectives": {"natural_accuracy": 0.9, "attacked_score": 50.0},
    "intervals": {},
    "details": {},
}


def test_the_same_program_on_the_same_machine_has_no_changes():
    assert find_changes(HERE, SCALE) == {}


def test_a_run_that_recorded_nothing_has_no_changes():
    assert find_changes(StudyHeader(format=1), SCALE) == {}
    assert find_changes(replace(HERE, commit="", hardware="2 cores", versions={}), SCALE) == {}


@pytest.mark.parametrize(
    ("then", "name", "was"),
    [
        ({"versions": {"torch": "1.0"}}, "torch", "1.0"),
        ({"versions": {"python": "2.7"}}, "python", "2.7"),
        ({"commit": "c0ffee" * 7}, "commit", "c0ffeec0f"),
        ({"hardware": {"cpu": "abacus", "gpus": []}}, "CPU", "abacus"),
        ({"hardware": {"gpus": ["A", "B", "A"]}}, "GPU", "A, B"),
        ({"scale": {"cpus": 3}}, "cores per trial", "3"),
    ],
)
def test_each_change_is_named_with_both_values(then, name, was):
    if name == "commit" and not read_commit():
        pytest.skip("this is no git checkout")
    header = replace(HERE, **then)
    changes = find_changes(header, SCALE)
    assert list(changes) == [name] and changes[name] != was
    assert describe_changes(header, changes) == f"{name} {was}, now {changes[name]}"


def test_weights_and_biases_decides_no_value():
    assert find_changes(replace(HERE, versions={**HERE.versions, "wandb": "0.1"}), SCALE) == {}


def view_of(*events) -> View:
    view = View(header=OLDER)
    for event, content in events:
        view.apply({"event": event, "time": 1.0, **content})
    return view


def proposed(number: int, origin: str = "known"):
    return "proposed", {"trial": number, "params": {}, "seed": number, "origin": origin}


def epoch(number: int):
    content = {"trial": number, "epoch": 1, "epochs": 1, "seconds": 1.0, "metrics": {}}
    return "epoch", content


def finished(number: int):
    return "finished", {"trial": number, **FINISHED}


SAME: tuple[str, dict] = ("session", {})
OTHER: tuple[str, dict] = ("session", {"changed": {"torch": "2.0"}})


def test_trials_are_marked_that_were_trained_or_scored_in_another_session():
    before = [SAME, proposed(0), epoch(0), finished(0), proposed(1), epoch(1), proposed(2)]
    view = view_of(*before, OTHER, finished(1), epoch(2), SAME, finished(2), proposed(3))
    marked = {trial.number: trial.changed for trial in view.trials.values()}
    assert marked == {0: {}, 1: {"torch": "2.0"}, 2: {"torch": "2.0"}, 3: {}}


def test_finals_are_marked_alike():
    events = (proposed(0, origin="0"), epoch(0))
    part = [("final", {"part": {"event": event, **content}}) for event, content in events]
    view = view_of(SAME, proposed(0), finished(0), ("finals", {"trials": [0]}), OTHER, *part)
    assert view.finals is not None
    assert view.finals.trials[0].changed == {"torch": "2.0"} and not view.trials[0].changed


def test_the_table_of_finals_holds_marked_and_unmarked_trainings(tmp_path):
    def final(event, content):
        return "final", {"part": {"event": event, **content}}

    first, second = (final(*proposed(number, origin="0")) for number in (0, 1))
    begun = (SAME, proposed(0), finished(0), ("finals", {"trials": [0]}), first, second)
    view = view_of(*begun, final(*epoch(0)), OTHER, final(*epoch(1)))
    write_tables(view, tmp_path)
    with (tmp_path / "finals.csv").open() as table:
        assert [row["changed"] for row in csv.DictReader(table)] == ["", "torch 2.0"]


def test_rescoring_marks_what_it_replaces():
    scored = ("rescored", {"trial": 0, "battery": "b", **FINISHED})
    rebuilt = ("rebuilt", {"battery": "b", "header": {}, "missing": {}})
    view = view_of(SAME, proposed(0), finished(0), OTHER, scored)
    assert not view.trials[0].changed
    view.apply({"event": rebuilt[0], "time": 2.0, **rebuilt[1]})
    assert view.trials[0].changed == {"torch": "2.0"}


def test_tables_report_and_summary_say_which_values_are_marked():
    view = view_of(SAME, proposed(0), finished(0), OTHER, proposed(1), finished(1))
    assert list(front_table(find_front(view).members, "").columns[0].cells) == ["0", "1~"]
    why = describe_marks(view.front(), view.header)
    assert "torch 2.0, while the run began with torch 1.0" in why
    assert "torch 2.0" in view.trials[1].remarks[0] and not view.trials[0].remarks
    assert "torch 2.0, while the run" in "".join(front_section(Page(view, [], Path("runs/x"))))
    assert column_names(view)[-1] == "changed"
    assert [row.get("changed") for row in trial_rows(view)] == [None, "torch 2.0"]


def test_a_run_without_changes_has_the_columns_of_before():
    view = view_of(SAME, proposed(0), finished(0))
    assert "changed" not in column_names(view)
    assert describe_marks(view.front(), view.header) == ""
