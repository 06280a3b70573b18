"""A run that is resumed with other versions says so, and marks what it trains."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from test_launch import launch

from search.record.ledger import read
from search.record.provenance import read_commit, read_versions

OLD = Path(__file__).parents[1] / "recorded" / "v0" / "finished"


@pytest.mark.slow
def test_a_resumed_run_names_what_has_changed_and_marks_its_new_trials(tmp_path):
    run = Path(shutil.copytree(OLD, tmp_path / "runs" / "old"))
    first, *rest = (run / "ledger.jsonl").read_text().splitlines(keepends=True)
    header = json.loads(first)
    header["versions"] = {**read_versions(), "torch": "1.0"}
    header["commit"] = read_commit()
    (run / "ledger.jsonl").write_text("".join([json.dumps(header) + "\n", *rest]))
    flags = ("--trials", 4, "--finalists", "off", "--serial")
    done = launch("--resume", "runs/old", *flags, cwd=tmp_path, COLUMNS="200")
    assert done.returncode == 0, done.stderr
    torch = read_versions()["torch"]
    assert f"This run began with torch 1.0, now {torch}" in done.stdout
    view = read(run / "ledger.jsonl")
    assert view.sessions[-1].changed == {"torch": torch}
    assert [n for n, trial in view.trials.items() if trial.changed] == [3]
    with (run / "trials.csv").open() as file:
        changed = [row["changed"] for row in csv.DictReader(file)]
    assert changed == ["", "", "", f"torch {torch}"]
    assert f"torch {torch}" in (run / "report.html").read_text()
