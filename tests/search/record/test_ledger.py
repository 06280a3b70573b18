import errno
import json
import os
import resource
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.errors import StorageError
from search.interrupt import Interrupt
from search.record.event_lines import encode_line
from search.record.ledger import Ledger, LedgerError, read
from search.study import Study


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a ledger in which a trial has finished, one has failed, and one runs."""
    path = tmp_path_factory.mktemp("run") / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append("study", format=1, space="formula")
    ledger.append("session", pid=1)
    study = Study(SPACE, ledger, trials=3, seed=0)
    serial.search(study, Formula(2, mishaps={1: "raise"}), Interrupt())
    ledger.append("proposed", trial=3, params={"x": 0.5}, seed=3, origin="tpe")
    assert plain(read(path)) == plain(ledger.view)  # replay equals the live view
    ledger.close()
    return path.read_bytes()


def plain(view):
    trials = {number: asdict(trial) for number, trial in view.trials.items()}
    return json.loads(
        json.dumps(
            [view.header.to_json(), trials, [asdict(s) for s in view.sessions], view.elapsed]
        )
    )


def put(folder, content):
    folder.mkdir(exist_ok=True)
    path = folder / "ledger.jsonl"
    path.write_bytes(content)
    return path


def test_the_view_holds_what_happened(written, tmp_path):
    view = read(put(tmp_path, written))
    assert view.header.space == "formula"
    assert [t.state for t in view.trials.values()] == ["finished", "failed", "finished", "running"]
    assert view.trials[1].reason == "RuntimeError: the net exploded"
    assert list(view.trials[0].epochs) == [1, 2] and view.trials[0].seconds == pytest.approx(0.02)
    assert {t.number for t in view.front()} <= {0, 2}


def test_torn_at_any_byte_of_its_last_line_it_loses_that_line_only(written, tmp_path):
    start = written[:-1].rfind(b"\n") + 1
    whole = plain(read(put(tmp_path, written[:start])))
    for end in range(start, len(written)):
        path = put(tmp_path, written[:end])
        assert plain(read(path)) == whole
        ledger = Ledger(path)
        ledger.append("proposed", trial=3, params={"x": 0.1}, seed=3, origin="tpe")
        ledger.close()
        assert path.read_bytes().startswith(written[:start])
        assert read(path).trials[3].params == {"x": 0.1}


def flip(line):
    """A line in which one bit of a number has flipped, so that it is JSON still."""
    return line.replace(b'"time": 1', b'"time": 3', 1)


DAMAGES = {  # of the lines of a ledger: what they become, and what is said
    "rubbish": (lambda a: [*a[:3], b"\x00\xff\n", *a[4:]], "line 4, it is no JSON; {-4}"),
    "a flipped bit": (
        lambda a: [*a[:3], flip(a[3]), *a[4:]],
        "line 4, its checksum is wrong; {-4}",
    ),
    "a lost newline": (
        lambda a: [*a[:3], a[3][:-1], *a[4:]],
        "line 4, the line end between its 2 events is lost; {-5}",
    ),
    "other line ends": (
        lambda a: [line.replace(b"\n", b"\r\n") for line in a],
        "line 1, the line end was changed to CRLF; {-1}",
    ),
    "saved by Notepad": (
        lambda a: [b"\xef\xbb\xbf" + a[0].replace(b"\n", b"\r\n"), *a[1:]],
        "line 1, a byte order mark was put before it and the line end was changed to CRLF; {-1}",
    ),
    "spaces at its end": (
        lambda a: [*a[:3], a[3][:-1] + b" \n", *a[4:]],
        "line 4, spaces were put around it; {-4}",
    ),
    "more behind it": (lambda a: [*a[:3], a[3][:-1] + b"{\n", *a[4:]], "it is no JSON; {-4}"),
    "swapped lines": (
        lambda a: [*a[:3], a[4], a[3], *a[5:]],
        "line 4, event 4 comes before event 3; {-3}",
    ),
    "a line that moved down": (
        lambda a: [*a[:3], *a[5:7], a[3], *a[7:]],
        "line 4, event 5 comes before event 3; {-4}",
    ),
    "a lost line and a swapped one": (
        lambda a: [*a[:3], a[5], a[4], *a[6:]],
        "line 4, event 3 is missing; {-4}",
    ),
    "too deep": (lambda a: [*a[:3], b"[" * 99999 + b"\n", *a[4:]], "line 4, it is no JSON; {-4}"),
    "another thing": (lambda a: [*a[:3], b"[1]\n", *a[4:]], "line 4, it holds no event; {-4}"),
    "a lost line": (lambda a: [*a[:3], *a[4:]], "line 4, event 3 is missing; {-4}"),
    "lost lines": (lambda a: [*a[:3], *a[6:]], "line 4, events 3 to 5 are missing; {-6}"),
    "a lost first line": (lambda a: a[1:], "line 1, event 0 is missing; {-1}"),
    "a repeated line": (lambda a: [*a[:4], *a[3:]], "line 5, event 3 appears twice; {-4}"),
    "no checksum": (
        lambda a: [*a[:3], a[3][: -len(b', "sum": "00000000"}\n')] + b"}\n", *a[4:]],
        "line 4, its checksum is wrong; {-4}",
    ),
    "a last line that is whole": (
        lambda a: [*a[:-1], flip(a[-1])],
        "its checksum is wrong; 0 whole",
    ),
    "unknown trial": (lambda a: [*a[:2], *[renumber(a[4], 2)]], "event epoch: key 'trial' holds 0"),
}


def renumber(line, number):
    event = {k: v for k, v in json.loads(line).items() if k not in ("n", "clock", "sum")}
    return encode_line(event, number, 0.5)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_line_that_names_it_and_the_remedy(written, tmp_path, name):
    damage, message = DAMAGES[name]
    lines = written.splitlines(keepends=True)
    content = b"".join(damage(lines))
    path = put(tmp_path / "my runs", content)
    for last in range(9):
        message = message.replace(f"{{-{last}}}", f"{len(lines) - last} whole events follow")
    for opened in (read, Ledger):
        with pytest.raises(LedgerError) as info:
            opened(path)
        text = str(info.value)
        assert text.startswith(f"{path}, ") and message in text and "\n" not in text
        assert text.endswith(f"python launch.py --repair '{path.parent}'")
        assert path.read_bytes() == content


def test_a_tail_of_zeros_after_a_power_cut_is_no_damage(written, tmp_path):
    for tail in (b"\0" * 5000, b'{"event": "ep' + b"\0" * 300):
        path = put(tmp_path, written + tail)
        assert plain(read(path)) == plain(read(put(tmp_path / "whole", written)))
        with closing(Ledger(path)) as ledger:
            ledger.append("end", reason="done", code=0)
        assert path.read_bytes().startswith(written + b'{"event": "end"')
        assert read(path).events == len(written.splitlines()) + 1


def test_lines_of_earlier_versions_are_read_and_counted(written, tmp_path):
    """Before, between and after those of this one; a loss among them is seen behind them."""
    lines = [(line, strip(line)) for line in written.splitlines(keepends=True)]
    whole = plain(read(put(tmp_path / "new", written)))
    for split in range(len(lines) + 1):
        for first in (0, 1):
            mixed = [line[(n < split) ^ first] for n, line in enumerate(lines)]
            found = plain(read(put(tmp_path, b"".join(mixed))))
            assert found[:2] == whole[:2]
            if 3 < split < len(lines) and not first:
                with pytest.raises(LedgerError, match=r"event \d+ is missing"):
                    read(put(tmp_path, b"".join(mixed[:3] + mixed[4:])))
    old = put(tmp_path, b"".join(old for _, old in lines))
    with closing(Ledger(old)) as ledger:
        ledger.append("end", reason="done", code=0)
    assert json.loads(old.read_bytes().splitlines()[-1])["n"] == len(lines)
    assert read(old).events == len(lines) + 1


def strip(line):
    """The line as an earlier version has written it."""
    event = {k: v for k, v in json.loads(line).items() if k not in ("n", "clock", "sum")}
    return json.dumps(event).encode() + b"\n"


def test_a_newer_format_is_refused_and_left_alone(tmp_path):
    content = b'{"event": "study", "time": 0, "format": 99}\n{"event": "what"}\n'
    path = put(tmp_path, content)
    for opened in (read, Ledger):
        with pytest.raises(LedgerError, match=r"format 99.*update"):
            opened(path)
    assert path.read_bytes() == content


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "ledger.jsonl"
    first = Ledger(path)
    with pytest.raises(LedgerError, match="in use by another"):
        Ledger(path)
    assert read(path).trials == {}  # reading needs no leave
    first.close()
    Ledger(path).close()


def test_an_event_that_cannot_be_recorded_leaves_no_trace(tmp_path):
    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        with pytest.raises(ValueError, match="JSON"):
            ledger.append("epoch", trial=0, metrics={"loss": float("nan")})
        with pytest.raises(ValueError, match="key 'n'"):
            ledger.append("session", n=1)
        with pytest.raises(ValueError, match="key 'trial' holds 7"):
            ledger.append("failed", trial=7, reason="what")
        assert ledger.path.read_bytes() == b""
        ledger.append("session", folder=Path("a"))
        assert len(ledger.path.read_text().splitlines()) == 1
    assert len(read(ledger.path).sessions) == 1


def test_readers_hear_of_an_event_once_it_is_on_disk(tmp_path):
    heard = []
    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        ledger.readers.append(lambda event, view: heard.append((event["event"], read(ledger.path))))
        ledger.append("proposed", trial=0, params={}, seed=0, origin="known")
    [(kind, view)] = heard
    assert kind == "proposed" and list(view.trials) == [0]


def test_time_counts_while_a_session_lasts_only(tmp_path):
    events = [("session", 0.0), ("tick", 10.0), ("session", 1000.0), ("tick", 1005.0)]
    content = "".join(json.dumps({"event": e, "time": t}) + "\n" for e, t in events)
    assert read(put(tmp_path, content.encode())).elapsed == 15.0


class Clocks:
    """The clocks of a machine whose time is set."""

    def __init__(self):
        self.now, self.error = 0.0, 0.0

    def time(self):
        return 1.7e9 + self.now + self.error

    def monotonic(self):
        return 100.0 + self.now


@pytest.mark.parametrize("step", [-10800.0, 10800.0])
def test_setting_the_time_of_the_machine_moves_no_budget(tmp_path, monkeypatch, step):
    clocks = Clocks()
    monkeypatch.setattr("search.record.ledger.time", clocks)
    for session in range(2):
        clocks.error += step  # between two sessions
        with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
            clocks.now += 1000.0 * session
            ledger.append("session")
            for _ in range(2):
                clocks.now += 10.0
                clocks.error += step  # and within one
                ledger.append("tick")
        assert ledger.view.elapsed == read(ledger.path).elapsed == 20.0 * (session + 1)
        clocks.now += 77.0


def test_without_a_clock_time_never_counts_below_zero(tmp_path):
    """As in ledgers of earlier versions."""
    events = [("session", 0.0), ("tick", 10.0), ("tick", -10800.0), ("tick", -10795.0)]
    content = "".join(json.dumps({"event": e, "time": t}) + "\n" for e, t in events)
    assert read(put(tmp_path, content.encode())).elapsed == 15.0


def test_a_session_whose_first_line_was_lost_counts_from_its_start(tmp_path):
    events = [("session", 0.0), ("tick", 50.0), ("tick", 7.0), ("tick", 9.0)]
    lines = [
        encode_line({"event": event, "time": 0.0}, number, clock)
        for number, (event, clock) in enumerate(events)
    ]
    assert read(put(tmp_path, b"".join(lines))).elapsed == 59.0


def limit_size(size):
    """Let no file of this process grow beyond so many bytes, as on a disk that is full there."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_disk_that_is_full_in_the_middle_of_a_line_leaves_no_trace(tmp_path):
    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        ledger.append("study", format=1)
        before = ledger.path.read_bytes()
        limit_size(len(before) + 20)
        try:
            with pytest.raises(StorageError, match=r"File too large: .*ledger.jsonl"):
                ledger.append("session")
        finally:
            limit_size(resource.RLIM_INFINITY)
        assert ledger.path.read_bytes() == before and not ledger.view.sessions
        ledger.append("session")
        assert plain(read(ledger.path)) == plain(ledger.view) and ledger.view.sessions


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.ESTALE, errno.EPERM]
)
def test_an_event_that_does_not_reach_the_disk_leaves_no_trace(tmp_path, monkeypatch, number):
    def fail(_):
        raise OSError(number, os.strerror(number))

    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        ledger.append("study", format=1)
        before = ledger.path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            with pytest.raises(StorageError, match=os.strerror(number)):
                ledger.append("session")
        assert ledger.path.read_bytes() == before and not ledger.view.sessions


