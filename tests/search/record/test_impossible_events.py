"""Events that no search can have written are refused, in one line that says what is allowed."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from synthetic_studies import events, final_events, header

from search.record import event_lines
from search.record.ledger import Ledger, LedgerError, read
from search.record.limits import MAX_EPOCHS, MAX_TRIALS
from search.record.view import View

CONTENT = [*events(3, 0, epochs=2), *final_events((0, 1, 0), epochs=1)]
Change = Callable[[dict[str, Any]], Any]


def put(folder, content):
    path = folder / "ledger.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in content))
    return path


def nest(depth):
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def set_at(value, *keys):
    def change(event):
        for key in keys[:-1]:
            event = event[key]
        event[keys[-1]] = value

    return change


RUNG = {
    "event": "rung",
    "time": 1.7e9,
    "trial": 0,
    "epoch": 1,
    "strength": 0.5,
    "objectives": {"natural_accuracy": 0.5, "attacked_score": 100.0},
    "sds": {},
    "table": None,
    "action": "stop",
    "reason": "",
}


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (
            "finished",
            set_at(9.28, "objectives", "natural_accuracy"),
            "natural_accuracy is 9.28, not",
        ),
        ("finished", set_at(-1, "objectives", "attacked_score"), "not a number from 0 to 400"),
        ("finished", set_at(401, "objectives", "attacked_score"), "not a number from 0 to 400"),
        (
            "finished",
            set_at("high", "objectives", "natural_accuracy"),
            "holds 'high', not a number",
        ),
        ("finished", set_at(True, "objectives", "natural_accuracy"), "holds True, not a number"),
        (
            "finished",
            set_at([0.9, 0.1], "intervals", "natural_accuracy"),
            "lower and then the upper",
        ),
        ("finished", set_at([0, 0.01], "intervals", "natural_accuracy"), "outside its interval"),
        ("finished", set_at(1.5, "details", "mean"), "details: key 'mean' holds 1.5, not a number"),
        (
            "finished",
            set_at([[0.1, 2, 0, 1]], "details", "curve"),
            "key 'curve' holds a row [0.1, 2",
        ),
        ("finished", set_at([[0.1]], "details", "curve"), "key 'curve' holds a row [0.1]"),
        ("finished", set_at(-1, "details", "images"), "key 'images' holds -1, not a number from 0"),
        ("finished", set_at({"images": 9}, "details", "table"), "table': 'names' is not a list"),
        (
            "finished",
            set_at({"names": ["a"], "images": 9, "ok": "AA=="}, "details", "table"),
            "'ok' is not the 3 bytes of 9 images",
        ),
        ("finished", set_at({"natural_accuracy": 3}, "details", "last"), "natural_accuracy is 3"),
        ("finished", set_at({"natural_accuracy": 0}, "details", "claimed"), "score' is missing"),
        ("finished", set_at({}, "objectives"), "natural_accuracy is None, not a finite number"),
        ("epoch", set_at(3, "epoch"), "key 'epoch' holds 3, but there are 2 epochs"),
        ("epoch", set_at(MAX_EPOCHS + 1, "epochs"), f"not a number from 1 to {MAX_EPOCHS}"),
        ("epoch", set_at(-1.0, "seconds"), "key 'seconds' holds -1.0, not a number from 0"),
        ("epoch", set_at(10**400, "seconds"), "a whole number of 1329 bits, 64 are the limit"),
        ("epoch", set_at("low", "metrics", "loss"), "key 'metrics.loss' holds 'low', not a number"),
        ("epoch", set_at(nest(100), "note"), "key 'note' holds objects or lists nested more"),
        (
            "proposed",
            set_at(10**18, "trial"),
            "key 'trial' holds 1000000000000000000, not a number",
        ),
        ("proposed", set_at(MAX_TRIALS + 1, "trial"), "key 'trial' holds 10000001, not a number"),
        ("proposed", set_at(-1, "seed"), "key 'seed' holds -1, not a number from 0"),
        (
            "proposed",
            set_at([1], "params", "lr"),
            "key 'params.lr' holds [1], not a number or",
        ),
        ("proposed", set_at(3, "origin"), "key 'origin' holds 3, not text"),
        ("study", set_at({"parms": 5}, "constraints"), "'parms': did you mean 'params'?"),
        ("study", set_at([{"eps": "big"}], "battery"), "key 'eps' holds 'big', not a number"),
        ("study", set_at({"told": [{}]}, "warm"), "warm: key 'params' is missing"),
        ("study", set_at(1.5, "audit"), "key 'audit' holds 1.5, not a number from 0 to 1"),
        ("finals", set_at([7], "trials"), "key 'trials' holds 7, which no proposed event has"),
        ("final", set_at("known", "part", "origin"), "origin' holds 'known', not a trial's number"),
        ("final", set_at("7", "part", "origin"), "origin' holds 7, which no proposed event has"),
        ("final", set_at("final", "part", "event"), "a final training has no event 'final'"),
        ("session", set_at(-5, "trials"), "key 'trials' holds -5, not a number from 0"),
        ("session", set_at("now", "time"), "key 'time' holds 'now', not a number"),
    ],
)
def test_a_value_that_cannot_be(tmp_path, kind, change, said):
    content = json.loads(json.dumps(CONTENT))
    change(next(event for event in content if event["event"] == kind))
    path = put(tmp_path, content)
    before = path.read_bytes()
    for opening in (read, Ledger):
        with pytest.raises(LedgerError) as info:
            opening(path)
        message = str(info.value)
        assert said in message and f"{path}, line " in message and f"event {kind}: " in message
        assert "\n" not in message and len(message) < 500
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"action": "stpo"}, "key 'action' holds 'stpo': did you mean 'stop'?"),
        ({"action": 3}, "key 'action' holds 3, not text"),
        ({"strength": 2}, "key 'strength' holds 2, not a number from 0 to 1"),
        ({"objectives": {}}, "key 'natural_accuracy' is missing"),
        ({"sds": {"natural_accuracy": -1}}, "key 'sds' holds -1 for natural_accuracy"),
        ({"table": {"names": 3}}, "key 'table': 'names' is not a list of texts"),
        ({"trial": 9}, "key 'trial' holds 9, which no proposed event has"),
    ],
)
def test_a_rung_that_cannot_be(tmp_path, change, said):
    assert read(put(tmp_path, [*CONTENT, RUNG])).rungs
    with pytest.raises(LedgerError, match="event rung: ") as info:
        read(put(tmp_path, [*CONTENT, {**RUNG, **change}]))
    assert said in str(info.value)


@pytest.mark.parametrize(
    ("kind", "header", "said"),
    [
        ("final", {"trials": [99]}, "key 'trials' holds 99, which no proposed event has"),
        ("rebuilt", {"constraints": {"latnecy": 1}}, "'latnecy': did you mean 'latency'?"),
    ],
)
def test_a_new_battery_with_a_header_that_cannot_be(tmp_path, kind, header, said):
    part = {"event": "rebuilt", "time": 1.7e9, "battery": "b", "header": header, "missing": {}}
    event = part if kind == "rebuilt" else {"event": "final", "time": 1.7e9, "part": part}
    with pytest.raises(LedgerError, match=f"event {kind}: ") as info:
        read(put(tmp_path, [*CONTENT, event]))
    assert said in str(info.value)


def test_what_has_happened_happens_once(tmp_path):
    """Repeated as it was an event changes nothing; with other values it is refused."""
    twice = [event for event in CONTENT for _ in range(2) if event["event"] != "final"]
    view, again = View(), View()
    for event in CONTENT:
        if event["event"] != "final":
            view.apply(event)
    for event in twice:
        again.apply(event)
    assert (view.header, view.trials, view.finals) == (again.header, again.trials, again.finals)
    by_kind = {event["event"]: event for event in CONTENT}
    other = {
        "study": header(seed=5),
        "proposed": {**by_kind["proposed"], "seed": 99},
        "finished": {**by_kind["finished"], "details": {}},
        "failed": {"event": "failed", "time": 1.7e9, "trial": 0, "reason": "no"},
    }
    for event in other.values():
        with pytest.raises(LedgerError, match=r"before, with other values|begins with another"):
            read(put(tmp_path, [*CONTENT, event]))


def test_a_refused_event_changes_nothing():
    view, again = View(), View()
    for event in CONTENT[:5]:
        view.apply(event)
        again.apply(event)
    with pytest.raises(ValueError, match="a number from 1"):
        view.apply({**CONTENT[4], "epochs": 0})
    assert view == again


def test_a_program_of_ones_own_may_have_objectives_of_any_range(tmp_path):
    """Without a battery the unit of the objectives is unknown."""
    content = [header(battery=[]), *CONTENT[1:3], dict(CONTENT[5])]
    content[-1] |= {"objectives": {"natural_accuracy": -3.0, "attacked_score": 1e6}}
    content[-1] |= {"intervals": {}, "details": {}}
    assert read(put(tmp_path, content)).trials[0].state == "finished"


@pytest.mark.parametrize("end", [b"\n", b""])
def test_an_endless_line_is_not_read_into_memory(tmp_path, monkeypatch, end):
    monkeypatch.setattr(event_lines, "MAX_LINE", 10_000)
    path = put(tmp_path, CONTENT[:2])
    with path.open("ab") as file:
        file.write(bytes(5_000_000) + end)
    tracemalloc.start()
    try:
        if end:
            with pytest.raises(LedgerError, match="line 3, it is longer than"):
                read(path)
        else:  # as a power cut leaves it
            assert read(path).header.format
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_name_that_is_not_utf8_is_text(tmp_path):
    """A byte of a file's name that UTF-8 does not have; all outputs show it as an escape."""
    path = put(tmp_path, [header(data="/data/caf\udce9"), *CONTENT[1:]])
    assert read(path).header.data == "/data/caf\udce9"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "1" * 5000])
def test_a_number_that_is_none(tmp_path, number):
    path = put(tmp_path, CONTENT)
    path.write_text(path.read_text().replace('"seconds": 1.25', f'"seconds": {number}', 1))
    faults = "it is no JSON|it holds NaN or Infinity, which|.*not a finite number"
    with pytest.raises(LedgerError, match=f"line 4, ({faults})") as info:
        read(path)
    assert ("NaN or Infinity" in str(info.value)) == number.isalpha()
