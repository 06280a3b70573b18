"""The ledger's header and a trial's details: typed, complete, and without loss."""

import json
from dataclasses import fields

import pytest
from synthetic_studies import events, final_events, header

from search.record.json_records import FieldError
from search.record.ledger import Ledger, LedgerError, read
from search.record.study_header import FinalsHeader, StudyHeader
from search.record.trial_result import ResultDetails, TrialResult

EVENTS = [*events(), *final_events()]
FINISHED = [event for event in EVENTS if event["event"] == "finished"]


def put(folder, *content):
    path = folder / "ledger.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in content))
    return path


def test_a_header_is_read_and_written_without_loss():
    plain = header(sampler="tpe", stopper="none", audit=0.0, constraints={}, warm={"runs": ["a"]})
    read_back = StudyHeader.from_json(plain)
    assert {"event": "study", **read_back.to_json()} == plain
    assert read_back.extra == {"options": {}}
    assert (read_back.audit, read_back.constraints) == (0.0, {})
    assert read_back.warm is not None and read_back.warm.runs == ["a"]


def test_a_header_of_a_newer_version_keeps_what_this_one_does_not_know(tmp_path):
    view = read(put(tmp_path, header(priority={"queue": 3})))
    assert view.header.extra["priority"] == {"queue": 3}
    assert view.header.merge({"seed": 7}).to_json()["priority"] == {"queue": 3}


def test_what_an_old_header_did_not_record_is_not_invented():
    old = {"event": "study", "format": 1, "name": "n"}
    assert StudyHeader.from_json(old).to_json() == {"format": 1, "name": "n"}
    assert StudyHeader.from_json(old).constraints is None


def test_the_finals_are_read_and_written_without_loss():
    [plain] = [event for event in EVENTS if event["event"] == "finals"]
    assert {"event": "finals", **FinalsHeader.from_json(plain).to_json()} == plain


@pytest.mark.parametrize("event", FINISHED[:3])
def test_details_are_read_and_written_without_loss(event):
    plain = {**event["details"], "carbon": 0.1}
    read_back = ResultDetails.from_json(plain)
    assert json.loads(json.dumps(read_back.to_json())) == plain
    assert read_back.extra == {"carbon": 0.1}
    for name in ("objectives", "intervals", "details"):
        again = TrialResult.from_json(event).to_json()
        assert json.loads(json.dumps(again[name])) == event[name]


def test_a_gap_of_zero_is_written():
    gap = {"gap": 0.0, "interval": [0.0, 0.0], "flagged": False}
    assert json.loads(json.dumps(ResultDetails.from_json({"masking_gap": gap}).to_json())) == {
        "masking_gap": gap
    }


def test_no_record_has_a_field_that_is_called_as_a_key_of_the_event():
    assert "event" not in {one.name for one in fields(StudyHeader)}


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, {"seed": "zero"}, "line 1, event study: key 'seed' holds 'zero', not a whole number"),
        (1, {"classes": True}, "line 1, event study: key 'classes' holds True, not a whole number"),
        (1, {"knobs": [1]}, "line 1, event study: key 'knobs' holds [1], not an object"),
        (1, {"format": "two"}, "event study: key 'format' holds 'two', not a whole number"),
        (3, {"params": None}, "line 3, event proposed: key 'params' holds None, not an object"),
        (
            4,
            {"trial": 99},
            "line 4, event epoch: key 'trial' holds 99, which no proposed event has",
        ),
        (4, {"seconds": "long"}, "line 4, event epoch: key 'seconds' holds 'long', not a number"),
        (16, {"intervals": {"a": [1]}}, "event finished: key 'a' holds 1 values, not 2"),
        (16, {"details": {"images": 1.5}}, "event finished: details: key 'images' holds 1.5"),
        (16, {"details": {"masking_gap": {}}}, "details: masking_gap: key 'gap' is missing"),
        (16, {"objectives": {}}, "event finished: natural_accuracy is None, not a finite number"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_file_event_and_key(tmp_path, line, change, message):
    content = list(events(2, 0))
    content[line - 1] = {**content[line - 1], **change}
    path = put(tmp_path, *content)
    for opening in (read, Ledger):
        with pytest.raises(LedgerError) as info:
            opening(path)
        assert message in str(info.value) and str(path) in str(info.value)
        assert "\n" not in str(info.value)


def test_a_missing_key_is_named(tmp_path):
    content = list(events(2, 0))
    del content[3]["epochs"]
    with pytest.raises(LedgerError, match=r"line 4, event epoch: key 'epochs' is missing"):
        read(put(tmp_path, *content))


def test_details_of_the_wrong_type_cannot_be_made():
    with pytest.raises(FieldError, match="key 'best_epoch' holds 'last', not a whole number"):
        ResultDetails(best_epoch="last")  # type: ignore[arg-type]
