"""The repair of a damaged ledger: a copy of what is whole, without what rested on the rest.

Lines that are damaged, repeated or missing may take others with them: a trial whose `proposed`
event is lost loses all its events, because nothing says what was trained. Its number is not used
again, for the files in its folder are of that trial. A `study` event is taken from `study.json`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adv.files import partial_file
from search.formatting import count
from search.record.event_lines import RESERVED, Line, encode_line, read_lines
from search.record.ledger import LedgerError, check_format, lock, read
from search.record.limits import MAX_TRIALS
from search.record.lost_trials import (
    find_lost_folders,
    leave_out_lost_finalists,
    note_lost,
    repeats_lost_trial,
)
from search.record.run_folder import FINALS, LEDGER, REPAIRED, STUDY, TRIALS
from search.record.view import Event, View


@dataclass
class Repair:
    """A plan of the events that a repair keeps, and of those that are lost.

    Args:
      kept: the lines of the copy.
      mended: for each line of which all events are kept, though it is damaged, what is wrong.
      dropped: for each line that is left out its place in the file, counted from 1, and why.
      missing: numbers of the events of which there is no line, counted from 0; each range is of
        neighbours.
      moved: whether events were not in the order of their numbers.
      header_lost: whether the `study` event is taken from `study.json`.
      lost: numbers of the trials of which nothing can be kept.
      lost_finals: the same for the trainings of the finals.
      view: of the copy.
    """

    kept: list[bytes] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    dropped: list[tuple[int, str]] = field(default_factory=list)
    missing: list[range] = field(default_factory=list)
    moved: bool = False
    header_lost: bool = False
    lost: set[int] = field(default_factory=set)
    lost_finals: set[int] = field(default_factory=set)
    view: View = field(default_factory=View)

    @property
    def needed(self) -> bool:
        """True if the ledger is damaged at all."""
        harm = (self.mended, self.dropped, self.missing, self.moved, self.header_lost)
        return any(harm)


def repair_ledger(folder: Path) -> Repair:
    """Write a copy of a run's ledger without its damage to `REPAIRED`, if it has any.

    The ledger itself is left as it is.

    Raises:
      LedgerError: another driver holds it, it is of a newer format, it cannot be repaired, or an
        earlier copy exists.
      OSError: it cannot be read, or the copy cannot be written; there is none then.
    """
    path, copy = folder / LEDGER, folder / REPAIRED
    with path.open("r+b") as file:
        lock(file, path)
        repair = examine_ledger(folder)
        if not repair.needed:
            return repair
        try:
            with partial_file(copy, replace=False) as partial:
                partial.write_bytes(b"".join(repair.kept))
                repair.view = read(partial)  # a copy that cannot be read would be no help
        except FileExistsError:
            raise LedgerError(f"{copy} exists already: put it in place, or remove it") from None
    return repair


def examine_ledger(folder: Path) -> Repair:
    """Return what can be kept of a run's ledger, and what is lost; write nothing.

    Raises:
      LedgerError: it is of a newer format, or nothing says what was searched.
    """
    path, repair = folder / LEDGER, Repair()
    whole = _sort_out(read_lines(path), repair)
    empty = not whole and not repair.dropped
    if not any(line.event["event"] == "study" for _, line in whole):
        whole.insert(0, (0, _read_header(folder, whole)))
        repair.header_lost = True
    _keep(path, whole, repair)
    if repair.needed:
        view, limit = repair.view, len(repair.dropped) + sum(map(len, repair.missing))
        limit = MAX_TRIALS if empty else limit
        finals = view.finals or View()
        repair.lost |= find_lost_folders(folder / TRIALS, view, limit)
        repair.lost_finals |= find_lost_folders(folder / FINALS / TRIALS, finals, limit)
        record = {
            "event": "repaired",
            "time": time.time(),
            "lines": sorted(place for place, _ in repair.dropped),
            "missing": [[numbers[0], numbers[-1]] for numbers in repair.missing],
            "trials": sorted(repair.lost),
            "finals": sorted(repair.lost_finals),
        }
        repair.kept.append(encode_line(record, len(repair.kept)))
        view.apply(record)
    return repair


def _sort_out(lines: Iterable[Line], repair: Repair) -> list[tuple[int, Line]]:
    """Return the whole lines by number; note the others, and which are missing, in `repair`."""
    whole: list[tuple[int, Line]] = []
    recorded: set[int] = set()
    damaged: set[int] = set()
    number = 0  # of the next line, as far as is known
    for line in _split(lines, repair):
        if line.fault:
            repair.dropped.append((line.place, line.fault))
            damaged.add(number)
        elif line.number in recorded:
            repair.dropped.append((line.place, f"event {line.number} appears twice"))
            continue
        else:
            number = number if line.number is None else line.number
            whole.append((number, line))
            recorded |= {number} if line.number is not None else set()
        number += 1
    order = [number for number, _ in whole]
    repair.moved = order != sorted(order)
    whole.sort(key=lambda item: item[0])
    if recorded:
        expected = 0
        for number in sorted({*order} | damaged):
            if number > expected:
                repair.missing.append(range(expected, number))
            expected = number + 1
    return whole


def _split(lines: Iterable[Line], repair: Repair) -> Iterator[Line]:
    """Yield the lines; instead of a damaged one that holds whole events, a line for each."""
    for line in lines:
        if line.saved and not line.saved[-1].fault:
            repair.mended.append(line.fault)
        yield from line.split()


def _keep(path: Path, whole: Iterable[tuple[int, Line]], repair: Repair) -> None:
    """Add the lines of events that can be applied one after another to a repair."""
    collected = doubtful = False
    before = -1
    for number, line in whole:
        kind, reason = line.event["event"], ""
        if kind == "study":
            check_format(path, line.event)
        doubtful |= collected and number > before + 1
        before = number
        if kind in ("rescored", "rebuilt"):  # results under another battery, put in place at last
            collected, doubtful = kind == "rescored", doubtful and kind == "rescored"
        elif kind == "finished" and doubtful:
            reason = "a lost event may have changed the battery before this result"
        event = leave_out_lost_finalists(line.event, repair.view)
        reason = reason or _apply(repair, event, line.clock)
        doubtful |= kind == "rebuilt" and reason != ""
        if reason:
            repair.dropped.append((line.place, reason))
        else:
            repair.kept.append(encode_line(event, len(repair.kept), line.clock))
    repair.dropped.sort()


def _apply(repair: Repair, event: dict[str, Any], clock: float | None) -> str:
    """Apply an event to the view of a repair; return why it cannot be kept, "" if it can."""
    view, part = repair.view, event
    trials, lost, noun = view.trials, repair.lost, "trial"
    if event["event"] == "final":
        trials = view.finals.trials if view.finals else {}
        lost, noun, part = repair.lost_finals, "final training", event.get("part", {})
        if view.finals is None or repeats_lost_trial(part, view):
            note_lost(part, trials, lost)
            return "what it belongs to is lost: " + (
                "the finals" if view.finals is None else f"trial {part['origin']}"
            )
    try:
        encode_line(event, 0)  # an infinity, which JSON reads but must not write
        view.apply(event, clock)
    except ValueError as error:
        number = note_lost(part, trials, lost)
        if number is not None:
            return f"what it belongs to is lost: {noun} {number}"
        return f"event {event['event']}: {error}"
    return ""


def _read_header(folder: Path, whole: list[tuple[int, Line]]) -> Line:
    """Return the `study` event that `study.json` holds."""
    path = folder / STUDY
    try:
        plain = json.loads(path.read_bytes())
        kept = {key: value for key, value in plain.items() if key not in RESERVED}
        began = whole[0][1].event.get("time") if whole else time.time()
        event = {"event": "study", "time": began, **kept}
        check_format(path, event)
        encode_line(event, 0)
        View().apply(event)
    except (OSError, ValueError, AttributeError, RecursionError):
        raise LedgerError(
            f"{folder / LEDGER} cannot be repaired: the event that says what was searched is "
            f"lost, and {path} does not hold it either"
        ) from None
    return Line(0, 0, event)


def describe_repairs(view: View) -> list[str]:
    """Return a sentence for each repair of a ledger."""
    return [_describe_repair(event) for event in view.repairs]


def _describe_repair(event: Event) -> str:
    missing = sum(last - first + 1 for first, last in event["missing"])
    lost = {"line": len(event["lines"]), "missing event": missing}
    without = " and ".join(count(number, noun) for noun, number in lost.items() if number)
    text = f"The ledger was repaired{without and f', without {without}'}"
    for noun, key in (("trial", "trials"), ("final training", "finals")):
        if numbers := event[key]:
            text += f"; {noun}{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} lost"
    return f"{text}."
