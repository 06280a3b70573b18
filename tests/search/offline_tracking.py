"""Track a synthetic search offline in a process of its own, and read back the files of W&B."""

import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from warm_process import run_warm

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("track_events.py")
STUDY = "rse_sigmas-1-5f2c9a"


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "XDG_", "NETRC"))}
    home.mkdir(exist_ok=True)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "search")])
    return {**kept, "HOME": str(home), "PYTHONPATH": path, **more}


def track_study(
    folder: Path, mode: str, first: int, last: int, *, trials: int = 4, **env: str
) -> str:
    arguments = [str(folder), mode, str(first), str(last), str(trials), "0"]
    home = environment(folder.parent / "home", **env)
    done = run_warm(SCRIPT, arguments, folder.parent, home, 120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def records(path: Path) -> Iterator:
    """Yield the records of a .wandb file: protocol buffers in LevelDB log framing."""
    from wandb.proto import wandb_internal_pb2

    pb: Any = wandb_internal_pb2  # its names are made when it is imported
    data, pos, buffer = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while pos + 7 <= len(data):
        if 32768 - pos % 32768 < 7:
            pos += 32768 - pos % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[pos : pos + 7])
        buffer += data[pos + 7 : pos + 7 + size]
        pos += 7 + size
        if kind in (1, 4):
            record = pb.Record()
            record.ParseFromString(buffer)
            buffer = b""
            yield record


class OfflineRun:
    """What one process has written of one W&B run."""

    def __init__(self, folder: Path) -> None:
        (file,) = folder.glob("*.wandb")
        self.folder, self.exit = folder, None
        self.history: list[dict[str, Any]] = []
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        self.tags: list[str] = []
        for record in records(file):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                self.run, self.tags = record.run, list(record.run.tags)
                self.config |= _items(record.run.config.update)
            elif kind == "history":
                self.history.append(_items(record.history.item))
            elif kind == "summary":
                self.summary |= _items(record.summary.update)
            elif kind == "metric":
                self.metrics[record.metric.name or record.metric.glob_name] = record.metric
            elif kind == "artifact" and not record.artifact.name.startswith("run-"):
                self.artifacts[record.artifact.name] = record.artifact
            elif kind == "exit":
                self.exit = record.exit.exit_code

    @property
    def id(self) -> str:
        return self.run.run_id

    def column(self, name: str) -> list:
        return [row[name] for row in self.history if name in row]


def _items(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def read_offline_runs(folder: Path) -> list[OfflineRun]:
    return [OfflineRun(found) for found in sorted(folder.glob("wandb/offline-run-*"))]
