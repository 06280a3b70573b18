"""Finals of a search whose true values are known, with noise from the seed."""

import base64
import csv
import io
import math
import random
import signal
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from cluster_in_process import connect_in_process
from formula_runs import KNOBS, Formula, no_recipe, score, trained_epochs
from rich.console import Console
from synthetic_studies import build

from search.backends import serial
from search.finals.reseeding_study import (
    _difference_sd,
    choose_finalists,
    default_trainings,
    make_reseeding_study,
)
from search.finals.standings import compute_standings
from search.finals.verdict import reach_verdict
from search.interrupt import Interrupt, Interrupted
from search.outcome.front import find_front, find_untold
from search.record.ledger import Ledger, read
from search.record.trial import Trial
from search.record.trial_result import ResultDetails, TrialResult
from search.record.view import View
from search.reporting.csv_tables import write_tables
from search.reporting.finals_csv import finalist_rows
from search.reporting.finals_plots import finals_front
from search.reporting.finals_remarks import describe_finals
from search.reporting.finals_terminal import FinalsLog
from search.reporting.fitted_table import print_fitted
from search.reporting.front_table import front_table
from search.reporting.html_report import write_html_report
from search.reporting.terminal import LiveProgress, print_text
from search.study import Study
from spaces import Params, Space

NOISE = (0.01, 2.0)
POINTS: tuple[Params, ...] = tuple(
    {"x": x, "waste": w, "kind": "plain"} for x in (0.2, 0.5, 0.8) for w in (0.001, 0.01, 0.3)
)
LINE = Space("which points of three lines are on the front?", KNOBS, no_recipe, POINTS)


@dataclass(frozen=True)
class Lottery(Formula):
    """A formula plus normal noise from the seed, without per-image tables."""

    noise: tuple[float, float] = NOISE

    def __call__(self, params, seed, folder):
        for values in super().__call__(params, seed, folder):
            yield replace(values, result=values.result and self.drawn(params, seed))

    def drawn(self, params, seed):
        rng, (first, second) = random.Random(seed), score(params).point
        first = max(0.1, first)  # no accuracy is below 0, noise included
        point = first + rng.gauss(0, self.noise[0]), second + rng.gauss(0, self.noise[1])
        names = ("natural_accuracy", "attacked_score")
        return TrialResult(
            dict(zip(names, point, strict=True)),
            {n: (v - 2 * s, v + 2 * s) for n, v, s in zip(names, point, self.noise, strict=True)},
            ResultDetails(battery="one", validation=dict(zip(names, point, strict=True))),
        )


HEAD: dict[str, Any] = {"battery": "one", "images": 50, "attacks": "Strong attacks"}


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "ledger.jsonl")
    head = {"name": "n", "space": "s", "seed": 0, "knobs": LINE.describe(), "battery": [{}] * 6}
    opened.append("study", format=1, **head)
    yield opened
    opened.close()


def searched(ledger, run=None, seed=0):
    serial.search(Study(LINE, ledger, trials=9, seed=seed), run or Lottery(2), Interrupt())


def finals(ledger, trainings, run=None, stop=None, **head):
    study = make_reseeding_study(LINE, ledger, trainings, **{**HEAD, **head})
    assert study is not None
    serial.search(study, run or Lottery(2), stop or Interrupt())
    return study


def test_the_candidates_are_those_that_nothing_clearly_beats(ledger):
    searched(ledger)
    numbers = choose_finalists(ledger.view, 15)
    wasteful = {t.number for t in ledger.view.trials.values() if t.params["waste"] == 0.3}
    assert wasteful and not wasteful & set(numbers)
    assert set(numbers) >= {t.number for t in ledger.view.front()}
    assert [len(choose_finalists(ledger.view, n)) for n in (1, 3, 8)] == [1, 1, 4]  # twice each


def test_in_small_finals_each_reported_net_was_trained_twice(ledger):
    searched(ledger)
    finals(ledger, 8)
    field = compute_standings(ledger.view)
    assert [len(f.runs) for f in field if f.runs] == [2] * 4
    assert any(f.on_front for f in field) and all(f.runs for f in field if f.on_front)
    untold = [f for f in field if not f.runs]
    assert all(f.p_front >= 0.25 and f.known for f in untold)


