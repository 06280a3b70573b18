"""`--score`: chosen at the start, kept by every session, changed by `--rescore` alone."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_launch import rows, trials_here  # noqa: F401 - a fixture

from search.record.ledger import read
from search.record.view import View
from search.session import session as session_module
from search.session.options import Options
from search.session.summary import resume_command

pytestmark = pytest.mark.usefixtures("trials_here")


def search(folder: Path, score: str | None, **changes: object) -> int:
    options = Options(space="smoke", serial=True, wandb="off", out=folder, name="x", score=score)
    settings = {"trials": 1, "finalists": "off", "epochs": 1, "images": 12, **changes}
    return session_module.run_session(replace(options, **settings))  # type: ignore[arg-type]


def names(view: View) -> set[str]:
    """Return the first attack's name of each result."""
    tables = [trial.result.details.table for trial in view.scored() if trial.result]
    return {table["names"][0] for table in tables if table}


@pytest.mark.parametrize("score", ["report", pytest.param("margin", marks=pytest.mark.slow)])
def test_a_search_keeps_its_score_until_it_is_scored_again(tmp_path, capsys, score):
    other = {"report": "margin", "margin": "report"}[score]
    prefix = {"report": "pgd1-0.01", "margin": "margin1-0.01"}
    assert search(tmp_path, score) == 0
    said = capsys.readouterr().out
    assert f"Score {score}: " in said and f"Pareto front, {score} score" in said
    folder = tmp_path / "x"
    assert json.loads((folder / "study.json").read_text())["scale"]["score"] == score
    assert names(read(folder / "ledger.jsonl")) == {prefix[score]}
    assert {row.get("score", "report") for row in rows(folder / "trials.csv")} == {score}

    resumed = Options(resume=folder, serial=True, wandb="off", finalists="off", trials=2)
    before = (folder / "ledger.jsonl").read_bytes()
    assert session_module.run_session(replace(resumed, score=other)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"has the {score} score" in said and f"--rescore {folder} --score {other}" in said
    assert (folder / "ledger.jsonl").read_bytes() == before
    assert session_module.run_session(replace(resumed, score=score)) == 0
    assert names(read(folder / "ledger.jsonl")) == {prefix[score]}

    again = Options(resume=folder, rescore=folder, serial=True, wandb="off", score=other)
    assert session_module.run_session(again) == 0
    said = capsys.readouterr().out
    assert f"Score {other}: " in said and f"Pareto front, {other} score" in said
    view = read(folder / "ledger.jsonl")
    assert names(view) == {prefix[other]} and view.header.score == other
    assert len(view.scored()) == 2
    assert {row.get("score", "report") for row in rows(folder / "front.csv")} == {other}
    assert f"here the {other} score" in (folder / "report.html").read_text()

    assert session_module.run_session(replace(resumed, score=None, trials=3)) == 0
    assert names(read(folder / "ledger.jsonl")) == {prefix[other]}
    assert session_module.run_session(replace(again, score=None)) == 0
    assert read(folder / "ledger.jsonl").header.score == other


def test_a_rescoring_that_is_cut_off_resumes_with_its_score(tmp_path):
    options = Options(resume=tmp_path, rescore=tmp_path, score="margin", images=9)
    study = SimpleNamespace(view=View())
    job: Any = SimpleNamespace(options=options, folder=tmp_path, study=study)
    said = resume_command(job)
    assert said == f"python launch.py --rescore {tmp_path} --score margin --images 9"


def test_the_plan_names_the_score(tmp_path, capsys):
    assert search(tmp_path, "margin", dry_run=True) == 0
    said = capsys.readouterr().out
    assert "score" in said and "margin: PGD on a loss" in said and "margin1-0.01" in said
    assert list(tmp_path.iterdir()) == []


def test_the_finals_of_a_margin_search_have_its_attacks(tmp_path, capsys):
    assert search(tmp_path, "margin", finalists="1", final_trainings=1) == 0
    assert "The attacks of the margin score, then AutoAttack's" in capsys.readouterr().out
    page = (tmp_path / "x" / "report.html").read_text()
    assert "margin: PGD on a loss" in page and "The attacks of the margin score" in page
    view = read(tmp_path / "x" / "ledger.jsonl")
    assert view.finals is not None
    (final,) = view.finals.scored()
    assert final.result is not None and final.result.details.claimed is not None
    strong, claimed = (
        values["attacked_score"]
        for values in (final.result.objectives, final.result.details.claimed)
    )
    assert final.result.details.random or strong <= claimed
