"""Finished trials without a result under the present battery: every reader copes with them."""

from __future__ import annotations

import csv
import io

import pytest
from formula_runs import SPACE, Formula, propose
from rich.console import Console
from synthetic_studies import build, final_events

from search.backends import serial
from search.finals.reseeding_study import choose_finalists, make_reseeding_study
from search.finals.standings import compute_standings
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.study_header import StudyHeader
from search.record.view import View
from search.replay.ledger_records import benchmark_from_view
from search.replay.recorded_trials import BenchmarkError
from search.reporting.csv_tables import hypervolumes, write_tables
from search.reporting.html_report import write_html_report
from search.reporting.importance import importance
from search.reporting.plots import front
from search.reporting.terminal import LiveProgress
from search.samplers.table import SAMPLERS, make_sampler
from search.samplers.warm_start import warm_start
from search.session.run_remarks import describe_infeasible, describe_nets
from search.stopping.audit import audit_stopping, describe_stopping
from search.study import Study
from search.tracking.tracker import Tracker
from spaces import Float, Space

SHARES = {"one": lambda n: n == 0, "most": lambda n: n % 4 > 0, "all": lambda n: True}


def rebuild(view: View, unscored, battery: str = "new", time: float = 1_700_000_900.0) -> None:
    """Replace the results of a study, as a re-scoring without some of its nets does."""
    missing = {}
    for trial in view.in_state("finished"):
        if unscored(trial.number):
            missing[str(trial.number)] = "not scored under this battery: no weights"
            continue
        result = trial.result or trial.earlier
        assert result is not None
        event = {"event": "rescored", "time": time, "trial": trial.number, "battery": battery}
        view.apply({**event, **result.to_json()})
    plain = {"battery": battery, "header": {}, "missing": missing}
    view.apply({"event": "rebuilt", "time": time, **plain})


@pytest.fixture(params=SHARES)
def view(request) -> View:
    """A study whose first, most or all finished trials have no result; finals included."""
    made = build()
    for event in final_events():
        made.apply(event)
    rebuild(made, SHARES[request.param])
    assert made.finals is not None
    rebuild(made.finals, SHARES[request.param], "b1")
    return made


def formula_ledger(unscored) -> MemoryLedger:
    """A search of twelve trials of a formula, some of which have lost their results."""
    ledger = MemoryLedger()
    study = Study(SPACE, ledger, trials=12, seed=0, sampler=qmc())
    ledger.append("study", format=1, knobs=SPACE.describe(), trials=12)
    serial.search(study, Formula(3, rung=2), Interrupt())
    rebuild(ledger.view, unscored, time=2e9)
    return ledger


def qmc():
    return make_sampler("qmc", SPACE, seed=0, start=12)


def test_a_finished_trial_stays_finished(view):
    finished = build().in_state("finished")
    assert [t.number for t in view.in_state("finished")] == [t.number for t in finished]
    assert len(view.in_state("failed")) == 3
    for trial in view.in_state("finished"):
        assert (trial.result is None) == bool(trial.reason) and trial.earlier
        assert trial.seconds > 0
    assert all(trial.result for trial in view.front())


