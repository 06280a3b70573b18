"""The repair of damaged ledgers: what is kept, what is lost with it, what is refused."""

import fcntl
import json
import os
import random
import shutil
from contextlib import closing
from pathlib import Path

import pytest
from formula_runs import SPACE, Formula

from search.backends import serial
from search.finals.standings import compute_standings
from search.interrupt import Interrupt
from search.record.event_lines import encode_line, read_lines
from search.record.ledger import Ledger, LedgerError, read
from search.record.repair import describe_repairs, repair_ledger
from search.record.run_folder import LEDGER, REPAIRED, STUDY
from search.reporting.csv_tables import write_tables
from search.session.repair_run import describe_consequences, describe_missing, repair_run
from search.study import Study

OLD = Path(__file__).parents[2] / "recorded" / "v0" / "finished"


@pytest.fixture
def run(tmp_path):
    """The folder of a search of five trials, the last of which still runs."""
    folder = tmp_path / "my run"
    folder.mkdir()
    header = {"format": 1, "space": "formula", "trials": 5}
    (folder / STUDY).write_text(json.dumps(header))
    with closing(Ledger(folder / LEDGER)) as ledger:
        ledger.append("study", **header)
        ledger.append("session", trials=5)
        serial.search(Study(SPACE, ledger, trials=4, seed=0), Formula(2), Interrupt())
        params = {**ledger.view.trials[3].params, "x": 0.5}
        ledger.append("proposed", trial=4, params=params, seed=4, origin="tpe")
    return folder


def lines_of(folder):
    return (folder / LEDGER).read_bytes().splitlines(keepends=True)


def find(lines, kind, trial):
    """Return the place of a trial's event, counted from 0."""
    events = [json.loads(line) for line in lines]
    return next(i for i, e in enumerate(events) if (e["event"], e.get("trial")) == (kind, trial))


def repair(folder, lines):
    """Repair a ledger with these lines; return what `repair_ledger` says, and the copy's view."""
    content = b"".join(lines)
    (folder / LEDGER).write_bytes(content)
    (folder / REPAIRED).unlink(missing_ok=True)
    found = repair_ledger(folder)
    assert (folder / LEDGER).read_bytes() == content
    return found, read(folder / REPAIRED)


def test_a_lost_result_is_all_that_is_lost(run):
    before, lines = read(run / LEDGER), lines_of(run)
    lost = find(lines, "finished", 1)
    del lines[lost]
    found, view = repair(run, lines)
    assert [t.state for t in view.trials.values()] == [
        *("finished", "running", "finished", "finished", "running")
    ]
    for number in (0, 2, 3):
        assert view.trials[number] == before.trials[number]
    assert list(describe_missing(found)) == [f"Event {lost} is missing."]
    assert any(text.startswith("Trials 1, 4: not ended") for text in describe_consequences(found))
    assert describe_repairs(view) == ["The ledger was repaired, without 1 missing event."]


def test_a_trial_whose_proposal_is_lost_loses_all_and_its_number(run):
    """Its folder holds the state of a configuration that nobody knows."""
    lines = lines_of(run)
    lines[find(lines, "proposed", 1)] = b"\0" * 30 + b"\n"
    found, view = repair(run, lines)
    assert list(view.trials) == [0, 2, 3, 4] and found.lost == view.lost == {1}
    assert len(found.dropped) == 1 + 4  # and its start, two epochs and its result
    (run / REPAIRED).replace(run / LEDGER)
    with closing(Ledger(run / LEDGER)) as ledger:
        study = Study(SPACE, ledger, trials=5, seed=0)
        assert study.remaining == 2
        serial.search(study, Formula(2), Interrupt())
    view = read(run / LEDGER)
    assert list(view.trials) == [0, 2, 3, 4, 5] and len(view.in_state("finished")) == 5
    assert view.repairs and not repair_ledger(run).needed


def test_known_configurations_of_lost_trials_are_tried_after_all(run):
    """A grid would have a hole else."""
    lines = lines_of(run)
    place = find(lines, "proposed", 0)
    lost = json.loads(lines[place])["params"]
    del lines[place]
    _, view = repair(run, lines)
    (run / REPAIRED).replace(run / LEDGER)
    with closing(Ledger(run / LEDGER)) as ledger:
        study = Study(SPACE, ledger, trials=5, seed=0)
        serial.search(study, Formula(2), Interrupt())
        [last] = [t for number, t in ledger.view.trials.items() if number not in view.trials]
    assert (last.number, last.params, last.origin) == (5, lost, "known")


def test_a_folder_without_an_event_keeps_its_number(run):
    """The lost line was the last one that named its trial."""
    lines = lines_of(run)
    for name in ("0000", "0004", "notes", "9999"):
        (run / "trials" / name).mkdir(parents=True, exist_ok=True)
    found, view = repair(run, [*lines[:-1], b"?\n"])
    assert found.lost == {4} and view.next_number == 5


