"""What a signal does while a search is prepared, while it runs, and where its terminal is gone."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from search.interrupt import NOTICE, Interrupt, Interrupted

STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
STATUS |= {"SIGUSR1": 143, "SIGUSR2": 143, "SIGXCPU": 143}


@pytest.mark.parametrize("name", STATUS)
def test_a_signal_waits_for_the_next_check_and_says_why(name, capfd):
    interrupt = Interrupt()
    before = signal.getsignal(getattr(signal, name))
    with interrupt.handle_signals():
        signal.raise_signal(getattr(signal, name))
        assert capfd.readouterr().err == NOTICE
        with pytest.raises(Interrupted) as info:
            interrupt.check()
    assert info.value.code == STATUS[name] and info.value.reason
    assert signal.getsignal(getattr(signal, name)) == before


@pytest.mark.parametrize("name", STATUS)
def test_before_there_is_anything_to_save_it_ends_where_it_stands(name, capfd):
    interrupt = Interrupt()
    with interrupt.handle_signals(), interrupt.raise_at_once(), pytest.raises(Interrupted):
        signal.raise_signal(getattr(signal, name))
    interrupt = Interrupt()
    with interrupt.handle_signals(), interrupt.raise_at_once():
        interrupt.defer()
        signal.raise_signal(getattr(signal, name))
    assert capfd.readouterr().err == NOTICE


def test_repeated_warnings_do_not_end_the_process(capfd):
    """The kernel repeats SIGXCPU each second; a closed session sends SIGHUP and SIGTERM."""
    interrupt = Interrupt()
    with interrupt.handle_signals():
        for number in (signal.SIGXCPU, signal.SIGXCPU, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(number)
        with pytest.raises(Interrupted, match="SIGXCPU"):
            interrupt.check()
    assert capfd.readouterr().err == NOTICE


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        interrupt = Interrupt()
        with interrupt.handle_signals():
            signal.raise_signal(signal.SIGHUP)
            interrupt.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_loss_comes_before_a_signal():
    interrupt = Interrupt()
    interrupt.request(signal.SIGTERM)
    interrupt.lost = "the cluster is gone"
    with pytest.raises(Interrupted, match="the cluster is gone") as info:
        interrupt.check()
    assert info.value.code == 1


ON_A_TERMINAL = """
import os, pathlib, sys, time
os.login_tty(os.dup(0))
from search.interrupt import Interrupt, Interrupted
interrupt = Interrupt()
with interrupt.handle_signals():
    print("ready", flush=True)
    try:
        while True:
            interrupt.check()
            time.sleep(0.01)
    except Interrupted as early:
        print("a summary that nobody reads", flush=True)
        print("and errors", file=sys.stderr, flush=True)
        pathlib.Path(sys.argv[1]).write_text(early.reason)
        sys.exit(early.code)
"""


def test_a_terminal_that_closes_loses_no_output(tmp_path):
    """The kernel sends SIGHUP to who runs on a terminal that closes; each write to it fails."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(tmp_path / "reason")],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    assert b"ready" in os.read(ours, 100)
    os.close(ours)
    assert running.wait(60) == 129
    assert (tmp_path / "reason").read_text() == "its terminal was closed"
