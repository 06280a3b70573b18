"""W&B that does not answer, folders of the user that do not serve, and clocks that step."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from fault_kinds.deaths import open_case
from fault_kinds.lab import RAY, SERIAL, Lab, wait_for_event
from fault_kinds.mounts import Disk
from fault_kinds.verdict import Case, Kind, Outcome

STEP = 3 * 3600
# Put before the program on the path of a driver: steps the wall clock once a file exists.
CLOCK = """
import os, time
_time = time.time
time.time = lambda: _time() + ({step} if os.path.exists({flag!r}) else 0)
"""


@contextmanager
def closed_port() -> Iterator[int]:
    """Give a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    yield port


@contextmanager
def silent_port() -> Iterator[int]:
    """Give a port that accepts connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield server.getsockname()[1]


@contextmanager
def _answer(status: int) -> Iterator[int]:
    """Give a port of an HTTP server that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST = do_PUT = do_HEAD = _refuse  # noqa: N815 - names of the library

        def log_message(self, *words: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass(frozen=True)
class BreakTracking:
    """Searches with W&B online while its server is broken."""

    server: Callable[[], object]

    def __call__(self, lab: Lab) -> Outcome:
        """Run the whole search beside that server."""
        case = open_case(lab, "wandb")
        with self.server() as port:  # type: ignore[attr-defined]  # a context manager
            variables = {
                "WANDB_BASE_URL": f"http://127.0.0.1:{port}",
                "WANDB_API_KEY": "0" * 40,
                "WANDB_MODE": "online",
                "HOME": str(case.home),
            }
            launch = lab.begin(case.home, *SERIAL, "--wandb", "online", variables=variables)
            launch.wait()
        case.expect(launch, 0)
        return case.judge()


@dataclass(frozen=True)
class StepClock:
    """Steps the wall clock of the driver after the first epoch of a search with a budget.

    Args:
      step: seconds.
    """

    step: int

    def __call__(self, lab: Lab) -> Outcome:
        """Step it, and expect the whole search within its budget of one hour."""
        case = open_case(lab, "clock")
        flag, folder = case.home / "stepped", case.home / "site"
        folder.mkdir()
        Path(folder / "sitecustomize.py").write_text(CLOCK.format(step=self.step, flag=str(flag)))
        launch = lab.begin(
            case.home, *SERIAL, "--budget", "1h", variables={"PYTHONPATH": str(folder)}
        )
        wait_for_event(case.home, "epoch", launch)
        case.start_clock()
        flag.touch()
        launch.wait()
        case.expect(launch, 0)
        resumed = lab.resume(case.home, *SERIAL, "--budget", "1h")
        case.expect(resumed, 0)
        return case.judge()


def make_home_read_only(lab: Lab) -> Outcome:
    """Search on Ray and log to W&B while HOME is read-only and empty, as in many containers."""
    case = open_case(lab, "home")
    disk = Disk(lab, case.home / "home")
    disk.detach()
    disk.attach(read_only=True)
    return _search_with(lab, case, {"HOME": str(disk.path)})


def lengthen_tmpdir(lab: Lab) -> Outcome:
    """Search on Ray and log to W&B while TMPDIR has a path too long for sockets."""
    case = open_case(lab, "tmpdir")
    folder = case.home / ("long" * 30)
    folder.mkdir()
    return _search_with(lab, case, {"TMPDIR": str(folder)})


def _search_with(lab: Lab, case: Case, variables: Mapping[str, str]) -> Outcome:
    """Run the whole search with variables of its environment."""
    offline = {"WANDB_MODE": "offline", **variables}
    launch = lab.begin(case.home, *RAY, "--wandb", "offline", variables=offline)
    launch.wait()
    case.expect(launch, 0)
    case.demand("tracking is off" not in launch.text, "W&B does not work")
    return case.judge()


KINDS = (
    Kind("wandb-down", "W&B down: nothing listens", BreakTracking(closed_port)),
    Kind("wandb-hangs", "W&B never answers", BreakTracking(silent_port)),
    Kind("wandb-401", "W&B refuses the key (401)", BreakTracking(lambda: _answer(401))),
    Kind("wandb-500", "W&B fails (500)", BreakTracking(lambda: _answer(500))),
    Kind("home", "HOME read-only, on Ray with W&B", make_home_read_only, root=True),
    Kind("tmpdir", "TMPDIR of 120 characters, on Ray with W&B", lengthen_tmpdir),
    Kind("clock-forward", "clock steps 3 hours forward", StepClock(STEP)),
    Kind("clock-back", "clock steps 3 hours back", StepClock(-STEP)),
)
