"""Trials that raise, hang, crash or misuse their process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fault_kinds.lab import RAY, SERIAL, Lab, Launch, StuckError, add_space, wait_for
from fault_kinds.verdict import Case, Kind, Outcome, find_twin
from search.record.ledger import read

SPACE = Path(__file__).with_name("bad_space.py")
PATIENCE = 30.0  # seconds for what a trial has left behind to end
TIMEOUT = "60s"  # a worker on Ray imports PyTorch before its first report


@dataclass(frozen=True)
class BadTrial:
    """Runs a search of three trials of which the second is bad.

    Args:
      mishap: as in `bad_space.MISHAPS`.
      fails: whether the bad trial is expected to fail; else it finishes like the others.
      way: flags that say how trials run.
    """

    mishap: str
    fails: bool
    way: tuple[str, ...] = SERIAL

    def __call__(self, lab: Lab) -> Outcome:
        """Run it beside a twin whose second trial is good."""
        program = add_space(lab, SPACE, "faulty")
        mishap = program / "spaces" / "mishap.txt"
        with Lab(lab.folder, lab.away, program) as inner:
            mishap.write_text("")
            twin = find_twin(inner, lambda home: _begin(inner, home, SERIAL), "faulty")
            mishap.write_text(self.mishap)
            bad = (1,) if self.fails else ()
            case = Case(inner, inner.open_home(self.mishap), twin, bad)
            launch = _begin(inner, case.home, self.way)
            launch.wait()
            case.expect(launch, 0)
            case.demand(_all_end(inner), "processes are left behind")
            return case.judge(read)


def _begin(lab: Lab, home: Path, way: Sequence[str]) -> Launch:
    flags = ("--space", "faulty", "--finalists", "off", "--stopper", "none", "--name", "x")
    return lab.start(home, *flags, "--trial-timeout", TIMEOUT, *way)


def _all_end(lab: Lab) -> bool:
    """Return whether everything that was started ends soon."""
    try:
        wait_for(lambda: not lab.find_processes(), "the end of all processes", limit=PATIENCE)
    except StuckError:
        return False
    return True


TEXTS = {
    "raise": ("trial raises", True),
    "nan": ("trial gives NaN", True),
    "hang": ("trial hangs", True),
    "hang-in-c": ("trial hangs in C, holding Python's lock", True),
    "leak": ("trial takes all memory", True),
    "print": ("trial prints 20 megabytes", False),
    "exit": ("trial calls sys.exit", True),
    "interrupt": ("trial interrupts itself (SIGINT)", False),
    "os-exit": ("trial calls os._exit", True),
    "crash": ("trial crashes (segmentation fault)", True),
    "kill": ("trial kills its process", True),
    "children": ("trial leaves a child process", False),
    "fork": ("trial forks", False),
    "chdir": ("trial changes its directory", False),
}
ON_RAY = ("raise", "hang", "exit", "os-exit", "crash", "children")
KINDS = (
    *(Kind(f"trial-{n}", text, BadTrial(n, fails)) for n, (text, fails) in TEXTS.items()),
    *(
        Kind(f"trial-{n}-ray", f"{TEXTS[n][0]}, on Ray", BadTrial(n, TEXTS[n][1], RAY))
        for n in ON_RAY
    ),
)
