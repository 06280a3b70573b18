"""A search ends before its disk is full."""

import shutil
from types import SimpleNamespace

import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.errors import StorageError
from search.interrupt import Interrupt
from search.record.ledger import Ledger
from search.session import disk_space
from search.session.disk_space import SpaceWatcher
from search.study import Study

TRIAL = 1_000_000  # bytes of a trial's files


class FormulaWithState(Formula):
    """A formula that writes a state."""

    def __call__(self, params, seed, folder):
        for report in super().__call__(params, seed, folder):
            (folder / "state.pt").write_bytes(bytes(TRIAL))
            yield report


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    yield ledger
    ledger.close()


def set_free(monkeypatch, size):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size))


def test_a_search_ends_before_its_first_trial_and_resumes(ledger, tmp_path, monkeypatch):
    ledger.readers.append(SpaceWatcher(tmp_path, TRIAL))
    set_free(monkeypatch, TRIAL - 1)
    with pytest.raises(StorageError, match=r"1000.0 kB free, and what runs may write 1.0 MB"):
        serial.search(Study(SPACE, ledger, trials=2, seed=0), FormulaWithState(2), Interrupt())
    assert [t.state for t in ledger.view.trials.values()] == ["running"]
    set_free(monkeypatch, TRIAL)
    serial.search(Study(SPACE, ledger, trials=2, seed=0), FormulaWithState(2), Interrupt())
    assert [t.state for t in ledger.view.trials.values()] == ["finished"] * 2


def test_the_size_of_a_state_counts_once_it_is_seen(ledger, tmp_path, monkeypatch):
    ledger.readers.append(SpaceWatcher(tmp_path, 10))
    set_free(monkeypatch, TRIAL - 1)
    with pytest.raises(StorageError, match="too little space"):
        serial.search(Study(SPACE, ledger, trials=2, seed=0), FormulaWithState(2), Interrupt())
    assert not ledger.view.in_state("failed") and list(ledger.view.trials[0].epochs) == [1]


@pytest.mark.parametrize(("free", "warns"), [(21_600_000, False), (21_599_999, True)])
def test_what_a_search_may_write_is_warned_of(tmp_path, monkeypatch, free, warns):
    monkeypatch.setattr(disk_space, "estimate_trial", lambda job: TRIAL)
    set_free(monkeypatch, free)
    job = SimpleNamespace(study=SimpleNamespace(remaining=24), folder=tmp_path)
    warning = disk_space.warn_of_space(job, 1)  # type: ignore[arg-type]  # a stand-in
    assert bool(warning) is warns
