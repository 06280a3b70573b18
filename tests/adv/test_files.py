"""Files and folders appear whole or not at all, whatever fails on the way."""

import errno
import os
import subprocess
from contextlib import suppress

import pytest

from adv.files import (
    check_writable,
    partial_file,
    partial_folder,
    remove_partials,
    sweep_partials,
    write_atomic,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_bytes_and_text_replace_what_was_there(tmp_path):
    path = tmp_path / "new" / "file"
    write_atomic(path, b"\x00old")
    assert path.read_bytes() == b"\x00old"
    write_atomic(path, "déjà\r\nvu\n")
    assert path.read_bytes() == "déjà\r\nvu\n".encode()
    assert names(path.parent) == ["file"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "old")
    with suppress(RuntimeError), partial_file(path) as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    assert (path.read_text(), names(tmp_path)) == ("old", ["file"])


def test_a_file_that_exceeds_the_limit_leaves_the_old_one_and_is_named(tmp_path, limit_files):
    path = tmp_path / "file"
    write_atomic(path, "old")
    limit_files(1000)
    with pytest.raises(OSError, match="File too large") as info:
        write_atomic(path, b"x" * 2000)
    assert (info.value.errno, info.value.filename) == (errno.EFBIG, str(path))
    assert (path.read_text(), names(tmp_path)) == ("old", ["file"])


def test_a_full_disk_leaves_the_old_file(mount_disk):
    folder = mount_disk(64)
    path = folder / "file"
    write_atomic(path, "old")
    with pytest.raises(OSError, match="No space left on device") as info:
        write_atomic(path, b"x" * 100_000)
    assert info.value.filename == str(path)
    with pytest.raises(OSError, match="No space left on device") as info:
        write_atomic(folder / "new" / "file", b"x" * 100_000)
    assert (path.read_text(), names(folder / "new")) == ("old", [])


def test_a_disk_that_becomes_read_only_leaves_the_old_file(mount_disk):
    folder = mount_disk(64)
    path = folder / "file"
    write_atomic(path, "old")
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    with pytest.raises(OSError, match="Read-only file system") as info:
        write_atomic(path, "new")
    assert info.value.filename == str(path)
    assert (path.read_text(), names(folder)) == ("old", ["file"])


def test_a_sync_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, "old")

    def fail(number):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error") as info:
        write_atomic(path, "new")
    assert info.value.filename == str(path)
    assert (path.read_text(), names(tmp_path)) == ("old", ["file"])


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_must_not_be_replaced(tmp_path, monkeypatch, links):
    """Also where another process takes the name while this one writes."""
    path = tmp_path / "file"
    if not links:

        def refuse(*names):
            raise OSError(errno.ENOTSUP, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    with partial_file(path, replace=False) as partial:
        partial.write_text("first")
    with pytest.raises(FileExistsError), partial_file(path, replace=False) as partial:
        partial.write_text("second")
    assert (path.read_text(), names(tmp_path)) == ("first", ["file"])


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder"
    with suppress(RuntimeError), partial_folder(path) as partial:
        (partial / "one").write_text("1")
        raise RuntimeError
    assert names(tmp_path) == []
    with partial_folder(path) as partial:
        (partial / "one").write_text("1")
        assert not path.exists()
    assert (names(tmp_path), names(path)) == (["folder"], ["one"])


def test_an_error_in_a_folder_names_the_folder(tmp_path, limit_files):
    path = tmp_path / "folder"
    limit_files(10)
    with pytest.raises(OSError, match="File too large") as info, partial_folder(path) as partial:
        (partial / "one").write_bytes(bytes(99))
    assert (info.value.filename, names(tmp_path)) == (str(path), [])
    limit_files(1000)
    with pytest.raises(FileNotFoundError) as info, partial_folder(path) as partial:
        (partial / "none" / "one").touch()
    assert (info.value.filename, names(tmp_path)) == (str(path), [])


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    for name in (".a[1].npz.17", ".a[1].npz.lock", ".a1.npz.17", "a[1].npz"):
        (tmp_path / name).touch()
    remove_partials(tmp_path / "a[1].npz")
    assert names(tmp_path) == [".a1.npz.17", ".a[1].npz.lock", "a[1].npz"]


def test_only_leftovers_of_dead_writers_are_swept(tmp_path):
    with subprocess.Popen(["true"]) as dead:
        dead.wait()
    kept = [f".state.pt.{os.getpid()}", f".notes.{dead.pid}", f"state.pt.{dead.pid}"]
    kept += [".state.pt.0", ".state.pt.1x", ".state.pt.1", ".hidden.pt", ".state.pt.²"]
    for name in [*kept, f".state.pt.{dead.pid}", f".a[1].csv.{dead.pid}", ".b.csv." + 99 * "9"]:
        (tmp_path / name).touch()
    (tmp_path / f".folder.pt.{dead.pid}").mkdir()
    sweep_partials(tmp_path)
    assert names(tmp_path) == sorted([*kept, f".folder.pt.{dead.pid}"])
    sweep_partials(tmp_path / "none")


def test_a_path_is_tried_without_touching_the_file(tmp_path):
    path = tmp_path / "file"
    write_atomic(path, "kept")
    check_writable(path)
    assert (path.read_text(), names(tmp_path)) == ("kept", ["file"])
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        check_writable(path / "below a file")


def test_a_text_that_utf_8_cannot_hold_is_written_with_escapes(tmp_path):
    write_atomic(tmp_path / "file", "café \n " + os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "file").read_text() == "café \n caf\\udce9"


def test_a_full_disk_is_found_before_the_work(mount_disk):
    disk = mount_disk(64)
    with suppress(OSError):
        (disk / "ballast").write_bytes(bytes(1 << 20))
    with pytest.raises(OSError, match="No space left on device") as info:
        check_writable(disk / "net.safetensors")
    assert info.value.filename == str(disk / "net.safetensors")
    assert names(disk) == ["ballast"]
