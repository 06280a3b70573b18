"""Trials whose state is in a store only."""

import pytest

from search.errors import StorageError
from search.record.trial import EpochReport
from search.storage.store import Store
from search.storage.stored_run import StoredRun, persist


def run(params, seed, folder):
    """Count epochs in a state, as a training does, and die after the second of this worker."""
    state = folder / "state.pt"
    done = int(state.read_text()) if state.exists() else 0
    for epoch in range(1, done + 1):
        yield EpochReport(epoch, 4, 0.0)
    for epoch in range(done + 1, 5):
        (folder / "best.safetensors").write_text(f"net {epoch}")
        state.write_text(str(epoch))
        yield EpochReport(epoch, 4, 0.0)
        if epoch == done + 2:
            raise RuntimeError(folder)


def test_a_trial_goes_on_in_another_worker_from_the_epoch_that_it_has_reported(store, tmp_path):
    location = store.location.child("x")
    stored = StoredRun(run, location, tmp_path / "run of the driver")
    folder = stored.folder / "trials" / "0007"
    for told in ([1, 2], [1, 2, 3, 4]):
        reports, error = [], None
        try:
            for report in stored({}, 0, folder):
                reports.append(report.epoch)
                state = Store(location).read("trials/0007/state.pt")
                assert state is not None and state >= b"%d" % report.epoch
        except RuntimeError as death:
            error = death
        assert reports == told
        assert error is not None and not error.args[0].exists()
    assert Store(location).read("trials/0007/best.safetensors") == b"net 4"
    assert not stored.folder.exists()


def test_a_store_that_fails_for_a_while_is_waited_for_and_then_ends_the_search():
    failures, slept = [StorageError("a gap")] * 3, list[float]()

    def work():
        if failures:
            raise failures.pop()

    persist(work, patience=100.0, sleep=slept.append)
    assert slept == [1.0, 2.0, 4.0]
    with pytest.raises(StorageError, match=r"a gap; tried for 0 s"):
        persist(lambda: (_ for _ in ()).throw(StorageError("a gap")), patience=0.0)