def test_the_outputs_say_why(view, tmp_path):
    write_tables(view, tmp_path)
    with (tmp_path / "trials.csv").open() as file:
        rows = {int(row["trial"]): row for row in csv.DictReader(file)}
    unscored = [t.number for t in view.in_state("finished") if not t.result]
    for number in unscored:
        row = rows[number]
        assert (row["state"], row["natural_accuracy"]) == ("finished", "")
        assert row["reason"] == "not scored under this battery: no weights"
    write_html_report(view, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert page.count("not scored under this battery") >= len(unscored)
    (line,) = describe_nets(view)
    assert f"trial {unscored[0]}" in line and "--rescore" in line
    points = sum(len(trace.x) for trace in front(view).data if trace.mode != "lines")
    assert points == len(view.scored()) == len(hypervolumes(view))


def test_the_statistics_are_of_those_with_a_result(view):
    importance(view)
    describe_infeasible(view)
    describe_stopping(view)
    assert audit_stopping(view).regret >= 0
    numbers = {t.number for t in view.scored()}
    assert set(choose_finalists(view, 6)) <= numbers
    for finalist in compute_standings(view):
        assert len(finalist.runs) == len(finalist.points)


def test_the_terminal_and_wandb_take_every_event(view, tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True)
    live = LiveProgress(console, 16, view, 3)
    tracker = Tracker(tmp_path, view.header, "off", "project", None, say=print)
    for event in (
        {"event": "rebuilt", "time": 0.0},
        {"event": "net", "time": 0.0, "trial": 0, "lost": "gone"},
        {"event": "finished", "time": 0.0, "trial": view.in_state("finished")[0].number},
    ):
        live(event, view)
        tracker(event, view)
    tracker.close()


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_proposes(name, share):
    space = SPACE if name != "gp" else Space("flat", {"x": Float(0.0, 1.0)}, SPACE.build)
    view = formula_ledger(SHARES[share]).view
    if name == "gp":
        for trial in view.trials.values():
            trial.params = {"x": trial.params["x"]}
    params, _ = propose(make_sampler(name, space, seed=1, start=4), view)
    assert space.holds(params)


def test_a_kept_sampler_learns_that_results_have_gone_and_come_back():
    ledger = formula_ledger(SHARES["one"])
    kept, view = make_sampler("tpe", SPACE, seed=1, start=2), ledger.view
    for unscored in (SHARES["one"], SHARES["most"], lambda n: False, SHARES["all"]):
        rebuild(view, unscored, str(unscored), time=2e9)
        assert propose(kept, view) == propose(make_sampler("tpe", SPACE, seed=1, start=2), view)


@pytest.mark.parametrize("share", SHARES)
def test_a_search_goes_on_without_training_them_again(share):
    ledger = formula_ledger(SHARES[share])
    trained = []

    def run(params, seed, folder):
        trained.append(seed)
        return Formula(3)(params, seed, folder)

    serial.search(Study(SPACE, ledger, trials=14, seed=0, sampler=qmc()), run, Interrupt())
    assert trained == [12, 13]
    finals = make_reseeding_study(SPACE, ledger, 3, battery="b", images=8, attacks="a")
    assert finals is not None  # the new trials have results
    assert set(ledger.view.finals_header.trials) <= {t.number for t in ledger.view.scored()}
    serial.search(finals, Formula(3), Interrupt())


def test_replay_and_warm_start_take_those_with_a_result(tmp_path):
    view = formula_ledger(SHARES["one"]).view
    assert len(benchmark_from_view("some", view).records) == 11
    with pytest.raises(BenchmarkError, match="has 0 finished trials"):
        benchmark_from_view("none", formula_ledger(SHARES["all"]).view)
    assert warm_start([], SPACE, StudyHeader(), 3).points == []


def test_a_ledger_of_an_earlier_version_is_read_the_same_way():
    """It failed such trials, and named none of them at the next re-scoring."""
    view = build()
    known = {t.number: t.result.to_json() for t in view.scored() if t.result}
    lost, *others = known
    for battery, missing in (("one", {str(lost): "not re-scored: no weights at x"}), ("two", {})):
        for number in others:
            event = {"event": "rescored", "time": 1.7e9, "trial": number, "battery": battery}
            view.apply({**event, **known[number]})
        plain = {"battery": battery, "header": {}, "missing": missing}
        view.apply({"event": "rebuilt", "time": 1.7e9, **plain})
    trial = view.trials[lost]
    assert (trial.state, trial.result) == ("finished", None)
    assert trial.reason == "not re-scored: no weights at x"
    assert trial.earlier and trial.earlier.to_json() == known[lost]
