"""How long a trial may be silent: by the user's limit and by the rule."""

import pytest
from formula_runs import SPACE

from adv import WRN, BaseNet, Recipe, size_of
from search.backends.trial_timeout import OFF, TrialTimeout, Watchdog
from search.record.derived_ledgers import FinalsLedger, MemoryLedger
from search.record.trial import EpochReport
from search.record.trial_result import ResultDetails, TrialResult
from search.study import Study
from spaces import Choice, Space

NETS = {"small": BaseNet(), "large": WRN(16, 4)}
MINUTE, HOUR = 60.0, 3600.0


def build(net: str) -> Recipe:
    return Recipe(net=NETS[net])


BY_SIZE = Space("which net?", {"net": Choice(("small", "large"))}, build, ({"net": "small"},))
RATIO = size_of(NETS["large"], 2).multiply_adds / size_of(NETS["small"], 2).multiply_adds


def make_study(trials: int = 3, nets: str = "small small small") -> Study:
    """Return a search with trials of these nets."""
    study = Study(BY_SIZE, MemoryLedger(), trials=trials, seed=0)
    for number, net in enumerate(nets.split()[:trials]):
        study.ledger.append(
            "proposed", trial=number, params={"net": net}, seed=number, origin="known"
        )
    return study


def report(study: Study, number: int, epoch: int, seconds: float, scoring: float = -1.0) -> None:
    result = None
    if scoring >= 0:
        details = ResultDetails(evaluate_seconds=scoring)
        values = {"natural_accuracy": 0.5, "attacked_score": 100.0}
        result = TrialResult(values, {}, details)
    study.update(number, EpochReport(epoch, 3, seconds, {}, result))


def limit(study: Study, number: int, timeout: TrialTimeout) -> float:
    return timeout.limit(study, study.view.trials[number])[0]


def test_the_rule_follows_the_epochs_so_far():
    study, rule = make_study(), TrialTimeout()
    assert limit(study, 0, rule) == HOUR  # nothing is known
    report(study, 0, 1, 1.0)
    assert limit(study, 0, rule) == 5 * MINUTE
    assert limit(study, 1, rule) == 5 * MINUTE
    report(study, 1, 1, 20 * MINUTE)
    assert limit(study, 1, rule) == 200 * MINUTE
    assert limit(study, 0, rule) == pytest.approx(100 * MINUTE, rel=0.01)  # the median of both
    assert limit(study, 2, rule) == 200 * MINUTE


def test_a_larger_net_has_more_time_until_it_has_an_epoch_of_its_own():
    study, rule = make_study(3, "small large small"), TrialTimeout()
    report(study, 0, 1, 30.0)
    assert RATIO > 100
    assert limit(study, 1, rule) == pytest.approx(RATIO * 300)
    report(study, 1, 1, 10 * MINUTE)
    assert limit(study, 1, rule) == 100 * MINUTE
    assert limit(study, 2, rule) == 100 * MINUTE  # a smaller one need not be faster


def test_where_no_net_tells_the_cost_the_limit_is_an_hour():
    study, rule = Study(SPACE, MemoryLedger(), trials=2, seed=0), TrialTimeout()
    assert study.suggest() and study.suggest()
    report(study, 0, 1, 1.0)
    assert limit(study, 0, rule) == 5 * MINUTE
    assert limit(study, 1, rule) == HOUR


def test_scoring_has_a_limit_of_its_own():
    study, rule = make_study(3, "small small large"), TrialTimeout()
    for number in range(3):
        for epoch in (1, 2, 3):
            report(study, number, epoch, 1.0)
    assert limit(study, 1, rule) == HOUR
    report(study, 0, 3, 1.0, scoring=10 * MINUTE)
    assert limit(study, 1, rule) == 400 * MINUTE
    assert limit(study, 2, rule) == pytest.approx(RATIO * 400 * MINUTE)


def test_the_final_battery_takes_far_longer_than_the_search_one():
    study, rule = make_study(1), TrialTimeout()
    report(study, 0, 3, 1.0, scoring=MINUTE)
    study.ledger.append("finals", trials=[0], trainings=1, battery="x")
    assert isinstance(study.ledger, MemoryLedger)
    finals = Study(BY_SIZE, FinalsLedger(study.ledger), trials=2, seed=0)
    params = study.view.trials[0].params
    for number in range(2):
        finals.ledger.append("proposed", trial=number, params=params, seed=number, origin="0")
    report(finals, 0, 1, 1.0)
    assert limit(finals, 0, rule) == 5 * MINUTE
    report(finals, 0, 3, 1.0)
    assert limit(finals, 0, rule) == 1000 * MINUTE
    report(finals, 0, 3, 1.0, scoring=30 * MINUTE)
    report(finals, 1, 3, 1.0)
    assert limit(finals, 1, rule) == 1200 * MINUTE


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
