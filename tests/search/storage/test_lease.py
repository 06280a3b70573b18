"""Only one driver at a time writes to a stored run."""

import json
import os

import pytest

from search.record.ledger import LedgerInUseError
from search.record.run_folder import OWNER
from search.storage import lease as module
from search.storage.lease import LEASE, SIZE, Lease, LeaseLostError


def take(store, said=None, during=lambda seconds: None):
    """Take the run as a driver does that sleeps through `during`."""
    lease = Lease(store, (said if said is not None else []).append, sleep=during)
    lease.acquire()
    return lease


def move_away(store, **changes):
    """Let the owner be a process of another machine."""
    record = json.loads(store.read(OWNER))
    store.write(
        OWNER, json.dumps({**record, "host": "node7", "boot": "x", **changes}).encode().ljust(SIZE)
    )


def test_what_is_released_is_taken_at_once(store):
    said: list[str] = []
    first = take(store)
    first.release()
    second = take(store, said)
    assert (first.generation, second.generation) == (1, 2) and not said


def test_a_driver_that_lives_on_this_machine_is_refused_at_once(store):
    take(store)
    with pytest.raises(LedgerInUseError, match=rf"in use by another .* \(process {os.getpid()}\)"):
        take(store)


def test_a_driver_that_died_on_this_machine_is_replaced_at_once(store):
    take(store)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    record = json.loads(store.read(OWNER))
    store.write(OWNER, json.dumps({**record, "pid": child}).encode())
    said: list[str] = []
    assert take(store, said).generation == 2 and not said


def test_a_driver_elsewhere_that_lives_is_refused(store):
    first = take(store)
    move_away(store)

    def sleep(seconds):
        first._write()
        move_away(store)

    with pytest.raises(LedgerInUseError, match="node7"):
        take(store, during=sleep)


def test_a_driver_elsewhere_that_is_silent_is_replaced_after_the_lease_and_then_ends(store):
    slept: list[float] = []
    said: list[str] = []
    first = take(store)
    move_away(store)
    second = take(store, said, slept.append)
    assert LEASE <= sum(slept) < LEASE + 10 and "node7" in said[0]
    with pytest.raises(LeaseLostError, match="was taken over by"):
        first.beat()
    second.beat()
    with pytest.raises(LeaseLostError):
        first.release()
    assert json.loads(store.read(OWNER))["driver"] == second.id


def test_of_two_that_take_it_at_the_same_time_one_is_refused(store):
    other = Lease(store, print, sleep=lambda seconds: None)

    def sleep(seconds):
        other._write()

    with pytest.raises(LedgerInUseError):
        take(store, during=sleep)


def test_an_owner_that_cannot_be_read_may_be_alive(store):
    store.write(OWNER, b"{")
    slept: list[float] = []
    take(store, during=slept.append)
    assert sum(slept) >= LEASE


def test_a_driver_notices_by_itself_that_it_has_lost_the_run(store, monkeypatch):
    monkeypatch.setattr(module, "BEAT", 0.01)
    first = take(store)
    first.keep()
    while first._thread.is_alive():  # a beat may be under way
        move_away(store, driver="another")
    assert "node7" in first.lost