def test_the_header_is_taken_from_the_file_beside_it(run):
    lines = lines_of(run)
    found, view = repair(run, lines[1:])
    assert found.header_lost and view.header.space == "formula"
    assert list(view.trials) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": 1, "seed": "zero"}', "{}"])
def test_without_a_header_there_is_no_repair(run, content):
    lines = lines_of(run)
    (run / LEDGER).write_bytes(b"".join(lines[1:]))
    (run / STUDY).unlink()
    if content is not None:
        (run / STUDY).write_text(content)
    with pytest.raises(LedgerError, match="cannot be repaired: the event that says what was"):
        repair_ledger(run)
    assert not (run / REPAIRED).exists()


def test_lines_in_another_order_are_put_in_order(run):
    whole, lines = read(run / LEDGER), lines_of(run)
    lines[3], lines[4] = lines[4], lines[3]
    found, view = repair(run, lines)
    assert found.moved and not found.dropped and view.trials == whole.trials


CHANGES = {  # of the lines of a ledger, which leave each event whole; and what is said
    "line ends of Windows": (
        lambda a: [line.replace(b"\n", b"\r\n") for line in a],
        "{all} lines mended: the line end was changed to CRLF.",
    ),
    "a byte order mark": (
        lambda a: [b"\xef\xbb\xbf" + a[0], *a[1:]],
        "1 line mended: a byte order mark was put before it.",
    ),
    "lost line ends": (
        lambda a: [*a[:3], a[3][:-1], a[4].strip() + b"\r", *a[5:]],
        "1 line mended: the line end between its 3 events is lost.",
    ),
    "spaces": (
        lambda a: [*a[:3], b"  " + a[3][:-1] + b"\t\n", *a[4:]],
        "1 line mended: spaces were put around it.",
    ),
}


@pytest.mark.parametrize("numbered", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_an_event_that_is_whole_is_kept_whatever_stands_around_it(run, capsys, name, numbered):
    """Also of a ledger without checksums, where spaces are no damage."""
    change, said = CHANGES[name]
    lines = lines_of(run)
    if not numbered:
        keys = ("n", "clock", "sum")
        plain = [{k: v for k, v in json.loads(a).items() if k not in keys} for a in lines]
        lines = [json.dumps(event).encode() + b"\n" for event in plain]
    (run / LEDGER).write_bytes(b"".join(lines))
    whole = read(run / LEDGER)
    (run / LEDGER).write_bytes(b"".join(change(lines)))
    if not numbered and name in ("line ends of Windows", "spaces"):
        assert read(run / LEDGER).trials == whole.trials
        return
    assert repair_run(run) == 0
    out = capsys.readouterr().out
    assert f"{len(lines)} events kept, 0 lines left out." in out
    assert said.format(all=len(lines)) in out
    view = read(run / REPAIRED)
    assert view.trials == whole.trials and not view.lost
    assert describe_repairs(view) == ["The ledger was repaired."]


def test_of_a_line_that_is_damaged_in_part_the_rest_is_kept(run):
    whole, lines = read(run / LEDGER), lines_of(run)
    place = find(lines, "finished", 1)
    harmed = lines[place].replace(b'"time": 1', b'"time": 3', 1)
    joined = [lines[place - 1][:-1] + harmed[:-1] + lines[place + 1]]
    found, view = repair(run, [*lines[: place - 1], *joined, *lines[place + 2 :]])
    assert found.dropped == [(place, "a part of it is no whole event")] and not found.mended
    assert view.trials[1].state == "running" and view.trials[1].epochs == whole.trials[1].epochs
    assert view.trials[2] == whole.trials[2]


def test_a_part_of_a_damaged_event_is_no_event(run):
    """Here a comma has become a brace, before all that a checksum covers."""
    lines = lines_of(run)
    place = find(lines, "proposed", 4)
    lines[place] = lines[place].replace(b', "n"', b'} "n"', 1)
    found, _ = repair(run, lines)
    assert found.dropped == [(place + 1, "it is no JSON")]


def test_of_an_empty_ledger_the_header_is_no_event_that_was_kept(run, capsys):
    (run / LEDGER).write_bytes(b"")
    for folder in ("trials/0007", "trials/notes", "finals/trials/0001"):
        (run / folder).mkdir(parents=True, exist_ok=True)
    assert repair_run(run) == 0
    out = capsys.readouterr().out
    assert "0 events kept, 0 lines left out." in out
    assert "What was searched is taken from study.json." in out
    assert "Trials 0, 1, 2, 3, 7: lost" in out and "Final training 1: lost" in out
    view = read(run / REPAIRED)
    assert view.lost == {0, 1, 2, 3, 7} and view.next_number == 8 and view.lost_finals == {1}


def test_results_that_another_battery_may_have_given_are_left_out(run):
    """The line that changed the battery is lost; a result after it would mix with those before."""
    objectives = {"natural_accuracy": 0.5, "attacked_score": 9.0}
    result = {"objectives": objectives, "intervals": {}, "details": {}}
    with closing(Ledger(run / LEDGER)) as ledger:
        for number in range(4):
            ledger.append("rescored", trial=number, battery="b", **result)
        ledger.append("rebuilt", battery="b", header={"battery": []}, missing={})
        ledger.append("finished", trial=4, **result)
    lines = lines_of(run)
    found, view = repair(run, [*lines[:-2], lines[-1]])
    assert view.trials[4].state == "running" and "battery" in found.dropped[0][1]
    assert repair(run, [*lines[:-3], *lines[-2:]])[1].trials[4].state == "finished"
    assert repair(run, [*lines[:3], *lines[4:]])[1].trials[4].state == "finished"


def test_a_ledger_without_damage_is_left_alone(run, capsys):
    whole = len(lines_of(run))
    for tail in (b"", b'{"event": "ep'):
        with (run / LEDGER).open("ab") as file:
            file.write(tail)
        before = sorted(path.name for path in run.iterdir())
        assert repair_run(run) == 0
        assert f"has no damage: {whole} whole events" in capsys.readouterr().out
        assert sorted(path.name for path in run.iterdir()) == before


def test_a_copy_is_never_overwritten_and_a_search_that_runs_never_read(run):
    lines = lines_of(run)
    (run / LEDGER).write_bytes(b"".join([*lines[:3], *lines[4:]]))
    with (run / LEDGER).open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LedgerError, match="in use by another"):
            repair_ledger(run)
    (run / REPAIRED).write_text("mine")
    with pytest.raises(LedgerError, match="exists already"):
        repair_ledger(run)
    assert (run / REPAIRED).read_text() == "mine"