def packed(ok):
    """Return a table in the form of `adv.Score.to_dict`; `ok` is [1 + attacks, images]."""
    bits = base64.b64encode(np.packbits(ok).tobytes()).decode()
    return {"names": ["a"] * (len(ok) - 1), "images": ok.shape[1], "ok": bits}


def test_noise_is_that_of_pairs_of_images():
    """Compared with a loop over pairs; one more differing image is the lower bound."""
    rng = np.random.default_rng(0)
    tables = rng.random((5, 3, 40)) < 0.6
    tables[4] = tables[3]
    done = []
    for number, ok in enumerate(tables):
        point = {"natural_accuracy": ok[0].mean(), "attacked_score": 100 * ok[1:].mean(1).sum()}
        made = TrialResult(point, {}, ResultDetails(table=packed(ok)))
        done.append(Trial(number, {}, number, "known", "finished", result=made))
    found = _difference_sd(done)
    each = np.stack([tables[:, 0], 100.0 * tables[:, 1:].sum(1)], 1)
    for i in range(5):
        for j in range(5):
            spread = (each[i] - each[j]).std(axis=1) * np.sqrt(40)
            want = np.sqrt(spread**2 + np.array([1.0, 100.0]) ** 2) / 40
            assert found[i, j] == pytest.approx(want)
    assert found[3, 4] == pytest.approx([1 / 40, 100 / 40])


def test_very_many_trials_are_thinned_out_first(monkeypatch):
    rng, view = random.Random(0), View()
    for number in range(700):
        x, waste = rng.random(), rng.expovariate(4)
        point = {"natural_accuracy": x - waste, "attacked_score": 100 * (1 - x**2 - waste)}
        ends = {"natural_accuracy": 0.02, "attacked_score": 2.0}
        made = TrialResult(point, {n: (v - ends[n], v + ends[n]) for n, v in point.items()})
        view.trials[number] = Trial(number, {}, number, "known", "finished", result=made)
    thinned = choose_finalists(view, 10_000)
    monkeypatch.setattr("search.finals.reseeding_study.MAX_PAIRWISE", 10_000)
    assert sorted(thinned) == sorted(choose_finalists(view, 10_000)) and len(thinned) < 300


def test_the_baseline_is_a_finalist_however_far_behind_it_is(ledger):
    searched(ledger)
    worst = max(ledger.view.trials.values(), key=lambda trial: trial.params["waste"])
    before = choose_finalists(ledger.view, 6)
    assert worst.number not in before
    ledger.view.header = replace(ledger.view.header, baseline=dict(worst.params))
    assert choose_finalists(ledger.view, 6) == [*before[:2], worst.number]
    assert choose_finalists(ledger.view, 18)[-1] == worst.number


def test_a_baseline_above_a_bound_is_trained_again_and_is_not_on_the_front(ledger, monkeypatch):
    searched(ledger)
    best = choose_finalists(ledger.view, 6)[0]
    ledger.view.header = replace(ledger.view.header, baseline=dict(ledger.view.trials[best].params))
    monkeypatch.setattr(View, "feasible", lambda _, trial: trial.number != best)
    finals(ledger, 6)
    field = compute_standings(ledger.view)
    (baseline,) = [f for f in field if f.trial.number == best]
    assert baseline.runs and not baseline.on_front and baseline.p_front == 0
    assert any(f.on_front for f in field)
    found = reach_verdict(ledger.view)
    assert found and best not in {found.best, *found.tied}
    assert not found.trade or best not in {found.trade.ahead, found.trade.of}
    monkeypatch.setattr(View, "feasible", lambda _, trial: False)  # then the front is of all
    again = compute_standings(ledger.view, draws=999)
    assert next(f.p_front for f in again if f.trial.number == best) > 0.5


