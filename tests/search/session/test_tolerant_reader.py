"""A bug in a reader of the ledger is said once; a disk that fails ends the search."""

import errno

import pytest

from search.errors import StorageError
from search.record.derived_ledgers import MemoryLedger
from search.session.tolerant_reader import TolerantReader


def test_a_bug_is_said_once_with_its_place_and_the_reader_is_called_no_more():
    calls: list[str] = []
    said: list[str] = []

    def read(event, view):
        calls.append(event)
        raise KeyError("a column")

    ledger = MemoryLedger()
    ledger.readers.append(TolerantReader(read, "tables", said.append))
    ledger.append("study")
    ledger.append("end", reason="done", code=0)
    assert len(calls) == len(said) == 1
    assert said[0].startswith("tables: no longer updated, the search goes on: KeyError: 'a column'")
    assert "(session/test_tolerant_reader.py, line" in said[0]


def test_a_message_that_cannot_be_printed_ends_nothing():
    def fail(*given):
        raise OSError(errno.EIO, "Input/output error")  # a terminal that is gone

    TolerantReader(fail, "progress", fail)({"event": "end"}, MemoryLedger().view)


def test_a_disk_that_fails_ends_the_search():
    def fail(event, view):
        raise OSError(errno.ENOSPC, "No space left on device", "/mnt/run/trials.csv")

    with pytest.raises(StorageError, match=r"No space left on device: /mnt/run/trials\.csv"):
        TolerantReader(fail, "tables", print)({"event": "end"}, MemoryLedger().view)
