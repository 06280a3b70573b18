"""How long a trial may be silent: by the user's limit and by the rule."""

import pytest
from formula_runs import SPACE, score

from search.backends.trial_timeout import OFF, TrialTimeout, Watchdog
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.trial import EpochReport
from search.record.trial_result import ResultDetails, TrialResult
from search.study import Study

MINUTE, HOUR = 60.0, 3600.0


def make_study(trials: int = 3) -> Study:
    study = Study(SPACE, MemoryLedger(), trials=trials, seed=0)
    for _ in range(trials):
        assert study.suggest() is not None
    return study


def report(study: Study, number: int, epoch: int, seconds: float, scoring: float = -1.0) -> None:
    trial = study.view.trials[number]
    result = None
    if scoring >= 0:
        details = ResultDetails(evaluate_seconds=scoring)
        result = TrialResult(score(trial.params).objectives, {}, details)
    study.update(number, EpochReport(epoch, 3, seconds, {}, result))


def limit(study: Study, number: int, timeout: TrialTimeout) -> float:
    return timeout.limit(study, study.view.trials[number])[0]


def test_the_rule_follows_the_epochs_so_far():
    study, rule = make_study(), TrialTimeout()
    assert limit(study, 0, rule) == HOUR  # nothing is known
    report(study, 0, 1, 1.0)
    assert limit(study, 0, rule) == 5 * MINUTE
    assert limit(study, 1, rule) == HOUR  # its first epoch: it may be a far larger net
    report(study, 1, 1, 20 * MINUTE)
    assert limit(study, 1, rule) == 200 * MINUTE
    assert limit(study, 0, rule) == pytest.approx(100 * MINUTE, rel=0.01)  # the median of both
    assert limit(study, 2, rule) == 200 * MINUTE


def test_scoring_has_a_limit_of_its_own():
    study, rule = make_study(), TrialTimeout()
    for number in (0, 1):
        for epoch in (1, 2, 3):
            report(study, number, epoch, 1.0)
    assert limit(study, 1, rule) == HOUR
    report(study, 0, 3, 1.0, scoring=10 * MINUTE)
    assert limit(study, 1, rule) == 100 * MINUTE


def test_the_final_battery_takes_far_longer_than_the_search_one():
    study, rule = make_study(1), TrialTimeout()
    report(study, 0, 3, 1.0, scoring=MINUTE)
    study.ledger.append("finals", trials=[0], trainings=1, battery="x")
    assert isinstance(study.ledger, MemoryLedger)
    finals = Study(SPACE, FinalsLedger(study.ledger), trials=2, seed=0)
    params = study.view.trials[0].params
    for number in range(2):
        finals.ledger.append("proposed", trial=number, params=params, seed=number, origin="0")
    report(finals, 0, 1, 1.0)
    assert limit(finals, 0, rule) == 5 * MINUTE
    report(finals, 0, 3, 1.0)
    assert limit(finals, 0, rule) == 1000 * MINUTE
    report(finals, 0, 3, 1.0, scoring=30 * MINUTE)
    report(finals, 1, 3, 1.0)
    assert limit(finals, 1, rule) == 300 * MINUTE


def test_the_user_may_set_or_remove_the_limit():
    study = make_study(1)
    assert limit(study, 0, TrialTimeout(7.0)) == 7.0
    assert limit(study, 0, TrialTimeout(OFF)) == float("inf")


def test_silence_counts_from_the_last_report_and_only_while_the_driver_runs(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("search.backends.trial_timeout.time.monotonic", lambda: now[0])
    watchdog = Watchdog(make_study(2), TrialTimeout(10.0))
    watchdog.hear(0)
    now[0] += HOUR  # the driver was suspended
    assert watchdog.find_silent() == {}
    for _ in range(3):
        now[0] += 2.0
        watchdog.hear(1)
        found = watchdog.find_silent()
    assert [*found] == [0]
    assert (
        found[0]
        == "silent for more than 10 s (set by --trial-timeout); --trial-timeout allows more"
    )
    watchdog.forget(0)
    assert watchdog.find_silent() == {}


def test_without_a_limit_nothing_is_silent_for_too_long(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("search.backends.trial_timeout.time.monotonic", lambda: now[0])
    watchdog = Watchdog(make_study(1), TrialTimeout(OFF))
    watchdog.hear(0)
    for _ in range(1000):
        now[0] += 5.0
        assert watchdog.find_silent() == {}
