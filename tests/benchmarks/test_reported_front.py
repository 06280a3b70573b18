"""Reported fronts are compared with the truth of a simulated search."""

import json
from pathlib import Path

import numpy as np
import pytest
import reported_front
from click.testing import CliRunner
from quality.analytic import Analytic
from reported_front import NoisyProblem, find_range, measure_finals, simulate_search

from search.record.pareto import front
from search.replay.csv_records import benchmark_from_csv

CUBE = Analytic("flat", "mild")


def cells(text, row):
    return [cell.strip() for cell in text.splitlines()[row].strip("|").split("|")]


def test_without_noise_to_speak_of_the_whole_front_is_reported_and_nothing_else():
    problem = NoisyProblem(CUBE, 1e-6)
    search = simulate_search(problem, "random", 12, seed=1)
    found = measure_finals(problem, search, 24)
    points = [problem.find_true(trial.params) for trial in search.view.scored()]
    assert found["true"] == found["reported"] == found["both"] == front(points).sum() > 1
    assert [said > 0.5 for said in found["said"]] == found["is_true"]
    assert found["known"] == 1


def test_with_noise_as_large_as_the_front_less_is_right():
    problem = NoisyProblem(CUBE, 1.0)
    found = [
        measure_finals(problem, simulate_search(problem, "random", 12, seed), 4)
        for seed in range(3)
    ]
    assert sum(one["both"] for one in found) < sum(one["true"] for one in found)
    assert 0 < sum(one["known"] for one in found) < 3


def test_the_noise_has_its_size_and_half_of_its_variance_is_told():
    problem = NoisyProblem(CUBE, 0.1)
    params = dict.fromkeys(CUBE.space.knobs, 0.5)
    ends = [next(problem(params, seed, Path())).result for seed in range(400)]
    results = [result for result in ends if result]
    assert len(results) == 400
    values = np.array([result.point for result in results])
    sd = 0.1 * find_range(CUBE)
    np.testing.assert_allclose(values.std(0), sd, rtol=0.15)
    np.testing.assert_allclose(values.mean(0), problem.find_true(params), atol=4 * sd.max() / 20)
    low, high = results[0].intervals["natural_accuracy"]
    assert (high - low) / 2 / 1.96 == pytest.approx(sd[0] / 2**0.5, rel=1e-3)


def test_finished_searches_are_kept_and_the_tables_count_them(tmp_path):
    path = tmp_path / "table.csv"
    rng = np.random.default_rng(0)
    grid = [(a, b) for a in range(6) for b in range(6)]
    rows = [f"{a},{b},{0.5 + a / 20},{60 - a * b + rng.random():.3f}" for a, b in grid]
    path.write_text("\n".join(["a,b,natural_accuracy,attacked_score", *rows]))
    assert (find_range(benchmark_from_csv(path)) > 0).all()
    words = ["--problems", "", "--csv", str(path), "--trials", "8", "--noise", "0.05"]
    words += ["--seeds", "2", "--sampler", "random", "--json", str(tmp_path / "rows.jsonl")]
    first = CliRunner().invoke(reported_front.main, words, catch_exceptions=False)
    kept = (tmp_path / "rows.jsonl").read_text()
    again = CliRunner().invoke(reported_front.main, words, catch_exceptions=False)
    assert again.stdout == first.stdout and not again.stderr
    assert (tmp_path / "rows.jsonl").read_text() == kept and len(kept.splitlines()) == 2
    found = [json.loads(line) for line in kept.splitlines()]
    table = first.stdout[first.stdout.index("| noise") :]
    assert cells(table, 2)[:4] == ["0.05", "8", "4", "2"]
    assert float(cells(table, 2)[4]) == pytest.approx(np.mean([r["true"] for r in found]), abs=0.05)
    counts = [int(cells(line, 0)[2]) for line in table.split("finalists |")[1].splitlines()[2:]]
    assert sum(counts) == sum(len(row["said"]) for row in found)


def test_an_unknown_formula_is_one_line():
    told = CliRunner().invoke(reported_front.main, ["--problems", "flat-mild,nett-mild"])
    assert told.exit_code == 2 and "nett-mild" in told.output and "net-mild" in told.output


def test_without_a_problem_it_says_what_to_name():
    told = CliRunner().invoke(reported_front.main, ["--problems", ""])
    assert told.exit_code == 2 and "--csv" in told.output and "Traceback" not in told.output


def test_a_row_cut_off_in_the_middle_is_measured_again(tmp_path):
    record = tmp_path / "rows.jsonl"
    words = ["--problems", "flat-mild", "--trials", "8", "--noise", "0.05", "--seeds", "1"]
    words += ["--sampler", "random", "--json", str(record)]
    first = CliRunner().invoke(reported_front.main, words, catch_exceptions=False)
    whole = record.read_text()
    record.write_text(whole[:-9])
    again = CliRunner().invoke(reported_front.main, words, catch_exceptions=False)
    assert again.stdout == first.stdout and record.read_text() == whole
