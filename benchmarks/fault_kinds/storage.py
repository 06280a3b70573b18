"""Storage that is full, failing, read-only or away."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass
from pathlib import Path

from fault_kinds.deaths import open_case
from fault_kinds.lab import NAME, SERIAL, Lab, wait_for, wait_for_event
from fault_kinds.mounts import Disk, FailingDisk
from fault_kinds.verdict import Case, Kind, Outcome


def fill_disk(lab: Lab) -> Outcome:
    """Fill the disk after the first epoch; whatever is written next fails."""
    case = open_case(lab, "disk-full")
    disk = Disk(lab, case.home / "runs")
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    case.start_clock()
    disk.fill()
    launch.wait()
    case.expect(launch, 1)
    disk.free()
    case.expect(lab.resume(case.home, *SERIAL), 0)
    return case.judge()


@dataclass(frozen=True)
class FillForWriter:
    """Fills the file system of one file or folder of the run, so that its writer fails.

    Args:
      part: path in the run folder that gets a file system of its own.
      leave: bytes that stay free.
    """

    part: str
    leave: int

    def __call__(self, lab: Lab) -> Outcome:
        """Interrupt the search, give the part a disk that is nearly full, and resume."""
        case = open_case(lab, "disk-full")
        _interrupt(lab, case)
        disk = Disk(lab, case.home / "runs" / NAME / self.part)
        disk.fill(self.leave)
        case.start_clock()
        case.expect(lab.resume(case.home, *SERIAL), 1, 2)
        disk.end()
        case.expect(lab.resume(case.home, *SERIAL), 0)
        return case.judge()


def _interrupt(lab: Lab, case: Case) -> None:
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    launch.process.send_signal(signal.SIGTERM)
    launch.wait()
    case.expect(launch, 128 + signal.SIGTERM)


@dataclass(frozen=True)
class FillAtEnd:
    """Fills the disk of a finished search, whose outputs are then written anew.

    Args:
      leave: bytes that stay free: more than a ledger's event, less than the output needs.
    """

    leave: int

    def __call__(self, lab: Lab) -> Outcome:
        """Resume a finished search on a nearly full disk, then with room."""
        case = open_case(lab, "disk-full")
        disk = Disk(lab, case.home / "runs")
        launch = lab.begin(case.home, *SERIAL)
        launch.wait()
        case.expect(launch, 0)
        run = case.home / "runs" / NAME
        before = _outputs(run)
        disk.fill(self.leave)
        case.start_clock()
        case.expect(lab.resume(case.home, *SERIAL), 1, 2)
        case.demand(_outputs(run) == before, "an output of before is lost")
        disk.free()
        case.expect(lab.resume(case.home, *SERIAL), 0)
        case.demand(_outputs(run) == before, "an output is missing")
        return case.judge()


def _outputs(run: Path) -> set[str]:
    paths = [run / "report.html", run / "trials.csv", *run.glob("front/*.safetensors")]
    return {str(path.relative_to(run)) for path in paths if path.is_file() and path.stat().st_size}


def fail_device(lab: Lab) -> Outcome:
    """Let the device under the run fail (EIO) after the first epoch, then replace it."""
    case = open_case(lab, "disk-fails")
    disk = FailingDisk(lab, case.home / "runs")
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    case.start_clock()
    disk.fail()
    launch.wait()
    case.expect(launch, 1)
    disk.repair()
    case.expect(lab.resume(case.home, *SERIAL), 0)
    return case.judge()


def make_read_only(lab: Lab) -> Outcome:
    """Make the file system read-only (EROFS) after the first epoch, then writable again."""
    case = open_case(lab, "read-only")
    disk = Disk(lab, case.home / "runs")
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    case.start_clock()
    disk.detach()
    disk.attach(read_only=True)
    launch.wait()
    case.expect(launch, 1)
    disk.detach()
    disk.attach()
    case.expect(lab.resume(case.home, *SERIAL), 0)
    return case.judge()


def unmount_for_a_while(lab: Lab) -> Outcome:
    """Unmount the storage after the first epoch, and mount it again later."""
    case = open_case(lab, "away")
    disk = Disk(lab, case.home / "runs")
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    case.start_clock()
    disk.detach()
    _pause(lab)
    disk.attach()
    launch.wait()
    case.expect(launch, 0, 1)
    if launch.process.returncode:
        case.expect(lab.resume(case.home, *SERIAL), 0)
    return case.judge()


def move_for_a_while(lab: Lab) -> Outcome:
    """Move the run folder away after the first epoch, and back again later."""
    case = open_case(lab, "moved")
    launch = lab.begin(case.home, *SERIAL)
    wait_for_event(case.home, "epoch", launch)
    run, away = case.home / "runs" / NAME, case.home / "away"
    case.start_clock()
    run.rename(away)
    _pause(lab)
    beside = [path.name for path in run.glob("*.*")]  # a running trial may leave its last state
    case.demand(not beside, f"files were written beside the run: {', '.join(beside)}")
    if run.exists():
        run.rename(case.home / "beside")
    away.rename(run)
    launch.wait()
    case.expect(launch, 0, 1)
    if launch.process.returncode:
        case.expect(lab.resume(case.home, *SERIAL), 0)
    return case.judge()


def _pause(lab: Lab) -> None:
    """Wait as long as a storage stays away."""
    end = time.monotonic() + lab.away
    wait_for(lambda: time.monotonic() > end, "the storage")


NEEDS_WEIGHTS, NEEDS_STATE = 0, 400_000
NEEDS_FRONT, NEEDS_REPORT = 100_000, 2_000_000
KINDS = (
    Kind("disk-full", "disk full after an epoch", fill_disk, 3, root=True),
    Kind("full-ledger", "disk full for the ledger", FillForWriter("ledger.jsonl", 0), root=True),
    Kind("full-weights", "disk full for weights", FillForWriter("trials", 0), root=True),
    Kind("full-state", "disk full for states", FillForWriter("trials", NEEDS_STATE), root=True),
    Kind("full-front", "disk full for the front's weights", FillAtEnd(NEEDS_FRONT), root=True),
    Kind("full-report", "disk full for the report", FillAtEnd(NEEDS_REPORT), root=True),
    Kind("disk-fails", "device fails (EIO)", fail_device, root=True),
    Kind("read-only", "file system becomes read-only (EROFS)", make_read_only, root=True),
    Kind("unmounted", "storage away for a while", unmount_for_a_while, root=True),
    Kind("moved", "run folder moved away for a while", move_for_a_while),
)
