"""Files of a run that are damaged while no driver runs."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fault_kinds.deaths import open_case
from fault_kinds.lab import NAME, SERIAL, Lab, ledger_of, wait_for_event
from fault_kinds.verdict import Case, Kind, Outcome

REPAIRED = "ledger.repaired.jsonl"


def flip_bit(path: Path, at: float = 0.5) -> None:
    """Flip one bit of a file.

    Args:
      path: of the file.
      at: where, as a fraction of its length.
    """
    content = bytearray(path.read_bytes())
    content[int(at * (len(content) - 1))] ^= 4
    path.write_bytes(content)


def cut_last_line(ledger: Path) -> None:
    """Cut the last line in its middle, as a crash does."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])


def append_zeros(ledger: Path) -> None:
    """Append zeros, as a power cut does on some file systems."""
    ledger.write_bytes(ledger.read_bytes() + bytes(4096))


def damage_middle(ledger: Path) -> None:
    """Overwrite bytes of a line in the middle."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    lines[middle] = lines[middle][:20] + b"\xff\x00\xff" + lines[middle][23:]
    ledger.write_bytes(b"".join(lines))


def change_digit(ledger: Path) -> None:
    """Change one digit of a metric in the middle, so that the line is still JSON."""
    text = ledger.read_text()
    at = text.index('"metrics"', len(text) // 3)
    digit = next(i for i in range(at, len(text)) if text[i].isdigit())
    ledger.write_text(text[:digit] + ("1" if text[digit] != "1" else "2") + text[digit + 1 :])


def drop_middle(ledger: Path) -> None:
    """Drop a line in the middle."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    del lines[len(lines) // 2]
    ledger.write_bytes(b"".join(lines))


def double_middle(ledger: Path) -> None:
    """Write a line in the middle twice."""
    lines = ledger.read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    ledger.write_bytes(b"".join([*lines[: middle + 1], *lines[middle:]]))


@dataclass(frozen=True)
class DamageTail:
    """Damages the end of a ledger in a way that a crash does: resuming needs no help."""

    damage: Callable[[Path], None]

    def __call__(self, lab: Lab) -> Outcome:
        """Kill the driver, damage the ledger, and resume."""
        case = open_case(lab, "ledger-end")
        _kill_after_epochs(lab, case)
        case.start_clock()
        self.damage(ledger_of(case.home))
        case.expect(lab.resume(case.home, *SERIAL), 0)
        return case.judge()


@dataclass(frozen=True)
class DamageLedger:
    """Damages the middle of a ledger: resuming is refused, `--repair` makes a sound copy."""

    damage: Callable[[Path], None]

    def __call__(self, lab: Lab) -> Outcome:
        """Kill the driver, damage the ledger, see it refused, repair it, and resume."""
        case = open_case(lab, "ledger-middle")
        case.holes = True  # what the damaged line alone held, such as metrics of an epoch
        _kill_after_epochs(lab, case)
        case.start_clock()
        ledger = ledger_of(case.home)
        self.damage(ledger)
        damaged = ledger.read_bytes()
        refused = lab.resume(case.home, *SERIAL)
        case.expect(refused, 2)
        case.demand(refused.text.count("\n") == 1, "more than one line of refusal")
        case.demand(ledger.read_bytes() == damaged, "the damaged ledger was changed")
        repair = lab.start(case.home, "--repair", f"runs/{NAME}")
        repair.wait()
        case.expect(repair, 0)
        case.demand(ledger.read_bytes() == damaged, "the damaged ledger was changed by --repair")
        if (ledger.parent / REPAIRED).exists():
            (ledger.parent / REPAIRED).replace(ledger)
        case.expect(lab.resume(case.home, *SERIAL), 0)
        return case.judge()


def _kill_after_epochs(lab: Lab, case: Case) -> None:
    """Kill the driver in the second trial, when one trial has finished."""
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "finished", launch)
    wait_for_event(case.home, "epoch", launch, 4)
    launch.kill()
    case.expect(launch, -signal.SIGKILL)
    lab.clear()


@dataclass(frozen=True)
class DamageState:
    """Damages what a trial that was killed would resume from.

    Args:
      name: of the file in the trial's folder.
      at: fraction of its length at which a bit is flipped; None: it is cut in half.
    """

    name: str
    at: float | None

    def __call__(self, lab: Lab) -> Outcome:
        """Kill the driver, damage the file, and resume: the trial begins anew."""
        case = open_case(lab, "state")
        _kill_after_epochs(lab, case)
        case.start_clock()
        (path,) = case.home.glob(f"runs/{NAME}/trials/0001/{self.name}")
        if self.at is None:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        else:
            flip_bit(path, self.at)
        case.expect(lab.resume(case.home, *SERIAL), 0)
        return case.judge()


def damage_weights(lab: Lab) -> Outcome:
    """Flip one bit of each finished net's weights: none of them gets into `front/`."""
    case, chance = open_case(lab, "weights"), random.Random(0)
    launch = lab.begin(case.home, *SERIAL)
    launch.wait()
    case.expect(launch, 0)
    run = case.home / "runs" / NAME
    sound = {path.name: path.read_bytes() for path in run.glob("front/*.safetensors")}
    for path in run.glob("trials/*/best.safetensors"):
        flip_bit(path, chance.random())
    case.start_clock()
    resumed = lab.resume(case.home, *SERIAL)
    case.expect(resumed, 0)
    wrong = [p.name for p in run.glob("front/*.safetensors") if sound.get(p.name) != p.read_bytes()]
    case.demand(not wrong, f"damaged weights in front/: {', '.join(wrong)}")
    return case.judge()


KINDS = (
    Kind("ledger-cut", "last line of the ledger cut", DamageTail(cut_last_line)),
    Kind("ledger-zeros", "zeros at the end of the ledger", DamageTail(append_zeros)),
    Kind("ledger-middle", "bytes in the ledger's middle damaged", DamageLedger(damage_middle)),
    Kind("ledger-digit", "one digit in the ledger changed", DamageLedger(change_digit)),
    Kind("ledger-dropped", "a line of the ledger lost", DamageLedger(drop_middle)),
    Kind("ledger-doubled", "a line of the ledger doubled", DamageLedger(double_middle)),
    Kind("state-bit", "one bit of a trial's state flipped", DamageState("state.pt", 0.5)),
    Kind("state-cut", "a trial's state cut in half", DamageState("state.pt", None)),
    Kind(
        "best-bit",
        "one bit of a running trial's weights flipped",
        DamageState("best.safetensors", 0.7),
    ),
    Kind("weights", "one bit of each finished net flipped", damage_weights),
)
