"""What killed drivers leave is removed, and nothing else."""

import os
import subprocess
import sys

import pytest
from waiting import is_running, wait_until

from search.backends import scratch

DRIVER = """
import subprocess, sys
from pathlib import Path
from search.backends.scratch import make_scratch, mark_processes
path = make_scratch(Path(sys.argv[1]))
(path / "log").write_bytes(b"x" * 3_000_000)
with mark_processes(path):
    left = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
print(path, left.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def driver(tmp_path):
    """Start a driver with a folder in `tmp_path`: it, its folder and a process of that folder."""
    started = []

    def begin():
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        path, child = process.stdout.readline().split()
        started.append((process, int(child)))
        return process, tmp_path / path, int(child)

    yield begin
    for process, child in started:
        process.kill()
        process.communicate()
        if is_running(child):
            os.kill(child, 9)


def test_only_what_a_killed_driver_has_left_is_removed(driver, tmp_path):
    killed, dead, orphan = driver()
    _, living, child = driver()
    killed.kill()
    killed.wait()
    swept = scratch.sweep([str(tmp_path), "/nonexistent"])
    assert not dead.exists() and living.exists()
    wait_until(lambda: not is_running(orphan), seconds=30)
    assert is_running(child)
    assert (swept.folders, swept.processes) == (1, 1)
    said = "Removed what a killed launch.py had left: 1 temporary folder (3 MB) and 1 process."
    assert swept.describe() == said
    assert scratch.sweep([str(tmp_path)]).describe() == ""


# Writes over the beginning of its environment, as a process does that gives itself a title.
TITLED = """
import ctypes, time
block = ctypes.POINTER(ctypes.c_void_p).in_dll(ctypes.CDLL(None), "environ")
ctypes.memset(block[0], 0, 5)
print("ready", flush=True)
time.sleep(600)
"""


def test_a_process_with_a_title_is_known_by_its_files_and_a_reader_stays(tmp_path):
    path = scratch.make_scratch(tmp_path)
    log, other = path / "log", tmp_path / "log"
    titled = [sys.executable, "-c", TITLED]
    with log.open("w") as inside, other.open("w") as outside:
        ours, theirs = (
            subprocess.Popen(titled, stdout=file, env={"FIRST": "1", "SECOND": "2"})
            for file in (inside, outside)
        )
    with log.open() as reading:
        reader = subprocess.Popen(["sleep", "600"], stdin=reading)
    wait_until(lambda: "ready" in log.read_text() and "ready" in other.read_text())
    scratch.remove_scratch(path)
    assert ours.wait(timeout=30) == -9
    for process in (theirs, reader):
        assert process.poll() is None
        process.kill()
        process.wait()


def test_folders_of_others_stay(tmp_path, monkeypatch):
    (tmp_path / "robustune-without-a-lock").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / scratch.LOCK).touch()
    (tmp_path / "robustune-link").symlink_to(elsewhere)
    (tmp_path / "robustune-file").touch()
    assert scratch.sweep([str(tmp_path)]).folders == 0
    os.rename(elsewhere, tmp_path / "robustune-of-another")
    monkeypatch.setattr(os, "geteuid", lambda: -1)
    assert scratch.sweep([str(tmp_path)]).folders == 0
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_is_removed_by_its_driver_only(tmp_path):
    path = scratch.make_scratch(tmp_path)
    assert scratch.sweep([str(tmp_path)]).folders == 0
    stranger = tmp_path / "robustune-stranger"
    stranger.mkdir()
    scratch.remove_scratch(stranger)
    scratch.remove_scratch(path)
    assert [left.name for left in tmp_path.iterdir()] == [stranger.name]
