"""If W&B is missing, broken or refuses us, one line is printed and the search continues."""

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from offline_tracking import read_offline_runs, track_study
from synthetic_studies import events, header

from search.record.study_header import StudyHeader
from search.record.view import View
from search.tracking.tracker import Tracker

KEY = "0123456789abcdef0123456789abcdef01234567"


class Refuses(BaseHTTPRequestHandler):
    """A server that accepts no key."""

    def log_message(self, *_):
        pass

    def _answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = _answer  # noqa: N815


@pytest.mark.slow
@pytest.mark.parametrize("server", ["closed", "refuses"])
def test_a_server_that_does_not_let_us_in_costs_one_message(tmp_path, server):
    folder = tmp_path / "run"
    folder.mkdir()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Refuses)
    address = f"http://127.0.0.1:{listening.server_port}"
    if server == "closed":
        listening.server_close()
    else:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
    printed = track_study(folder, "online", 0, 999, WANDB_API_KEY=KEY, WANDB_BASE_URL=address)
    said = [line for line in printed.splitlines() if line.startswith("SAY")]
    assert len(said) == 1
    assert said[0].startswith("SAY W&B is offline: ")
    assert f"; upload later:\n  wandb sync {folder}/wandb/offline-run-*\n" in printed
    assert len({part.id for part in read_offline_runs(folder)}) == 5
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    if server == "refuses":
        listening.shutdown()
        listening.server_close()


def test_a_broken_wandb_costs_one_line(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_DIR", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path))  # put back afterwards
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")

    def broken(**_):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(wandb, "init", broken)
    assert collect_messages(tmp_path) == ["W&B tracking is off: RuntimeError: no luck"]


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path):
    (tmp_path / "wandb").write_text("in the way")
    (line,) = collect_messages(tmp_path)
    assert line.startswith("W&B tracking is off: FileExistsError")


def collect_messages(folder: Path) -> list[str]:
    """Return the lines that a tracker prints while it logs a synthetic search."""
    said: list[str] = []
    view, told = View(), list(events(2, 0))
    view.apply(told[0])
    tracker = Tracker(folder, view.header, "offline", "robustune", say=said.append)
    for event in told[1:]:
        view.apply(event)
        tracker(event, view)
    tracker.close()
    tracker.close()
    assert tracker.describe_location() == ""
    return said


@pytest.mark.slow
def test_a_full_disk_costs_one_line(tmp_path, mount_disk):
    disk = mount_disk(500)
    (disk / "wandb").mkdir()
    with suppress(OSError):
        (disk / "ballast").write_bytes(bytes(1 << 20))
    printed = track_study(disk, "offline", 0, 999)
    assert [line for line in printed.splitlines() if line.startswith("SAY W&B tracking is off")]
    assert "Traceback" not in printed


def test_off_does_nothing(tmp_path):
    view = View()
    tracker = Tracker(tmp_path, StudyHeader.from_json(header()), "off", "robustune", say=print)
    for event in events(1, 0):
        view.apply(event)
        tracker(event, view)
    tracker.close()
    assert tracker.describe_location() == ""
    assert list(tmp_path.iterdir()) == []
