"""Trials that are started again and again to no end: which are poison, and which have bad luck."""

import pytest
from formula_runs import SPACE, score

from search.record.ledger import Ledger
from search.record.trial import EpochReport
from search.record.work_mark import MARK
from search.study import Study


@pytest.fixture
def die_and_resume(tmp_path):
    """Return a function that opens the study as a new driver does; the one before is dead."""
    held: list[Ledger] = []

    def begin(trials: int = 1) -> Study:
        for ledger in held:
            ledger.close()
        held[:] = [Ledger(tmp_path / "ledger.jsonl")]
        held[0].append("session", trials=trials)
        return Study(SPACE, held[0], trials=trials, seed=0)

    yield begin
    for ledger in held:
        ledger.close()


def crash(study: Study, number: int = 0) -> None:
    """Leave behind what a crash of the whole machine leaves while a trial runs."""
    folder = study.trial_folder(number)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()


def epoch(number: int) -> EpochReport:
    return EpochReport(number, 9, 0.1, {"loss": 1.0})


def test_a_trial_that_kills_three_drivers_is_failed_and_the_search_goes_on(die_and_resume):
    for _ in range(3):
        study = die_and_resume(2)
        trial = study.suggest()
        assert trial is not None and trial.number == 0
        crash(study)
    study = die_and_resume(2)
    following = study.suggest()
    assert following is not None and following.number == 1
    poison = study.view.trials[0]
    assert poison.state == "failed"
    assert poison.reason == (
        "started 3 times without an end or a new epoch: the search died each time"
    )


def test_a_trial_that_was_alive_when_the_driver_died_has_not_ended_it(die_and_resume):
    for _ in range(10):
        study = die_and_resume()
        assert study.suggest() is not None
    assert study.view.trials[0].state == "running"
    for _ in range(2):
        crash(study)
        study = die_and_resume()
        assert study.suggest() is not None
    crash(study)
    assert die_and_resume().suggest() is None


def test_a_mark_counts_once(die_and_resume):
    study = die_and_resume()
    study.suggest()
    crash(study)
    for _ in range(5):
        study = die_and_resume()
        assert study.suggest() is not None
    assert study.view.trials[0].starts == 2


def test_a_new_epoch_each_time_is_progress(die_and_resume):
    for number in range(1, 9):
        study = die_and_resume()
        assert study.suggest() is not None
        for earlier in range(1, number + 1):
            assert study.update(0, epoch(earlier))
    assert study.view.trials[0].state == "running"


def test_epochs_that_are_only_told_again_are_none(die_and_resume):
    study = die_and_resume()
    study.suggest()
    study.update(0, epoch(1))
    for _ in range(3):
        study = die_and_resume()
        assert study.suggest() is not None
        study.update(0, epoch(1))
        crash(study)
    assert die_and_resume().suggest() is None


def test_a_session_that_ends_in_order_was_ended_by_no_trial(die_and_resume):
    for _ in range(5):
        study = die_and_resume()
        assert study.suggest() is not None
        study.ledger.append("end", reason="interrupted", code=130)
    assert study.view.trials[0].starts == 0


def test_three_workers_that_die_fail_a_trial_unless_there_was_a_new_epoch(die_and_resume):
    study = die_and_resume()
    study.suggest()
    for number in (1, 2, 3):
        assert study.lose_worker(0, "signal SIGSEGV")
        study.start(0)
        study.update(0, epoch(number))
    assert study.lose_worker(0, "signal SIGSEGV")
    assert study.lose_worker(0, "signal SIGSEGV")
    assert not study.lose_worker(0, "exit status 1")
    assert study.view.trials[0].reason == "its worker died 3 times: exit status 1"


def test_deaths_of_workers_and_of_drivers_are_counted_together(die_and_resume):
    for _ in range(2):
        study = die_and_resume()
        study.suggest()
        crash(study)
    study = die_and_resume()
    study.suggest()
    assert not study.lose_worker(0, "exit status 1")
    assert study.view.trials[0].reason == (
        "started 3 times without an end or a new epoch; at last its worker died: exit status 1"
    )


def test_a_trial_that_has_ended_is_not_started_again(die_and_resume):
    study = die_and_resume()
    study.suggest()
    study.update(0, EpochReport(9, 9, 0.1, {}, score(study.view.trials[0].params)))
    assert not study.lose_worker(0, "exit status 1")
    assert study.view.trials[0].state == "finished"
