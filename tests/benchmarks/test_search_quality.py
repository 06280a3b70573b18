"""The problems of the benchmark are as described, and its peers are driven as intended."""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import search_quality
import stand_ins
from click.testing import CliRunner
from quality.analytic import Analytic
from quality.contest import Setting, run_contest
from quality.curves import load_problems
from quality.figures import comparison, problem_tables
from quality.peers import PEERS, Optuna, Ray, Syne, make_peer
from scipy.stats import spearmanr

from search.record.pareto import hypervolume
from search.samplers.initial_design import sobol_params

SPACE = Analytic("net", "hard").space


def final(problem, params, seed):
    *_, values = problem(params, seed, Path())
    return values.result.point


@pytest.mark.parametrize("shape", ["net", "flat", "wide"])
def test_no_point_lies_beyond_the_front_and_some_reach_it(shape):
    problem = Analytic(shape, "mild")
    true_front = problem.true_front()
    points = [sobol_params(problem.space, i, 0) for i in range(300)]
    true = [problem.true_objectives(p) for p in points]
    assert 0.6 < true_front.share(true) < 1.0
    edge = [problem._point(u, 0.0) for u in np.linspace(0, 1, 50)]
    assert hypervolume([*edge, *true], (0, 0)) == pytest.approx(hypervolume(edge, (0, 0)))


@pytest.mark.parametrize(
    ("bias", "low", "high"), [("mild", (0.8, 0.9), 1.0), ("hard", (0.35, 0.65), 0.85)]
)
def test_half_trained_trials_are_ordered_as_the_bias_says(bias, low, high):
    problem = Analytic("flat", bias)
    points = [sobol_params(problem.space, i, 1) for i in range(120)]
    curves = [
        [v.metrics["watched_robust"] for v in problem(p, i, Path())] for i, p in enumerate(points)
    ]
    ends = [problem.true_objectives(p)[1] for p in points]
    third, ninth = (spearmanr([c[e - 1] for c in curves], ends)[0] for e in (3, 9))
    assert low[0] < third < ninth and low[1] < ninth < high


