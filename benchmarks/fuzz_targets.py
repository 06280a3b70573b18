"""The readers that `benchmarks/fuzz.py` feeds with damaged files, one for each kind of file.

A target takes bytes. Of these it makes a file, by damaging a good one as the bytes say, and reads
it. Whatever is in the file, the answer is a value with which all that follows works, or a
ValueError of one line; anything else is a finding.
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import spaces
from search.record.event_lines import encode_line
from search.record.ledger import read
from search.record.view import View

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "tests" / "recorded" / "v0"
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1.5, 100.0, 601.0, 1e-300, 1e300),
    *(2**31, 2**53, 10**18, 10**400, float("nan"), float("inf"), -float("inf")),
    *("", "0", "1", "a", "\x1b[2J", "\n", "\u202e", "\udce9", "\ud800", "=1+1", "<b>", "é" * 300),
    *([], [0], [[0]], [0.1, 0.2], ["a"], {}, {"a": 1}, {"name": "smoke"}, {"params": 1}),
    *("kriging", "tpe", "moasha", "none", "params", "finished", "rebuilt", "../../etc/passwd"),
)


class Choices:
    """A sequence of choices that bytes make; all are the first ones when the bytes are used up."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    @property
    def spent(self) -> bool:
        """True once the bytes are used up."""
        return self._data.tell() >= len(self._data.getbuffer())

    def number(self, below: int) -> int:
        """Return a number from 0 to `below` - 1."""
        return int.from_bytes(self._data.read(2), "big") % max(1, below)

    def of(self, options: Any) -> Any:
        """Return one of several values."""
        return options[self.number(len(options))]

    def rest(self) -> bytes:
        """Return the bytes that are left."""
        return self._data.read()


def damage_bytes(content: bytes, choices: Choices) -> bytes:
    """Return a file with bytes changed, cut out, doubled or put in."""
    damaged = bytearray(content)
    for _ in range(1 + choices.number(4)):
        at, size = choices.number(len(damaged) + 1), choices.number(64)
        kind = choices.number(5)
        if kind == 0 and damaged:
            damaged[min(at, len(damaged) - 1)] ^= 1 << choices.number(8)
        elif kind == 1:
            del damaged[at : at + size]
        elif kind == 2:
            damaged[at:at] = damaged[at : at + size]
        elif kind == 3:
            del damaged[at:]
        else:
            damaged[at:at] = choices.rest()[:size]
    return bytes(damaged)


def damage_value(value: Any, choices: Choices) -> Any:
    """Return a JSON value with a part of it replaced, left out, or under another key."""
    if not isinstance(value, dict | list) or not value or choices.number(9) == 1:
        alike = [other for other in VALUES if type(other) is type(value)]
        return choices.of(alike if choices.number(3) else VALUES)
    keys = list(value)[::-1] if isinstance(value, dict) else range(len(value))
    key = choices.of(keys)  # the kind of an event comes first, and so is the last choice
    copy = value.copy()
    if choices.number(5) == 1:
        del copy[key]
    elif choices.number(9) == 1 and isinstance(copy, dict):
        copy[str(choices.of(VALUES))] = choices.of(VALUES)
    else:
        copy[key] = damage_value(copy[key], choices)
    return copy


@cache
def good_ledgers() -> tuple[list[dict[str, Any]], ...]:
    """Return the events of recorded runs."""
    paths = (RECORDED / "finished" / "ledger.jsonl", RECORDED / "killed" / "ledger.jsonl")
    return tuple([json.loads(line) for line in path.read_text().splitlines()] for path in paths)


def damage_ledger(choices: Choices) -> bytes:
    """Return a ledger with values replaced, and events left out, doubled, moved or torn."""
    events = list(choices.of(good_ledgers()))
    for _ in range(1 + choices.number(4)):
        if choices.spent or not events:
            break
        at, to, kind = (choices.number(n) for n in (len(events), len(events), 16))
        if kind == 1:
            events.insert(to, events[at])
        elif kind == 2:
            events.insert(to, events.pop(at))
        elif kind == 3:
            del events[at]
        elif kind == 4:
            events.insert(to, choices.of(choices.of(good_ledgers())))
        elif isinstance(events[at], dict):
            events[at] = damage_value(events[at], choices)
    content = b"".join(_encode(event, n, choices) for n, event in enumerate(events))
    return damage_bytes(content, choices) if choices.number(4) == 1 else content


def _encode(event: Any, number: int, choices: Choices) -> bytes:
    """Return the line of an event: with a right checksum, or as earlier versions wrote it."""
    try:
        return encode_line(event, number, float(number))
    except (ValueError, KeyError, TypeError):
        return json.dumps(event).encode() + choices.of((b"\n", b"\r\n", b"\n\n", b""))


def use_ledger(data: bytes, folder: Path) -> None:
    """Read a damaged ledger, and compute from it all that we show and decide."""
    view = read_ledger(data, folder)
    if view is not None:
        show_view(view, folder)
        plan_on(view, folder)


def read_ledger(data: bytes, folder: Path) -> View | None:
    """Read a damaged ledger; return None if it is refused, in one line."""
    path = folder / "ledger.jsonl"
    path.write_bytes(damage_ledger(Choices(data)))
    try:
        return read(path)
    except ValueError as error:
        _check_line(error)
        return None


