"""Storage that is failing, read-only or away."""

from __future__ import annotations

import time

from fault_kinds.deaths import open_case
from fault_kinds.lab import NAME, SERIAL, Lab, wait_for, wait_for_event
from fault_kinds.mounts import Disk, FailingDisk
from fault_kinds.verdict import Kind, Outcome


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


KINDS = (
    Kind("disk-fails", "device fails (EIO)", fail_device, root=True),
    Kind("read-only", "file system becomes read-only (EROFS)", make_read_only, root=True),
    Kind("unmounted", "storage away for a while", unmount_for_a_while, root=True),
    Kind("moved", "run folder moved away for a while", move_for_a_while),
)
