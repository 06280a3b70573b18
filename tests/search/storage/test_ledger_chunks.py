"""The ledger in a store: copied as it grows, and read back whole whoever wrote it last."""

import pytest

from search.errors import StorageError
from search.storage import ledger_chunks
from search.storage.ledger_chunks import LedgerCopier, read_chunks


@pytest.fixture
def ledger(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_chunks, "CHUNK", 20)
    return tmp_path / "ledger.jsonl"


def test_what_is_copied_in_any_steps_is_read_back(store, ledger):
    copier, whole = LedgerCopier(store, 1, 0), b""
    for number in range(41):
        whole += b"%d" % number + b"x" * (number % 7) + b"\n"
        ledger.write_bytes(whole + b"torn")
        if number % 3:
            assert copier.copy(ledger)
            assert read_chunks(store) == whole
    assert not copier.copy(ledger)
    assert len(store.list_files()) > 3
    assert max(entry.size for entry in store.list_files()) < 100


def test_only_as_much_is_copied_as_is_asked(store, ledger):
    ledger.write_bytes(b"one\ntwo\n")
    LedgerCopier(store, 1, 0).copy(ledger, end=6)
    assert read_chunks(store) == b"one\n"


def test_what_a_driver_writes_that_has_lost_the_run_is_not_read(store, ledger):
    first = LedgerCopier(store, 1, 0)
    ledger.write_bytes(b"a\nb\n")
    first.copy(ledger)
    here = ledger.with_name("second.jsonl")
    here.write_bytes(b"a\nb\nc of the second\n")
    LedgerCopier(store, 2, 4).copy(here)
    for line in (b"c of the first\n", b"d of the first, which is longer\n", b"e\n"):
        ledger.write_bytes(ledger.read_bytes() + line)
        first.copy(ledger)
        assert read_chunks(store) == here.read_bytes()


def test_a_missing_part_is_noticed(store, ledger):
    copier = LedgerCopier(store, 1, 0)
    for number in range(1, 4):
        ledger.write_bytes(b"a line of twenty.....\n" * number)
        copier.copy(ledger)
    store.delete(store.list_files()[1].name)
    with pytest.raises(StorageError, match=r"bytes 22 to 44 of the ledger are missing"):
        read_chunks(store)