def test_recorded_trainings_of_21_methods_are_a_problem(tmp_path):
    lines = ["method,seed,epoch,val_acc,pgd_acc"]
    for method, seed, epochs in (("a", 0, 100), ("a", 1, 100), ("b", 0, 50), ("b", 1, 50)):
        lines += [
            f"{method},{seed},{n},{n / epochs},{seed + n / 200}" for n in range(1, epochs + 1)
        ]
    with gzip.open(tmp_path / "curves-cifar10.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    [problem] = load_problems(tmp_path)
    assert problem.name == "fast-at" and len(problem.records) == 4 and problem.epochs == 40
    assert problem.true_objectives({"method": "b", "seed": 1}) == (1.0, 125.0)
    assert problem.records[2].curve[19] == pytest.approx([0.5, 12.5])


def test_no_rung_of_a_recorded_training_comes_before_its_learning_rate_falls(tmp_path):
    names = ("run", "attack", "norm", "mixup", "lr_schedule", "cutout", "l2", "val")
    runs = [f"x/cifar10_{n}/preact,pgd,l_inf,False,piecewise,False,{n},False" for n in range(4)]
    (tmp_path / "runs.csv").write_text("\n".join([",".join(names), *runs]) + "\n")
    lines = ["run,epoch,lr,test_acc,test_racc"]
    for n in range(4):
        lr = [0.1] * (25 * n) + [0.01] * (100 - 25 * n)
        lines += [f"x/cifar10_{n}/preact,{i},{lr[i]},0.5,0.2" for i in range(100)]
    with gzip.open(tmp_path / "curves.csv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    here, _ = load_problems(tmp_path)
    assert [record.rungs for record in here.records] == [(14, 28), (14, 28), (21,), (31,)]


def test_the_noise_is_what_is_said():
    problem = Analytic("flat", "mild")
    params = sobol_params(problem.space, 5, 0)
    drawn = np.array([final(problem, params, seed) for seed in range(300)])
    assert drawn.mean(0) == pytest.approx(problem.true_objectives(params), rel=0.02)
    assert drawn.std(0) == pytest.approx([0.006, 1.5], rel=0.15)


def test_ray_tells_optuna_that_a_stopped_trial_is_complete():
    engine = Ray(SPACE, 0, 27, stops=True)
    for number in range(4):
        engine.ask(number)
    goes_on = [engine.epoch(n, 3, (0.5, 10.0 * (4 - n))) for n in range(4)]
    assert goes_on == [True, False, False, False]
    search: Any = engine.search  # Ray Tune's
    trials = search._ot_study.trials
    assert [t.state for t in trials[1:]] == [optuna.trial.TrialState.COMPLETE] * 3
    assert trials[1].values == [0.5, 30.0]
    engine.end(0, (0.6, 50.0))
    assert search._ot_study.trials[0].values == [0.6, 50.0]


def test_rays_search_proposes_what_its_optuna_does_alone():
    ray, alone = Ray(SPACE, 7, 27, stops=False), Optuna(SPACE, optuna.samplers.TPESampler(seed=7))
    for number in range(15):
        assert ray.ask(number) == alone.ask(number)
        for engine in (ray, alone):
            engine.end(number, (number / 20, float(number % 5)))


@pytest.mark.parametrize("kind", ["stand-in", "installed"])
def test_syne_tunes_moasha_stops(kind, monkeypatch):
    if kind == "installed":
        pytest.importorskip("syne_tune")
    else:
        for name, module in stand_ins.make_syne_tune().items():
            monkeypatch.setitem(sys.modules, name, module)
    engine = Syne(SPACE, 0, 27)
    for number in range(12):
        engine.ask(number)
    worse_and_worse = [engine.epoch(n, 3, (-0.05 * n, -5.0 * n)) for n in range(12)]
    assert worse_and_worse[0] and not all(worse_and_worse)
    assert not engine.epoch(0, 27, (0.5, 50.0))  # the end of a training


def test_a_peer_is_seeded_and_repeats_itself():
    setting = Setting(4, 6)
    problem = Analytic("flat", "mild")
    once, again, other = (run_contest("random", problem, seed, setting) for seed in (1, 1, 2))
    drop = {"seconds"}
    assert {k: v for k, v in once.items() if k not in drop} == {
        k: v for k, v in again.items() if k not in drop
    }
    assert once["curve"] != other["curve"]
    first = make_peer("random", problem.space, seed=0, epochs=27).ask()
    assert first is not None and first.seed == 0


def row(method, share, epochs, **more):
    return {
        "problem": "p",
        "group": "hard",
        "method": method,
        "share": share,
        "epochs": epochs,
        "budget": 10,
        "budget_epochs": 100,
        "workers": 2,
        "precision": 0.5,
        "finals": 1.0,
        "finished": 3,
        "stopped": 1,
        "curve": [[50, share]],
        **more,
    }


def test_the_comparison_is_with_the_best_peer_in_each_sense():
    rows = [row("kriging+moasha", s, 40) for s in (0.8, 1.0)]
    rows += [row("random", 0.7, 60), row("random", 0.7, None)]
    rows += [row("optuna-tpe", 0.8, None), row("optuna-tpe", 0.8, None)]
    text = "\n".join(comparison(rows, "kriging+moasha"))
    assert "| p | optuna-tpe | 0.800 ± 0.000 | 0.900 ± 0.100 | +0.100 ± 0.100 |" in text
    assert "| random | > 80 ± 20 | 40 ± 0 | 2.00 | at 50 epochs, 2.00 times sooner |" in text
    table = "\n".join(problem_tables(rows))
    assert (
        "| random | 2 | 0.000 ± 0.000 | 0.700 ± 0.000 | 0.700 ± 0.000 | > 80 ± 20 | 1/2 |" in table
    )


def test_rows_are_kept_and_not_run_again(tmp_path):
    record = tmp_path / "rows.json"
    words = [
        "--problems",
        "flat-mild",
        "--methods",
        "random",
        "--seeds",
        "2",
        "--budget",
        "8",
        "--json",
        str(record),
    ]
    first = CliRunner().invoke(search_quality.main, words)
    assert first.exit_code == 0 and "| random | 2 |" in first.output
    rows = [json.loads(line) for line in record.read_text().splitlines()]
    assert [r["seed"] for r in rows] == [0, 1]
    record.write_text("".join(json.dumps({**r, "share": 0.123}) + "\n" for r in rows))
    assert CliRunner().invoke(search_quality.main, words).exit_code == 0
    assert {json.loads(line)["share"] for line in record.read_text().splitlines()} == {0.123}


def test_a_peer_that_is_not_there_is_left_out_and_a_line_cut_off_is_run_again(
    tmp_path, monkeypatch
):
    def absent(*_):
        raise ModuleNotFoundError("No module named 'syne_tune'")

    record = tmp_path / "rows.json"
    monkeypatch.setitem(PEERS, "syne-moasha", absent)
    words = [
        "--problems",
        "flat-mild",
        "--methods",
        "syne-moasha,random",
        "--seeds",
        "1",
        "--budget",
        "8",
        "--json",
        str(record),
    ]
    done = CliRunner().invoke(search_quality.main, words)
    assert done.exit_code == 0 and "| random | 1 |" in done.output
    assert "syne-moasha is left out: No module named 'syne_tune'" in done.output
    whole = record.read_text()
    record.write_text(whole + '{"problem": "fl')
    assert CliRunner().invoke(search_quality.main, words).exit_code == 0
    assert record.read_text() == whole
    shown = CliRunner().invoke(search_quality.main, [*words, "--show"])
    assert "| random | 1 |" in shown.output and "left out" not in shown.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--problems", "flat-harf"], "did you mean 'flat-hard'?"),
        (["--methods", "kriging+mosha"], "did you mean 'kriging+moasha'?"),
        (["--csv", "nowhere.csv"], "nowhere.csv"),
        (["--curves", "nowhere"], "nowhere holds neither"),
    ],
)
def test_a_mistake_is_said_with_status_2(words, said):
    done = CliRunner().invoke(search_quality.main, words)
    assert done.exit_code == 2 and said in done.output.replace("\n", " ")
