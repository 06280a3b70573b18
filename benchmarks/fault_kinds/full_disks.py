"""Disks that become full, at each writer of a search."""

from __future__ import annotations

import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

from fault_kinds.deaths import open_case
from fault_kinds.lab import NAME, RAY, SERIAL, Lab, Launch, StuckError, wait_for_event
from fault_kinds.mounts import Disk
from fault_kinds.verdict import Case, Kind, Outcome, find_twin


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


@dataclass(frozen=True)
class FillWhileAdding:
    """Fills the disk of a finished search while its finals are trained, or its nets scored again.

    Args:
      flag: that adds to a run, with what follows the name of the run.
      event: of the ledger after which the disk is filled.
    """

    flag: tuple[str, ...]
    event: str

    def __call__(self, lab: Lab) -> Outcome:
        """Add to a search, fill the disk meanwhile, and add the rest with room."""
        twin = find_twin(lab, lambda home: self._add(lab, home, whole=True), *self.flag)
        case = Case(lab, lab.open_home("disk-full"), twin)
        disk = Disk(lab, case.home / "runs")
        launch = self._add(lab, case.home, whole=True)
        wait_for_event(case.home, self.event, launch)
        case.start_clock()
        disk.fill()
        launch.wait()
        case.expect(launch, 1)
        disk.free()
        again = self._add(lab, case.home, whole=False)
        again.wait()
        case.expect(again, 0)
        return case.judge()

    def _add(self, lab: Lab, home: Path, *, whole: bool) -> Launch:
        """Start what adds to a search, and before it, if it is the whole, the search itself."""
        if whole and (status := lab.begin(home, *SERIAL).wait()):
            raise StuckError(f"the search ended with status {status}")
        name, *rest = self.flag
        return lab.start(home, name, f"runs/{NAME}", *rest, *SERIAL)


def fill_wandb(lab: Lab) -> Outcome:
    """Resume a search whose folder of W&B is on a full disk: that is said, and changes nothing."""
    case = open_case(lab, "wandb-full")
    _interrupt(lab, case)
    disk = Disk(lab, case.home / "runs" / NAME / "wandb")
    disk.fill()
    case.start_clock()
    variables = {"WANDB_MODE": "offline", "HOME": str(case.home)}
    resumed = lab.resume(case.home, *SERIAL, "--wandb", "offline", variables=variables)
    case.expect(resumed, 0)
    case.demand("tracking is off" in resumed.text, "it is not said that W&B is off")
    return case.judge()


@dataclass(frozen=True)
class FillRaysFolder:
    """Fills the folder for Ray's temporary files, before a search on Ray or during it.

    Args:
      before: whether it is full from the start, so that another folder has to be taken.
    """

    before: bool

    def __call__(self, lab: Lab) -> Outcome:
        """Run a search, and resume it with room if it has ended early."""
        case = open_case(lab, "ray-full")
        folder = Path(tempfile.mkdtemp(prefix="f", dir="/tmp"))  # Ray's sockets need a short path
        lab.at_end.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        disk = Disk(lab, folder)
        if self.before:
            disk.fill()
        launch = lab.begin(case.home, *RAY, variables={"TMPDIR": str(folder)})
        wait_for_event(case.home, "epoch", launch)
        case.start_clock()
        if not self.before:
            disk.fill()
        launch.wait()
        case.expect(launch, *((0,) if self.before else (0, 1)))
        if launch.process.returncode:
            case.expect(lab.resume(case.home, *RAY), 0)
        return case.judge()


NEEDS_WEIGHTS, NEEDS_STATE = 0, 400_000
NEEDS_FRONT, NEEDS_REPORT = 100_000, 2_000_000
FINALS = ("--finalists", "--final-trainings", "2")
RESCORE_FULL = FillWhileAdding(("--rescore", "--battery-steps", "3"), "rescored")
KINDS = (
    Kind("disk-full", "disk full after an epoch", fill_disk, 3, root=True),
    Kind("full-ledger", "disk full for the ledger", FillForWriter("ledger.jsonl", 0), root=True),
    Kind("full-weights", "disk full for weights", FillForWriter("trials", 0), root=True),
    Kind("full-state", "disk full for states", FillForWriter("trials", NEEDS_STATE), root=True),
    Kind("full-front", "disk full for the front's weights", FillAtEnd(NEEDS_FRONT), root=True),
    Kind("full-report", "disk full for the report", FillAtEnd(NEEDS_REPORT), root=True),
    Kind("full-finals", "disk full during the finals", FillWhileAdding(FINALS, "final"), root=True),
    Kind("full-rescore", "disk full while nets are scored again", RESCORE_FULL, root=True),
    Kind("full-wandb", "disk full for W&B", fill_wandb, root=True),
    Kind("full-tmpdir", "TMPDIR full, on Ray", FillRaysFolder(before=True), root=True),
    Kind("full-ray", "Ray's folder becomes full", FillRaysFolder(before=False), root=True),
)
