"""Which exceptions are failures of a disk, and which belong to a trial."""

import errno
import os

import pytest

from search.errors import StorageError, find_storage_error, format_bytes


def os_error(name, path=None):
    number = getattr(errno, name)
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "ESTALE", "EFBIG", "EREMOTEIO"])
def test_errors_that_only_disks_give_count_with_and_without_a_file(name):
    assert find_storage_error(os_error(name))
    assert find_storage_error(os_error(name, "/mnt/runs/a/state.pt"))


@pytest.mark.parametrize("name", ["EIO", "ENXIO", "ENODEV", "ENOTCONN", "ETIMEDOUT"])
def test_errors_that_terminals_and_sockets_give_count_for_files_only(name):
    assert find_storage_error(os_error(name, "/mnt/runs/a/state.pt"))
    assert find_storage_error(os_error(name)) is None
    assert find_storage_error(os_error(name, "/dev/tty")) is None


@pytest.mark.parametrize("name", ["ENOMEM", "EMFILE", "ENFILE", "ENOENT", "EACCES", "EPIPE"])
def test_other_errors_belong_to_the_trial(name):
    assert find_storage_error(os_error(name, "/home/someone/images")) is None


def test_a_file_of_the_run_that_may_not_be_touched_any_more_counts(tmp_path):
    denied = os_error("EACCES", str(tmp_path / "state.pt"))
    assert find_storage_error(denied, tmp_path)
    assert find_storage_error(denied, tmp_path / "other") is None


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/3: file write"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
        ValueError("I/O error: Input/output error (os error 5)"),
        ValueError("Quota exceeded (os error 122)"),
        RuntimeError("[Errno 28] No space left on device: 'x'"),
        RuntimeError("unable to flush file (errno = 28)"),
    ],
)
def test_texts_in_which_libraries_hide_the_number_count(error):
    assert find_storage_error(error)


@pytest.mark.parametrize(
    "error",
    [MemoryError("28"), RuntimeError("28 images"), ValueError("(os error 2)"), KeyError("Errno")],
)
def test_texts_of_other_errors_do_not_count(error):
    assert find_storage_error(error) is None


def test_causes_are_looked_at_and_the_message_is_one_line_with_the_free_space(tmp_path):
    try:
        try:
            raise os_error("ENOSPC", str(tmp_path / "trials" / "0003" / "state.pt"))
        except OSError as cause:
            raise ValueError("the state was\nnot saved") from cause
    except ValueError as error:
        found = find_storage_error(error)
    text = str(found)
    assert text.startswith(f"No space left on device: {tmp_path}") and text.endswith("free there)")
    own = StorageError("gone")
    assert find_storage_error(own) is own


def test_a_chain_that_is_a_ring_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert find_storage_error(first) is None


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (1500, "1.5 kB"), (2.5e9, "2.5 GB"), (3e12, "3.0 TB")]
)
def test_bytes_in_words(size, text):
    assert format_bytes(size) == text