def test_a_full_disk_leaves_no_half_copy(run, monkeypatch, capsys):
    lines = lines_of(run)
    (run / LEDGER).write_bytes(b"".join([*lines[:3], *lines[4:]]))

    def fail(_):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    assert repair_run(run) == 1
    assert "No space left" in capsys.readouterr().err
    assert sorted(path.name for path in run.iterdir()) == [LEDGER, STUDY, "trials"]


def test_a_newer_format_is_refused(run):
    lines = lines_of(run)
    study = encode_line({"event": "study", "time": 0, "format": 99}, 0)
    (run / LEDGER).write_bytes(b"".join([study, *lines[2:]]))
    with pytest.raises(LedgerError, match="format 99"):
        repair_ledger(run)


def damage(lines, chance):
    """Return lines after one to five accidents."""
    for _ in range(chance.randint(1, 5)):
        i, j = chance.randrange(len(lines)), chance.randrange(len(lines))
        kind = chance.randrange(6)
        line = bytearray(lines[i])
        line[chance.randrange(len(line) - 1)] ^= 1 << chance.randrange(7)
        lines = [
            [*lines[:i], *lines[i + 1 :]],
            [*lines[:i], b"\0" * 9 + b"\n", *lines[i + 1 :]],
            [*lines[:i], lines[j], *lines[i:]],
            [*lines[:i], lines[i][:20] + b"\n" + lines[i][20:], *lines[i + 1 :]],
            [*lines[:i], lines[i][:-1], *lines[i + 1 :]],
            [*lines[:i], bytes(line).replace(b"\n", b" ") + b"\n", *lines[i + 1 :]],
        ][kind]
    return lines


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_to_its_lines_a_ledger_is_repaired(tmp_path, seed):
    """With rungs, finals and a re-scoring, with numbers and checksums or without."""
    chance = random.Random(seed)
    shutil.copy(OLD / STUDY, tmp_path / STUDY)
    old = (OLD / LEDGER).read_bytes().splitlines(keepends=True)
    new = [encode_line(json.loads(line), n, float(n)) for n, line in enumerate(old)]
    split = chance.choice([0, 0, len(old) // 2])
    found, view = repair(tmp_path, damage([*old[:split], *new[split:]], chance))
    numbers = [line.number for line in read_lines(tmp_path / REPAIRED)]
    assert numbers == list(range(len(numbers)))
    known = {json.dumps(json.loads(line)) for line in old}
    kinds = ("finals", "final", "repaired", "study")
    for line in read_lines(tmp_path / REPAIRED):
        assert json.dumps(line.event) in known or line.event["event"] in kinds
    list(describe_consequences(found))
    write_tables(view, tmp_path, compute_standings(view))