def test_no_mean_holds_the_training_that_chose_a_trial(ledger):
    searched(ledger)
    study = finals(ledger, 12)
    assert min(t.seed for t in study.view.trials.values()) > 1_000_000
    field = [f for f in compute_standings(ledger.view) if f.runs]
    assert len(field) >= 3
    for f in field:
        own = [Lottery().drawn(f.trial.params, run.seed).point for run in f.runs]
        assert f.mean == pytest.approx(tuple(np.mean(own, axis=0)))
        assert f.trial.result is not None and f.trial.result.point not in own
        assert f.worst is not None and f.worst.result is not None
        assert f.worst.result.point[1] == min(p[1] for p in own)
        assert f.validation_mean == pytest.approx(f.mean)
        for value, (low, high) in zip(f.mean, f.intervals, strict=True):
            assert low < value < high
    assert sum(len(f.runs) for f in field) == len(study.view.trials) <= 12
    assert ledger.view.trials.keys() == set(range(9))  # the search itself is as it was


def test_the_front_of_the_finals_is_the_true_one(ledger):
    """Waste of 0.01 costs as much as the noise: fresh seeds separate the two."""
    calm = Lottery(1, noise=(0.002, 0.2))
    searched(ledger, Lottery(1))
    finals(ledger, 24, calm)
    front = {f.trial.number for f in compute_standings(ledger.view) if f.on_front}
    assert {ledger.view.trials[n].params["waste"] for n in front} == {0.001}


def test_interrupted_it_goes_on_and_trains_nothing_twice(ledger, tmp_path):
    searched(ledger)
    stop = Interrupt()
    told: list[int] = []
    ledger.readers.append(
        lambda e, view: told.append(1) if e["event"] == "final" and len(told) < 6 else None
    )
    ledger.readers.append(lambda e, view: setattr(stop, "signal", signal.SIGINT * (len(told) == 6)))
    with pytest.raises(Interrupted):
        finals(ledger, 7, stop=stop)
    ledger.close()
    again = Ledger(tmp_path / "ledger.jsonl")
    assert again.view.finals is not None
    assert {t.state for t in again.view.finals.trials.values()} == {"finished", "running"}
    study = finals(again, 7)
    assert {t.state for t in study.view.trials.values()} == {"finished"}
    assert len(study.view.trials) <= 7
    for number in study.view.trials:
        assert trained_epochs(study.trial_folder(number)) == [1, 2]
    assert read(tmp_path / "ledger.jsonl").finals == again.view.finals
    again.close()


def test_what_fails_is_recorded_and_the_race_ends(ledger):
    searched(ledger)
    count = 6
    broken = dict.fromkeys(range(1000003, 1000003 + 3), "raise")
    study = finals(ledger, count, Lottery(2, mishaps=broken))
    assert len(study.view.in_state("failed")) == 3
    assert len(study.view.trials) <= count
    nobody = finals(ledger, 8, Lottery(2, mishaps=dict.fromkeys(range(2000000), "nan")))
    assert len(nobody.view.in_state("failed")) > 3


def test_more_trainings_later_add_to_the_same_means(ledger):
    searched(ledger)
    finals(ledger, 4)
    before = {f.trial.number: f.points for f in compute_standings(ledger.view) if f.runs}
    finals(ledger, 10)
    after = {f.trial.number: f.points for f in compute_standings(ledger.view)}
    assert all(after[n][: len(points)] == points for n, points in before.items())
    assert sum(map(len, after.values())) > sum(map(len, before.values()))


def test_two_strong_batteries_do_not_mix(ledger):
    searched(ledger)
    finals(ledger, 4)
    with pytest.raises(ValueError, match="--rescore"):
        finals(ledger, 4, battery="two")


def test_without_a_finished_trial_there_are_no_finals(ledger):
    assert make_reseeding_study(LINE, ledger, 4, **HEAD) is None
    assert compute_standings(ledger.view) == [] and ledger.view.finals is None
    assert [default_trainings(n) for n in (1, 4, 16, 48)] == [2, 2, 8, 16]


def test_a_scale_may_plan_its_final_trainings():
    assert [default_trainings(n, 10) for n in (1, 4, 16, 48)] == [2, 8, 10, 16]