class Stuck:
    """A file that cannot be cut off, on a disk that fails."""

    def __init__(self, file):
        self.file = file
        self.fileno, self.write = file.fileno, lambda data: file.write(data[:9])

    def truncate(self, size):
        raise OSError(errno.EIO, "Input/output error")


def test_what_could_not_be_cut_off_is_cut_off_before_the_next_event(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, "Input/output error")

    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        ledger.append("study", format=1)
        before = ledger.path.read_bytes()
        with monkeypatch.context() as patch:
            patch.setattr(ledger, "_file", Stuck(ledger._file))
            patch.setattr(os, "fsync", fail)
            for _ in range(2):
                with pytest.raises(StorageError):
                    ledger.append("session")
        assert ledger.path.read_bytes() != before
        ledger.append("session")
    assert ledger.path.read_bytes().startswith(before + b'{"event": "session"')
    assert read(ledger.path).events == 2


@pytest.mark.parametrize("how", ["removed", "replaced", "moved with its folder", "written to"])
def test_a_ledger_that_is_not_there_any_more_takes_no_event(tmp_path, how):
    path = tmp_path / "run" / "ledger.jsonl"
    path.parent.mkdir()
    with closing(Ledger(path)) as ledger:
        ledger.append("study", format=1)
        left = path.read_bytes() + b"x"
        if how == "removed":
            path.unlink()
        elif how == "moved with its folder":
            path.parent.rename(tmp_path / "elsewhere")
        else:
            new = path.with_name("new") if how == "replaced" else path
            new.write_bytes(left)
            new.replace(path)
        with pytest.raises(StorageError, match=f"cannot write {path}: "):
            ledger.append("session")
        assert not ledger.view.sessions
    if path.exists():
        assert path.read_bytes() == left  # nothing of others is cut off
