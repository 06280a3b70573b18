import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.interrupt import Interrupt
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


def test_rubbish_in_the_middle_ends_what_is_read(written, tmp_path):
    first, *rest = written.splitlines(keepends=True)
    view = read(put(tmp_path, first + b"\x00\xff\n" + b"".join(rest)))
    assert view.header.format and not view.trials


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


def test_an_event_that_json_cannot_hold_leaves_no_trace(tmp_path):
    with closing(Ledger(tmp_path / "ledger.jsonl")) as ledger:
        with pytest.raises(ValueError, match="JSON"):
            ledger.append("epoch", trial=0, metrics={"loss": float("nan")})
        ledger.append("session", folder=Path("a"))
        assert len(ledger.path.read_text().splitlines()) == 1


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