def test_many_final_trainings_of_a_short_search_are_two_for_each_finalist():
    """Above 12 trainings that is so if there is one for two trials; no trial here is far behind."""
    for trials, counts in ((36, (6, 9, 11, 9, 12)), (24, (6, 6, 8, 9, 12))):
        view = build(trials, 0)
        assert tuple(len(choose_finalists(view, n)) for n in (12, 13, 16, 18, 24)) == counts


def test_seeds_go_where_the_front_is_in_doubt(ledger):
    """Two nearly equal points and one far along each axis: the seeds go to the equal ones."""
    points: tuple[Params, ...] = (
        {"x": 0.1, "waste": 0.001, "kind": "plain"},
        {"x": 0.5, "waste": 0.0205, "kind": "plain"},
        {"x": 0.5, "waste": 0.02, "kind": "plain"},
        {"x": 0.9, "waste": 0.001, "kind": "plain"},
    )
    space = Space("twins", KNOBS, no_recipe, points)
    serial.search(Study(space, ledger, trials=4, seed=0), Lottery(1), Interrupt())
    study = make_reseeding_study(space, ledger, 24, **HEAD)
    assert study is not None
    serial.search(study, Lottery(1), Interrupt())
    spent = Counter(int(t.origin) for t in study.view.trials.values())
    assert spent[0] == spent[3] == 2  # the least that each gets
    assert spent[1] + spent[2] >= 8


