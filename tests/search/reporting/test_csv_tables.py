"""`trials.csv` and `front.csv`, and the hypervolume."""

import csv
import errno
import os
from pathlib import Path

import pytest
from synthetic_studies import KNOBS, build, events, header

from adv.files import write_atomic
from search.record.pareto import hypervolume
from search.record.view import View
from search.reporting.csv_tables import column_names, hypervolumes, trial_rows, write_tables


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_trials_has_a_row_for_each_trial_and_front_those_of_the_front(tmp_path):
    view = build(16, 3)
    write_tables(view, tmp_path)
    trials, front = read(tmp_path / "trials.csv"), read(tmp_path / "front.csv")
    assert [int(row["trial"]) for row in trials] == list(range(16))
    assert [int(row["trial"]) for row in front] == [trial.number for trial in view.front()]
    by_number = {row["trial"]: row for row in trials}
    added = {"roles", "measured", "seeds", "p_on_front", "weights"}
    for row in front:
        assert by_number[row["trial"]].items() <= row.items()
        more = row.keys() - by_number[row["trial"]].keys()
        assert more == added | {"search_natural_accuracy", "search_attacked_score"}
        assert row["measured"] == "search" and row["seeds"] == "0" and row["p_on_front"] == ""
        assert row["on_front"] == row["on_search_front"] == "True"
        assert row["search_attacked_score"] == row["attacked_score"]
    roles = ", ".join(row["roles"] for row in front if row["roles"])
    assert sorted(roles.split(", ")) == ["balanced", "most accurate", "most robust"]
    assert by_number["2"]["marks"] == "flagged" and by_number["0"]["marks"] == ""


def test_the_columns_are_in_the_promised_order(tmp_path):
    write_tables(build(2, 0), tmp_path)
    for name in ("trials.csv", "front.csv"):
        assert (tmp_path / name).read_text().splitlines()[0].split(",")[: 21 + len(KNOBS)] == [
            "trial",
            "state",
            "seed",
            *KNOBS,
            "natural_accuracy",
            "natural_accuracy_low",
            "natural_accuracy_high",
            "attacked_score",
            "attacked_score_low",
            "attacked_score_high",
            "masking_gap",
            "masking_gap_low",
            "masking_gap_high",
            "flagged",
            "epochs",
            "best_epoch",
            "overfitted",
            "seconds",
            "reason",
            "on_front",
            "on_search_front",
            "marks",
        ]


def test_another_score_than_the_reports_is_named_in_a_column_of_its_own(tmp_path):
    scale = {"name": "laptop", "score": "margin"}
    write_tables(build(2, 0, scale=scale), tmp_path)
    trials = read(tmp_path / "trials.csv")
    assert list(trials[0])[-1] == "score" and {row["score"] for row in trials} == {"margin"}
    write_tables(build(2, 0, scale={**scale, "score": "report"}), tmp_path)
    assert "score" not in read(tmp_path / "trials.csv")[0]


def test_values_are_those_of_the_ledger(tmp_path):
    view = build(16, 3)
    write_tables(view, tmp_path)
    for row in read(tmp_path / "trials.csv"):
        trial = view.trials[int(row["trial"])]
        assert row["state"] == trial.state
        assert row["reason"] == trial.reason
        assert float(row["seconds"]) == pytest.approx(trial.seconds, abs=1e-3)
        for name in KNOBS:
            assert row[name] == str(trial.params.get(name, ""))
        if trial.result is None:
            assert row["natural_accuracy"] == row["attacked_score_low"] == row["best_epoch"] == ""
        else:
            assert float(row["natural_accuracy"]) == trial.result.objectives["natural_accuracy"]
            gap = trial.result.details.masking_gap
            assert gap is not None and float(row["masking_gap"]) == gap.gap
            assert row["flagged"] == str(trial.number == 2)
            low, high = trial.result.intervals["attacked_score"]
            assert (float(row["attacked_score_low"]), float(row["attacked_score_high"])) == (
                low,
                high,
            )


def test_a_trial_that_has_not_ended_is_running():
    view = View()
    for event in list(events(3, 0))[:-5]:
        view.apply(event)
    assert [row["state"] for row in trial_rows(view)] == ["finished", "finished", "running"]


def test_a_knob_cannot_hide_a_column():
    view = build(1, 0, knobs={"epochs": {"kind": "Int", "low": 1, "high": 9, "log": False}})
    view.trials[0].params = {"epochs": 7}
    assert len(set(column_names(view))) == len(column_names(view))
    assert trial_rows(view)[0]["knob_epochs"] == 7
    assert trial_rows(view)[0]["epochs"] == 12


def test_a_result_without_details_or_intervals_is_written(tmp_path):
    view = View()
    view.apply(header())
    view.apply(
        {"event": "proposed", "time": 1.0, "trial": 0, "params": {}, "seed": 0, "origin": "x"}
    )
    view.apply(
        {
            "event": "finished",
            "time": 2.0,
            "trial": 0,
            "intervals": {},
            "details": {},
            "objectives": {"natural_accuracy": 0.5, "attacked_score": 60.0},
        }
    )
    write_tables(view, tmp_path)
    (row,) = read(tmp_path / "front.csv")
    assert (row["natural_accuracy"], row["natural_accuracy_low"], row["best_epoch"]) == (
        "0.5",
        "",
        "",
    )


def test_an_empty_study_has_heads_only(tmp_path):
    write_tables(build(0, 0), tmp_path)
    assert read(tmp_path / "trials.csv") == read(tmp_path / "front.csv") == []


def test_hypervolume_grows_and_lies_in_the_unit_interval():
    view = build(16, 3)
    area = hypervolumes(view)
    assert len(area) == 13
    assert area == sorted(area)
    assert 0 < area[0] <= area[-1] < 1
    results = [trial.result for trial in view.front() if trial.result]
    points = [(result.point[0], result.point[1] / 400) for result in results]
    assert area[-1] == pytest.approx(hypervolume(points, (0, 0)))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    write_atomic(path, "old")

    def write_half(partial: Path, content: bytes) -> int:
        with partial.open("wb") as file:
            file.write(content[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_half)
        with pytest.raises(OSError, match="No space"):
            write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    write_atomic(path, "a name that is not UTF-8: \udc80")
    assert "UTF-8" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
