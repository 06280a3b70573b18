"""The copy of a search in an Optuna storage holds what the ledger says."""

import json
from wsgiref.util import setup_testing_defaults

import optuna
import pytest
from formula_runs import SPACE, Formula
from optuna.trial import TrialState

from search.backends import serial
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.stopping.table import make_stopper
from search.study import Study
from search.tracking.optuna_storage import OptunaCopy, open_storage
from search.tracking.tracker import study_id
from spaces import OBJECTIVES


@pytest.fixture(params=["sqlite:///{}/copy.db", "{}/journal.log"])
def storage(request, tmp_path):
    return open_storage(request.param.format(tmp_path))


def search(folder, storage, trials):
    ledger = Ledger(folder / "ledger.jsonl")
    stopper = make_stopper("moasha", seed=0)
    study = Study(SPACE, ledger, trials=trials, seed=0, stopper=stopper)
    ledger.readers.append(OptunaCopy(storage, ledger.view.header, SPACE))
    serial.search(study, Formula(4), Interrupt())
    ledger.close()
    return ledger.view


def read_copy(storage, view):
    return optuna.load_study(study_name=study_id(view.header), storage=storage)


def test_each_trial_that_ended_is_there_after_a_resume_too(storage, tmp_path):
    search(tmp_path, storage, 6)
    view = search(tmp_path, storage, 12)
    copy = read_copy(storage, view)
    assert copy.metric_names == list(OBJECTIVES)
    found = {trial.user_attrs["trial"]: trial for trial in copy.trials}
    assert sorted(found) == sorted(view.trials) and len(copy.trials) == len(found) == 12
    for number, trial in view.trials.items():
        assert found[number].params == trial.params
        assert found[number].user_attrs["seed"] == trial.seed
        assert found[number].datetime_complete.timestamp() == pytest.approx(trial.ended)
        if trial.result:
            assert tuple(found[number].values) == trial.result.point
        else:
            assert found[number].state in (TrialState.PRUNED, TrialState.FAIL)
    front = {trial.user_attrs["trial"] for trial in copy.best_trials}
    assert front == {trial.number for trial in view.front()}


def test_the_dashboard_shows_it(storage, tmp_path):
    dashboard = pytest.importorskip("optuna_dashboard")
    view = search(tmp_path, storage, 6)
    app, (study,) = dashboard.wsgi(storage), storage.get_all_studies()

    def ask(path, query=""):
        environ = {"PATH_INFO": path, "QUERY_STRING": query, "REQUEST_METHOD": "GET"}
        setup_testing_defaults(environ)
        return json.loads(b"".join(app(environ, lambda *_: None)))

    (summary,) = ask("/api/studies")["study_summaries"]
    assert summary["study_name"] == study_id(view.header)
    shown = ask(f"/api/studies/{study._study_id}", "after=0")
    assert shown["objective_names"] == list(OBJECTIVES)
    assert {tuple(trial["values"]) for trial in shown["trials"] if "values" in trial} == {
        trial.result.point for trial in view.scored()
    }


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("nosuchdb://somewhere", "nosuchdb"),
        ("sqlite:////nowhere/at/all.db", "unable to open"),
        ("postgresql://me:secret@host/db", "***"),
        ("/dev/null/journal.log", "File exists"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line(place, reason):
    with pytest.raises(ValueError, match="--optuna-storage") as error:
        open_storage(place)
    assert reason in str(error.value) and "\n" not in str(error.value)
    assert "secret" not in str(error.value)
