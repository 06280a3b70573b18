from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.interrupt import Interrupt
from search.record.derived_ledgers import MemoryLedger
from search.record.trial import EpochReport, Rung, Trial
from search.record.trial_result import TrialResult
from search.replay.simulator import StudyMethod, make_simulated_study, simulate
from search.samplers.table import make_sampler
from search.stopping.moasha import MOASHA
from search.study import Study

END = TrialResult({"natural_accuracy": 0.5, "attacked_score": 50.0})


@dataclass
class Script:
    """A method that starts trials and stops some of them after a given epoch."""

    stops: dict[int, int] = field(default_factory=dict)
    many: int = 10**6
    told: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0

    def ask(self):
        if self.asked == self.many:
            return None
        self.asked += 1
        return Trial(self.asked - 1, {}, self.asked - 1, "script")

    def tell(self, number, values):
        self.told.append((number, values.epoch))
        return values.result is None and self.stops.get(number) != values.epoch


def steady(params, seed, folder) -> Iterator[EpochReport]:
    """Yield three epochs; those of trial 0 take twice as long."""
    for epoch in (1, 2, 3):
        yield EpochReport(epoch, 3, 2.0 if seed == 0 else 1.0, {}, END if epoch == 3 else None)


def test_epochs_come_in_the_order_of_the_clock_and_a_free_worker_starts_the_next_trial():
    script = Script(many=3)
    history = simulate(script, steady, workers=2, budget=100)
    assert script.told == [(1, 1), (0, 1), (1, 2), (1, 3), (0, 2), (2, 1), (2, 2), (0, 3), (2, 3)]
    assert [(f.number, f.clock, f.spent) for f in history.finished] == [
        (1, 3.0, 4),
        (0, 6.0, 8),
        (2, 6.0, 9),
    ]
    assert (history.started, history.stopped, history.spent, history.clock) == (3, 0, 9, 6.0)


def test_a_stopped_trial_frees_its_worker_and_its_epochs_count():
    script = Script(stops={0: 1, 1: 2}, many=3)
    history = simulate(script, steady, workers=1, budget=100)
    assert script.told == [(0, 1), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]
    assert (history.stopped, history.spent, len(history.finished)) == (2, 6, 1)


@pytest.mark.parametrize("budget", [1, 7, 24])
def test_the_budget_counts_the_epochs_of_all_trials(budget):
    assert simulate(Script(), steady, workers=4, budget=budget).spent == budget


@pytest.mark.parametrize(("workers", "budget"), [(0, 5), (2, 0)])
def test_no_worker_and_no_epoch_are_refused(workers, budget):
    with pytest.raises(ValueError, match="at least one"):
        simulate(Script(), steady, workers=workers, budget=budget)


def test_with_one_worker_it_proposes_what_a_serial_search_does(tmp_path):
    run = Formula(2)
    real = Study(
        SPACE,
        MemoryLedger(),
        trials=12,
        seed=3,
        sampler=make_sampler("tpe", SPACE, seed=3, start=6),
    )
    real.ledger.path = tmp_path / "ledger.jsonl"
    serial.search(real, run, Interrupt())
    simulated = make_simulated_study(
        SPACE, trials=12, seed=3, sampler=make_sampler("tpe", SPACE, seed=3, start=6)
    )

    def rerun(params, seed, folder):
        return run(params, seed, tmp_path / "again" / str(seed))

    history = simulate(StudyMethod(simulated), rerun, workers=1, budget=1000)
    assert [t.params for t in simulated.view.trials.values()] == [
        t.params for t in real.view.trials.values()
    ]
    assert len(history.finished) == 12


def test_a_real_stopper_stops_what_is_worse_beyond_noise():
    def run(params, seed, folder: Path):
        worth = float(seed % 2)
        for epoch in (1, 2, 3):
            objectives = {"natural_accuracy": worth, "attacked_score": 100 * worth}
            rung = Rung(epoch, 1.0, objectives, {}) if epoch == 1 else None
            yield EpochReport(
                epoch, 3, 1.0, {}, TrialResult(objectives) if epoch == 3 else None, rung
            )

    study = make_simulated_study(
        SPACE,
        trials=60,
        seed=0,
        stopper=MOASHA(audit=0.0),
        sampler=make_sampler("random", SPACE, seed=0, start=0),
    )
    history = simulate(StudyMethod(study), run, workers=1, budget=1000)
    stopped = [t for t in study.view.trials.values() if t.state == "stopped"]
    assert history.stopped == len(stopped) > 10
    assert {t.seed % 2 for t in stopped} == {0}
    assert history.spent == 3 * len(history.finished) + len(stopped)
