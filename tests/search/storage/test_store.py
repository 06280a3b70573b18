"""Files in a store: whole or not there."""

from dataclasses import replace

import pytest

from search.errors import StorageError
from search.storage.location import parse_location
from search.storage.store import Store


def test_what_is_written_is_read_and_listed(store):
    assert store.read("a/x") is None and store.list_files() == []
    store.write("a/x", b"1")
    store.write("a/y", b"22")
    store.write("a/x", b"333")
    assert store.read("a/x") == b"333"
    assert [(entry.name, entry.size) for entry in store.list_files("a")] == [("a/x", 3), ("a/y", 2)]
    store.delete("a/x")
    store.delete("a/x")
    assert [entry.name for entry in store.list_files()] == ["a/y"]


def test_a_store_that_fails_is_named_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*file/x/y: ") as info:
        Store(parse_location(tmp_path / "file")).write("x/y", b"")
    assert "\n" not in str(info.value)


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_named_in_one_line(s3, store):
    if not store.location.scheme:
        pytest.skip("a folder has no bucket")
    lost = Store(replace(store.location, path="no-such-bucket"))
    with pytest.raises(StorageError, match=r"NO_SUCH_BUCKET|does not exist") as info:
        lost.write("x", b"")
    assert "\n" not in str(info.value)
