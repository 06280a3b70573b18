"""`--watch` shows a search that another process runs; `--json` is one object."""

import json
import re
import threading
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_studies import build, events, final_events, make_view

from search.record.ledger import Ledger
from search.record.run_folder import LEDGER
from search.record.view import View
from search.reporting.terminal import LiveProgress
from search.session import watch_run as watching
from search.session.outcome_json import describe_in_one_line, encode_outcome
from search.session.watch_run import LedgerTail, watch_run

EVENTS = [*events(6, 1), *final_events((0, 1, 0)), {"event": "end", "time": 2e9, "reason": "done"}]


def write(ledger: Ledger, some: list[dict]) -> None:
    for event in some:
        ledger.append(
            event["event"], **{k: v for k, v in event.items() if k not in ("event", "time")}
        )


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "x").mkdir()
    return tmp_path / "x"


def test_a_search_is_watched_until_it_ends(folder, monkeypatch, capsys):
    monkeypatch.setattr(watching, "EVERY", 0.01)
    ledger = Ledger(folder / LEDGER)
    write(ledger, EVENTS[:20])
    writer = threading.Thread(target=write, args=(ledger, EVENTS[20:]))
    writer.start()
    assert watch_run(folder) == 0
    writer.join()
    ledger.close()
    said = capsys.readouterr().out
    assert "trial 2 finished  natural accuracy" in said and "trial 4 failed: loss is" in said
    assert "Recommended nets" in said and f"{folder}/front/0001.safetensors --split test" in said
    assert sorted(path.name for path in folder.iterdir()) == [LEDGER]
    assert watch_run(folder) == 0  # one that has ended is shown at once
    assert "trial 2 finished" not in capsys.readouterr().out


def test_a_watcher_counts_from_the_last_event(folder, monkeypatch):
    ledger = Ledger(folder / LEDGER)
    write(ledger, EVENTS[:20])
    ledger.close()
    tail, view = LedgerTail(folder / LEDGER), View()
    for event, clock in tail.read():
        view.apply(event, clock)
    written = event["time"]
    monkeypatch.setattr("search.session.watch_run.time.time", lambda: written + 100)
    assert tail.age == 100
    now = LiveProgress(Console(), 6, view, since=tail.age)._progress()
    assert view.elapsed + 100 <= now.elapsed < view.elapsed + 160


def test_ctrl_c_ends_the_watching_alone(folder, monkeypatch, capsys):
    ledger = Ledger(folder / LEDGER)
    write(ledger, EVENTS[:20])
    before = (folder / LEDGER).read_bytes()

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("search.session.watch_run.time.sleep", interrupt)
    assert watch_run(folder) == 130
    assert "its search goes on" in capsys.readouterr().out
    assert (folder / LEDGER).read_bytes() == before
    write(ledger, EVENTS[20:22])  # the driver holds its lock still
    ledger.close()


def test_a_search_that_was_killed_is_shown_and_named(folder, monkeypatch, capsys):
    monkeypatch.setattr(watching, "EVERY", 0.001)
    ledger = Ledger(folder / LEDGER)
    write(ledger, EVENTS[:-1])
    looks = 0

    def wait(seconds):  # its driver lives for a hundred looks in which nothing happens
        nonlocal looks
        looks += 1
        if looks == 100:
            ledger.close()

    monkeypatch.setattr("search.session.watch_run.time.sleep", wait)
    assert watch_run(folder) == 1
    assert 100 + watching.SILENT <= looks <= 100 + 3 * watching.SILENT
    said = capsys.readouterr()
    assert "Recommended nets" in said.out
    assert said.err.count("\n") == 1 and f"--resume {folder}" in said.err
    again = Ledger(folder / LEDGER)  # the watcher has left no lock
    again.close()


def test_a_line_that_is_being_written_is_waited_for(folder):
    ledger = Ledger(folder / LEDGER)
    write(ledger, EVENTS[:3])
    ledger.close()
    path, tail = folder / LEDGER, LedgerTail(folder / LEDGER)
    whole = path.read_bytes()
    cut = len(whole) - 7
    path.write_bytes(whole[:cut])
    assert [event["event"] for event, _ in tail.read()] == ["study", "session"]
    path.write_bytes(whole)
    ((event, clock),) = list(tail.read())
    assert event["event"] == "proposed" and clock is not None and "sum" not in event
    path.write_bytes(whole[:50])
    with pytest.raises(ValueError, match="has become shorter"):
        list(tail.read())


def test_a_ledger_that_cannot_be_read_is_one_line(folder, capsys):
    (folder / LEDGER).write_bytes(b"{nothing}\n")
    assert watch_run(folder) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("finals", [False, True])
def test_json_holds_the_front_with_its_roles_and_commands(folder, finals):
    view = build(16, 3)
    for event in final_events((0, 1, 0)) if finals else ():
        view.apply(event)
    text = encode_outcome(view, folder, code=0, reason="", tracking="")
    assert "\n" not in text and "NaN" not in text and "Infinity" not in text
    plain = json.loads(text)
    assert set(plain) == {
        *("format", "run", "folder", "exit_status", "reason", "space", "data", "seed"),
        *("objectives", "seconds", "trials", "failures", "verdict", "caveat", "front"),
        *("recommended", "report", "wandb"),
    }
    front = plain["front"]
    assert front["source"] == ("finals" if finals else "search")
    assert set(plain["recommended"]) == {"most-accurate", "most-robust", "balanced"}
    by_name = {net["name"]: net for net in front["nets"]}
    for slug, role in plain["recommended"].items():
        assert slug in by_name[role["net"]]["roles"]
    net = by_name[plain["recommended"]["most-accurate"]["net"]]
    low, high = net["intervals"]["natural_accuracy"]
    assert low <= net["objectives"]["natural_accuracy"] <= high
    assert set(net["commands"]) == {"evaluate", "train", "export"}
    assert plain["trials"] == {"finished": 13, "stopped": 0, "failed": 3, "planned": 16}
    assert plain["failures"]["0004"].startswith("loss is")


def test_every_key_of_json_is_documented(folder, project_root):
    guide = (project_root / "docs" / "search.md").read_text()
    table = guide.partition("The keys of `--json`")[2].partition("\n\n")[2].partition("\n\n")[0]
    documented = set(re.findall(r"`([\w-]+)`", table))
    view = build(16, 3)
    for event in final_events((0, 1, 0)):
        view.apply(event)
    plain = json.loads(encode_outcome(view, folder, code=0, reason="", tracking=""))
    [net, *_] = plain["front"]["nets"]
    for part in (plain, plain["trials"], plain["verdict"], plain["front"], net, net["commands"]):
        assert part.keys() <= documented
    for role, held in plain["recommended"].items():
        assert {role, *held} <= documented


def test_json_of_a_search_without_a_result(folder):
    plain = json.loads(encode_outcome(View(), folder, code=3, reason="x", tracking=""))
    assert plain["exit_status"] == 3 and plain["verdict"] is plain["caveat"] is None
    assert plain["front"]["nets"] == [] and plain["recommended"] == {}
    assert describe_in_one_line(View(), folder) == "No trial has a result, 0 trials failed."


def test_the_one_line_of_quiet_is_the_verdict(folder):
    view = make_view([(0.90, 150), (0.85, 170), (0.80, 190)], half=(0.08, 60.0))
    assert describe_in_one_line(view, folder).startswith("The nets cannot be told apart")
    plain = json.loads(encode_outcome(view, folder, code=0, reason="", tracking=""))
    assert plain["caveat"]["command"].startswith("python launch.py --finalists")
