"""The lines of a ledger: how an event becomes a line, and what is wrong with a damaged one.

A line is a JSON object with the keys of its event and three more: `n`, the number of the event,
counted from 0, by which a lost or repeated line is seen; `clock`, the seconds since its session
began, by a clock that nobody sets; and, last, `sum`, a checksum of all bytes before it. Earlier
versions wrote none of the three.

The checksum is CRC-32, in 8 hex digits. It finds every error within 32 neighbouring bits, and of
all others all but one in four billion, at a gigabyte per second. It is no defence against forgery:
whoever can write the file can write a checksum too.
"""

from __future__ import annotations

import itertools
import json
import math
import zlib
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

RESERVED = ("n", "clock", "sum")
MAX_LINE = 64_000_000  # bytes; the longest lines, of tables of 10,000 images, have 20,000
_SUM = b', "sum": "%08x"}\n'
_SUM_SIZE = len(_SUM % 0)
_MARK = "\ufeff"  # byte order mark, which editors of Windows write first
_NO_EVENT = "it holds no event"


class Line(NamedTuple):
    """A line of a ledger.

    Args:
      place: in the file, counted from 1.
      end: offset at which it ends, in bytes.
      event: without the keys that every line has; empty if the line is damaged.
      number: of the event, counted from 0; None: not recorded.
      clock: seconds since the session of the event began; None: not recorded.
      fault: what is wrong with the line, "" if nothing is.
      saved: the whole events that a damaged line holds still, each as a line of its own; if
        something else is in it, a damaged line comes last.
    """

    place: int
    end: int
    event: dict[str, Any]
    number: int | None = None
    clock: float | None = None
    fault: str = ""
    saved: tuple[Line, ...] = ()

    def split(self) -> tuple[Line, ...]:
        """Return what a repair makes of the line."""
        return self.saved or (self,)


def encode_line(event: Mapping[str, Any], number: int, clock: float | None = None) -> bytes:
    """Return the line of an event.

    Args:
      event: its keys `event` and `time` come first.
      number: of the event, counted from 0.
      clock: seconds since its session began; None: no session is running.

    Raises:
      ValueError: JSON cannot hold the event, or it has a key of `RESERVED`.
    """
    if taken := [key for key in RESERVED if key in event]:
        raise ValueError(f"an event cannot have a key {taken[0]!r}, which each line has")
    timed = {} if clock is None else {"clock": round(clock, 3)}
    head = {key: event[key] for key in ("event", "time") if key in event}
    content = {**head, "n": number, **timed, **event}
    body = json.dumps(content, allow_nan=False, default=_plain)[:-1].encode()
    return body + _SUM % zlib.crc32(body)


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a ledger.

    A last line that has no end yet is left out: it was cut off by a crash, filled up with zeros by
    a power cut, or is being written. Any other line was on disk as a whole.
    """
    end = 0
    with path.open("rb") as file:
        for place in itertools.count(1):
            line, size = _read_line(file)
            if not size:
                return
            end += size
            if size > len(line):
                yield Line(place, end, {}, fault=f"it is longer than {MAX_LINE / 1e6:,.0f} MB")
            else:
                yield _parse(line, place, end)


def _read_line(file: BinaryIO) -> tuple[bytes, int]:
    """Return the next line, only its first `MAX_LINE` bytes, and its size; 0 if it has no end."""
    line = last = file.readline(MAX_LINE)
    size = len(line)
    while last and not last.endswith(b"\n"):
        last = file.readline(MAX_LINE)
        size += len(last)
    return line, size if last else 0


def describe_order(number: int | None, expected: int, later: Container[int | None] = ()) -> str:
    """Return what is wrong with the number of an event, "" if nothing is.

    Args:
      number: of the event; None: not recorded.
      expected: how many events come before it.
      later: the numbers of the events that come after it.
    """
    if number is None or number == expected:
        return ""
    if number < expected:
        return f"event {number} appears twice"
    if expected in later:
        return f"event {number} comes before event {expected}"
    end = next((n for n in range(expected, number) if n in later), number)
    return f"{describe_numbers('event', range(expected, end))} missing"


def describe_numbers(noun: str, numbers: range) -> str:
    """Return neighbouring numbers as the subject of a sentence: events 3 to 5 are."""
    if len(numbers) == 1:
        return f"{noun} {numbers[0]} is"
    return f"{noun}s {numbers[0]} to {numbers[-1]} are"


def _parse(line: bytes, place: int, end: int) -> Line:
    """Return a line, and the events that can be saved from it if it is damaged."""
    found = _parse_event(line, place, end)
    if not found.fault:
        return found
    text = line.decode(errors="surrogateescape")
    saved = _save_events(text, place, end)
    if not saved or saved[-1].fault:
        return found._replace(saved=saved)
    changes = {
        "a byte order mark was put before it": text.startswith(_MARK),
        f"the line end between its {len(saved)} events is lost": len(saved) > 1,
        "the line end was changed to CRLF": text.endswith("\r\n"),
    }
    fault = " and ".join(change for change, is_made in changes.items() if is_made)
    return found._replace(fault=fault or "spaces were put around it", saved=saved)


def _save_events(text: str, place: int, end: int) -> tuple[Line, ...]:
    """Return the `saved` events of a damaged line."""
    saved: list[Line] = []
    text = text.removeprefix(_MARK).strip()
    begin = 0
    while begin < len(text):
        try:
            _, stop = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            break
        piece = text[begin:stop].encode(errors="surrogateescape") + b"\n"
        saved.append(_parse_event(piece, place, end))
        if saved[-1].fault == _NO_EVENT:
            break
        begin = next((n for n in range(stop, len(text)) if not text[n].isspace()), len(text))
    whole = [line for line in saved if not line.fault]
    if begin < len(text) or len(whole) < len(saved):
        # Without a checksum, a part of a damaged event may look like an event.
        whole = [line for line in whole if line.number is not None]
        rest = Line(place, end, {}, fault="a part of it is no whole event")
        return (*whole, rest) if whole else ()
    return tuple(whole)


def _parse_event(line: bytes, place: int, end: int) -> Line:
    try:
        event = _DECODER.decode(line.decode())
    except (ValueError, RecursionError) as error:
        known = isinstance(error, _NotFiniteError)
        return Line(place, end, {}, fault=str(error) if known else "it is no JSON")
    if type(event) is not dict or "event" not in event:
        return Line(place, end, {}, fault=_NO_EVENT)
    found, number, clock = event.pop("sum", None), event.pop("n", None), event.pop("clock", None)
    if found is None and number is None and clock is None:  # of an earlier version
        return Line(place, end, event)
    if not line.endswith(_SUM % zlib.crc32(memoryview(line)[:-_SUM_SIZE])):
        return Line(place, end, {}, fault="its checksum is wrong")
    if type(number) is not int or not (clock is None or _is_time(clock)):
        return Line(place, end, {}, fault="its number or its clock is wrong")
    return Line(place, end, event, number, clock)


class _NotFiniteError(ValueError):
    """JSON has no such number."""


def _refuse_constant(_: str) -> None:
    raise _NotFiniteError("it holds NaN or Infinity, which JSON does not know")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)  # for NaN and Infinity


def _is_time(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _plain(value: Any) -> Any:
    return asdict(value) if hasattr(value, "__dataclass_fields__") else str(value)