def show_view(view: View, folder: Path) -> None:
    """Write tables and report of a search, and print its front; nothing may fail."""
    from adv.terminal.console import PlainConsole
    from search.finals.standings import compute_standings
    from search.outcome.front import find_front, find_untold
    from search.reporting.csv_tables import hypervolumes, write_tables
    from search.reporting.fitted_table import print_fitted
    from search.reporting.front_table import front_table
    from search.reporting.html_report import write_html_report
    from search.session.run_remarks import describe_infeasible
    from search.stopping.audit import describe_stopping

    finalists = compute_standings(view, draws=50)
    write_tables(view, folder, finalists)
    write_html_report(view, folder / "report.html", finalists)
    text = io.StringIO()
    console = PlainConsole(file=text, width=200)
    front = find_front(view, finalists)
    untold = find_untold(view, front, finalists)
    print_fitted(console, front_table(front.members, view.header.score, untold))
    for line in (*describe_stopping(view), *describe_infeasible(view)):
        console.print(line, markup=False)
    if "\x1b" in text.getvalue() or not all(0 <= area <= 1 + 1e-6 for area in hypervolumes(view)):
        raise AssertionError("an escape reached the terminal, or a hypervolume is impossible")


def plan_on(view: View, folder: Path) -> None:
    """Decide how a search goes on, and replay it; a refusal is one line."""
    from search.finals.reseeding_study import choose_finalists
    from search.replay.ledger_records import benchmark_from_view
    from search.samplers.warm_start import warm_start
    from search.session.header import configure_sampler
    from search.session.recorded_settings import (
        check_recorded_names,
        check_recorded_params,
        restore_scale,
    )
    from search.stopping.table import make_stopper

    _expect_line(lambda: benchmark_from_view("run", view).true_front())
    _expect_line(lambda: warm_start([folder], spaces.load("smoke"), view.header, 8))
    try:
        scale = restore_scale(view.header)
        check_recorded_names(view.header)
        space = spaces.load(view.header.space).for_scale(scale.name)
        check_recorded_params(space, view)
    except ValueError as error:
        _check_line(error)
        return
    _expect_line(lambda: configure_sampler(space, view.header).propose(view))
    stopper = make_stopper(view.header.stopper or "none", seed=0)
    stopper.review(view)
    for trial in view.trials.values():
        for rung in trial.rungs.values():
            stopper.decide(view, trial.number, rung)
    choose_finalists(view, 4)


def use_table(data: bytes, folder: Path) -> None:
    """Read a damaged CSV file of recorded trials, and replay it."""
    from search.replay.csv_records import benchmark_from_csv

    good = (
        b"model,lr,depth,epoch,natural_accuracy,attacked_score\n"
        + b"".join(
            b"vit,%g,%d,%d,0.%d,%d\n" % (10 ** -(n % 4), n % 3 + 1, n % 2 + 1, 500 + n, 90 + n)
            for n in range(12)
        )
        + b"bignet,0.1,,1,0.4,80\n"
    )
    path = folder / "table.csv"
    path.write_bytes(damage_bytes(good, Choices(data)))
    _expect_line(lambda: benchmark_from_csv(path).true_front())


def use_npz(data: bytes, folder: Path) -> None:
    """Read a damaged set of generated images."""
    import torch

    from adv.data.datasets import Split
    from adv.generative.npz_files import read_samples

    like = Split(torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.arange(4))
    file = io.BytesIO()
    images = np.zeros((4, 32, 32, 3), dtype=np.uint8)
    np.savez(file, image=images, label=np.arange(4))
    path = folder / "set.npz"
    path.write_bytes(damage_bytes(file.getvalue(), Choices(data)))
    _expect_line(lambda: read_samples(path, like, 4))


def use_checkpoint(data: bytes, folder: Path) -> None:
    """Restore a checkpoint whose header and metadata are damaged."""
    from adv import restore

    choices, good = Choices(data), (RECORDED / "recipe.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", good[:8])
    header, content = json.loads(good[8 : 8 + size]), good[8 + size :]
    kind = choices.number(3)
    if kind == 0:
        key, text = choices.of(list(header["__metadata__"].items()))
        header["__metadata__"][key] = json.dumps(damage_value(json.loads(text), choices))
    elif kind == 1:
        header = damage_value(header, choices)
    plain = json.dumps(header).encode()
    if kind == 2:
        plain = damage_bytes(plain, choices)
    path = folder / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(plain)) + plain + content)
    _expect_line(lambda: restore(path))


def use_expression(data: bytes, _: Path) -> None:
    """Parse a damaged recipe."""
    from adv.checkpoints.expressions import parse

    good = b"Recipe(net=BigNet(width=2), defences=(RSE(0.1, 0.2),), epochs=3, lr=0.1)"
    text = damage_bytes(good, Choices(data)).decode(errors="surrogateescape")
    _expect_line(lambda: parse(text))


def use_image(data: bytes, folder: Path) -> None:
    """Decode a damaged image of each format."""
    from PIL import Image

    from adv.data.image_file import FORMATS, decode

    choices, file = Choices(data), io.BytesIO()
    Image.effect_noise((40, 40), 50).convert("RGB").save(file, choices.of(FORMATS))
    path = folder / "image.png"
    path.write_bytes(damage_bytes(file.getvalue(), choices))
    _expect_line(lambda: decode(str(path)))


TARGETS: Mapping[str, Callable[[bytes, Path], None]] = {
    "ledger": use_ledger,
    "table": use_table,
    "checkpoint": use_checkpoint,
    "expression": use_expression,
    "npz": use_npz,
    "image": use_image,
}


def run_target(name: str, data: bytes) -> None:
    """Feed a target in a temporary folder; raise what it finds."""
    with tempfile.TemporaryDirectory() as folder:
        TARGETS[name](data, Path(folder))


def _expect_line(call: Callable[[], Any]) -> None:
    try:
        call()
    except ValueError as error:
        _check_line(error)


def _check_line(error: ValueError) -> None:
    text = str(error)
    if type(error) is UnicodeEncodeError or not text or "\n" in text or len(text) > 1000:
        raise AssertionError(f"not one short line: {text[:2000]!r}") from error