def test_terminal_tables_and_page_tell_it(ledger, tmp_path):
    searched(ledger)
    console = Console(width=200, file=io.StringIO(), record=True)
    ledger.readers.append(FinalsLog(console))
    finals(ledger, 8)
    field = [f for f in compute_standings(ledger.view) if f.runs]
    front = find_front(ledger.view)
    print_fitted(console, front_table(front.members, "", find_untold(ledger.view, front)))
    for line in describe_finals(ledger.view, field):
        console.print(line)
    said = " ".join(console.export_text().split())
    assert said.count("finished natural accuracy") == sum(len(f.runs) for f in field)
    assert "P(on the front)" in said and "P(front)" in said and "inner's curse" in said
    assert "excluding the run that selected the trial" in said
    write_tables(ledger.view, tmp_path)
    with (tmp_path / "finalists.csv").open() as file:
        rows = {int(row["trial"]): row for row in csv.DictReader(file)}
    for f in field:
        row = rows[f.trial.number]
        assert float(row["natural_accuracy"]) == f.mean[0]
        assert float(row["p_on_front"]) == pytest.approx(f.p_front, abs=1e-4)
        assert f.trial.result is not None
        assert float(row["search_attacked_score"]) == f.trial.result.point[1]
        assert row["on_front"] == str(f.on_front) and int(row["seeds"]) == len(f.runs)
    with (tmp_path / "finals.csv").open() as file:
        assert len(list(csv.DictReader(file))) == sum(len(f.runs) for f in field)
    write_html_report(ledger.view, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "id='figure-front'" in text and "id='figure-curse'" in text
    for f in field:
        assert f"<b>{100 * f.mean[0]:.1f}</b>" in text
    assert (
        "finalists' means with their intervals" in text
        and "<summary>What the search saw</summary>" in text
    )


def test_the_front_is_said_with_how_many_of_it_are_expected_to_be_right(ledger):
    searched(ledger)
    finals(ledger, 8)
    first, second, *rest = [f for f in compute_standings(ledger.view) if f.runs]
    rest = [replace(f, on_front=False) for f in rest]
    pair = [replace(f, p_front=p, on_front=True) for f, p in ((first, 0.7), (second, 0.4))]
    line = describe_finals(ledger.view, [*pair, *rest])[0]
    numbers = f"{first.trial.number}, {second.trial.number}"
    assert f"trials {numbers}: " in line and "1.1 of 2 are expected to be on it" in line


def test_a_trial_without_a_fresh_seed_can_be_reported_and_is_marked(ledger):
    """Three trials that cannot be told apart, and one training: all three are reported."""
    searched(ledger)
    finals(ledger, 1)
    field = [f for f in compute_standings(ledger.view) if f.known]
    guessed = [f for f in field if not f.runs]
    assert guessed and all(f.on_front and 0 < f.p_front <= 1 for f in guessed)
    for f in guessed:
        assert all(low < mean < high for mean, (low, high) in zip(f.mean, f.intervals, strict=True))
    lines = describe_finals(ledger.view, field)
    assert any("without a fresh seed: estimated" in line for line in lines)
    assert [row["seeds"] for row in finalist_rows(field) if row["on_front"]].count(0) == len(
        guessed
    )


def test_each_net_of_the_table_is_in_the_figure(ledger):
    searched(ledger)
    finals(ledger, 1)
    field = [f for f in compute_standings(ledger.view) if f.known]
    left = replace(next(f for f in field if not f.runs), on_front=False)
    field = [left if f.trial.number == left.trial.number else f for f in field]
    _, *means = finals_front(ledger.view, field).data
    shown = {number: trace.name for trace in means for number in trace.customdata}
    assert set(shown) == {f.trial.number for f in field}
    assert shown[left.trial.number] == "not reported, without a fresh seed"


def test_the_screen_shows_the_trainings_that_run(ledger):
    searched(ledger)
    study = make_reseeding_study(LINE, ledger, 8, **HEAD)
    assert study is not None
    study.suggest()
    console = Console(width=200, file=io.StringIO(), force_terminal=True, record=True)
    live = LiveProgress(console, 9, ledger.view)
    event = {"event": "final", "part": {"event": "started", "trial": 0}}
    live(event, ledger.view)
    console.print(live._draw())
    text = console.export_text()
    assert ", 1 running, " in text and "final 0 (of " in text and "starting" in text


def test_a_sentence_is_folded_on_a_screen_only():
    for terminal, lines in ((True, ["honest", "numbers"]), (False, ["honest numbers"])):
        file = io.StringIO()
        console = Console(width=10, file=file, force_terminal=terminal, color_system=None)
        print_text(console, "honest numbers")
        assert [line.rstrip() for line in file.getvalue().splitlines()] == lines


def test_finals_that_have_not_begun_have_a_page(ledger, tmp_path):
    searched(ledger)
    make_reseeding_study(LINE, ledger, 4, **HEAD)
    write_html_report(ledger.view, tmp_path / "report.html")
    assert "No finalist has been trained again yet." in (tmp_path / "report.html").read_text()
    write_tables(ledger.view, tmp_path)
    assert all(math.isnan(f.p_front) for f in compute_standings(ledger.view))


@pytest.fixture(scope="module")
def ray_search(project_root):
    from search.backends import ray_tune

    with connect_in_process(project_root):
        yield lambda study, run: ray_tune.search(
            study, run, Interrupt(), ray_tune.Resources(concurrent=2)
        )


@pytest.mark.slow
def test_on_ray_it_is_the_same_race(ray_search, ledger):
    searched(ledger)
    study = make_reseeding_study(LINE, ledger, 7, **HEAD)
    assert study is not None
    study.trial_folder(0).parent.mkdir(parents=True)
    ray_search(study, Lottery(2))
    assert {t.state for t in study.view.trials.values()} == {"finished"}
    for number, run in study.view.trials.items():
        assert run.result is not None
        assert run.result.point == pytest.approx(Lottery().drawn(run.params, run.seed).point)
        assert trained_epochs(study.trial_folder(number)) == [1, 2]


@pytest.mark.slow
def test_pieces_of_work_are_spread_over_the_cluster(ray_search):
    from search.backends import ray_tune
    from search.backends.ray_tasks import map_on_cluster

    def power(base, n):
        return base**n

    found = dict(map_on_cluster(power, 2, range(5), ray_tune.Resources(), Interrupt()))
    assert found == {n: 2**n for n in range(5)}
    with pytest.raises(Interrupted):
        list(map_on_cluster(power, 2, range(5), ray_tune.Resources(), Interrupt(seconds=-1)))
