import numpy as np
import optuna
import pytest
from formulas import KNOWN, SPACE, Formula, score

from search import serial
from search.bayes import optuna_trial
from search.ledger import Ledger, View, read
from search.pareto import hypervolume
from search.sampler import sampler
from search.stop import Stop
from search.study import Study


def play(folder, trials, *, mishaps=None, seed=0, start=None):
    """A whole search in this process, every event on disk."""
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl")
    ask = sampler("tpe", SPACE, seed=seed, start=start) if start else None
    study = Study(SPACE, ledger, trials=trials, seed=seed, sampler=ask)
    serial.search(study, Formula(1, mishaps=mishaps or {}), Stop())
    ledger.close()
    return ledger.view


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    return play(tmp_path_factory.mktemp("whole"), 24)


def test_known_points_then_sobol_then_the_estimator(view):
    origins = [t.origin for t in view.trials.values()]
    assert origins[:8] == ["known"] * 3 + ["sobol"] * 5
    assert set(origins[8:]) == {"tpe", "random"} and origins.count("tpe") > 10
    assert tuple(t.params for t in list(view.trials.values())[:3]) == KNOWN


def test_every_proposal_is_a_point_of_the_space(view):
    for trial in view.trials.values():
        SPACE.check(trial.params)
    assert {t.params["kind"] for t in view.trials.values()} == {"plain", "fancy"}


def test_sobol_spreads_over_the_knobs_and_into_their_conditions():
    points = []
    for number in range(64):
        view = View(trials=dict.fromkeys(range(number + 3)))
        params, origin = sampler("tpe", SPACE, seed=5, start=1000).propose(view)
        assert origin == "sobol"
        SPACE.check(params)
        points.append(params)
    eighths = np.histogram([p["x"] for p in points], bins=8, range=(0, 1))[0]
    assert (eighths == 8).all()  # what Sobol promises, and chance does not
    decades = np.histogram([np.log10(p["waste"]) for p in points], bins=3, range=(-3, 0))[0]
    assert decades.min() >= 18
    fancy = [p["depth"] for p in points if p["kind"] == "fancy"]
    assert len(fancy) == 32 and set(fancy) == {1, 2, 3, 4}


def test_a_proposal_depends_on_nothing_but_the_ledger(view, tmp_path):
    again = play(tmp_path / "again", 24)
    other = play(tmp_path / "other", 24, seed=1)
    assert params(again) == params(view) != params(other)


@pytest.mark.parametrize("cut", [2, 5, 9, 13])
def test_an_interrupted_search_proposes_what_a_whole_one_does(view, tmp_path, cut):
    play(tmp_path / "parts", cut, start=8)
    assert params(play(tmp_path / "parts", 24)) == params(view)
    assert params(read(tmp_path / "parts" / "ledger.jsonl")) == params(view)


def params(view):
    return [dict(t.params) for _, t in sorted(view.trials.items())]


def test_the_estimator_beats_chance(tmp_path):
    """Over five seeds, and by a margin: in the median, not in each."""
    ours, chance = [], []
    for seed in range(5):
        found = play(tmp_path / str(seed), 40, seed=seed, start=8)
        blind = play(tmp_path / f"blind {seed}", 40, seed=seed, start=1000)
        ours.append(area(t.params for t in list(found.trials.values())[8:]))
        chance.append(area(t.params for t in list(blind.trials.values())[8:]))
    assert np.median(ours) > np.median(chance) + 0.02


def area(points):
    scores = [score(p).point for p in points]
    return hypervolume([(c, a / 100) for c, a in scores], (-0.5, -0.5))


def test_optuna_sees_what_failed_as_failed_and_only_running_as_running(tmp_path):
    view = play(tmp_path / "run", 12, mishaps={4: "silent"})
    view.trials[5].state, view.trials[5].result = "stopped", None
    view.trials[6].state, view.trials[6].result = "running", None
    seen = [optuna_trial(SPACE, t).state for t in view.trials.values()]
    states = optuna.trial.TrialState
    assert seen[4:7] == [states.FAIL, states.FAIL, states.RUNNING]
    assert set(seen[:4] + seen[7:]) == {states.COMPLETE}


def test_points_that_still_run_are_not_proposed_again(tmp_path):
    play(tmp_path / "run", 12)
    ledger = Ledger(tmp_path / "run" / "ledger.jsonl")
    study = Study(SPACE, ledger, trials=20, seed=0)
    waiting = [study.suggest() for _ in range(8)]
    assert len({tuple(t.params.items()) for t in waiting}) == 8 and study.suggest() is None


def test_proposals_go_on_when_everything_has_failed(tmp_path):
    view = play(tmp_path / "run", 12, mishaps=dict.fromkeys(range(12), "silent"))
    assert {t.state for t in view.trials.values()} == {"failed"}
    assert len({tuple(p.items()) for p in params(view)}) == 12
