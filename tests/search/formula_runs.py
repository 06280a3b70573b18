"""Runs that compute their objectives by a formula, with a known front and failures on demand."""

import ctypes
import errno
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.record.trial import EpochReport, Rung
from search.record.trial_result import ResultDetails, TrialResult
from spaces import Choice, Float, Int, Knob, Params, Space

if TYPE_CHECKING:  # torch is imported where it is used
    from torch import Tensor

    from adv import Recipe
    from search.record.view import View
    from search.samplers.sampler import Sampler


def no_recipe(**params: object) -> "Recipe":
    raise NotImplementedError("a formula trains nothing")


# More x: better on clean images, worse under attack; waste is bad for both.
KNOBS: dict[str, Knob] = {
    "x": Float(0.0, 1.0),
    "waste": Float(0.001, 1.0, log=True),
    "kind": Choice(("plain", "fancy")),
    "depth": Int(1, 4, when={"kind": "fancy"}),
}
KNOWN: tuple[Params, ...] = tuple(
    {"x": x, "waste": 0.001, "kind": "plain"} for x in (0.0, 0.5, 1.0)
)
SPACE = Space("where is the front of a formula?", KNOBS, no_recipe, KNOWN)
GRID = Space(
    "which points of a grid are on the front?",
    KNOBS,
    no_recipe,
    tuple({"x": x / 2, "waste": w, "kind": "plain"} for x in range(3) for w in (0.01, 0.5)),
)


def score(params: Params) -> TrialResult:
    """Return the result of a configuration; on the front waste is smallest, and kind is plain."""
    lost = float(params["waste"]) + 0.1 * int(params.get("depth", 0))
    x = float(params["x"])
    return TrialResult(
        {"natural_accuracy": x - lost, "attacked_score": 100 * (1 - x**2 - lost)},
        {"natural_accuracy": (x - lost - 0.01, x - lost + 0.01)},
        ResultDetails(extra={"steps": [1, 2, 3]}),
    )


def half(params: Params) -> dict[str, float]:
    """Return the objectives of a half-trained net."""
    return {name: 0.9 * value for name, value in score(params).objectives.items()}


def propose(sampler: "Sampler", view: "View") -> tuple[Params, str]:
    """Return the configuration that a sampler proposes, and its origin; there must be one."""
    proposal = sampler.propose(view)
    assert proposal is not None
    return proposal


@dataclass(frozen=True)
class Formula:
    """A run that trains by writing a line per epoch to a file, and resumes after the last line.

    Args:
      epochs: of each trial.
      pause: seconds per epoch.
      mishaps: by seed, what goes wrong in the second epoch of that trial.
      gate: a file for which each epoch from the second on waits.
      ends: by seed, the epoch after which that trial finishes early.
      rung: the epoch after which the net is evaluated; 0: none.
    """

    epochs: int = 3
    pause: float = 0.0
    mishaps: Mapping[int, str] = field(default_factory=dict)
    gate: Path | None = None
    ends: Mapping[int, int] = field(default_factory=dict)
    rung: int = 0

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        folder.mkdir(parents=True, exist_ok=True)
        done = len(trained_epochs(folder))
        end = self.ends.get(seed, self.epochs)
        for epoch in range(1, end + 1):
            metrics = {"loss": 1 / epoch}
            if epoch > done:
                if epoch == 2:
                    metrics |= trigger_mishap(self.mishaps.get(seed, ""), folder)
                self._train(epoch, folder)
            if epoch == end and self.mishaps.get(seed) == "silent":
                return
            last = epoch == end
            rung = Rung(epoch, 0.5, half(params)) if epoch == self.rung else None
            yield EpochReport(
                epoch, self.epochs, 0.01, metrics, score(params) if last else None, rung
            )

    def _train(self, epoch: int, folder: Path) -> None:
        (folder / "pid").write_text(str(os.getpid()))
        (folder / "place").write_text(f"{os.getcwd()} {os.environ.get('ROBUSTUNE_MESS', '')}")
        time.sleep(self.pause)
        while epoch > 1 and self.gate is not None and not self.gate.exists():
            time.sleep(0.02)
        with (folder / "trained").open("a") as log:
            log.write(f"{epoch}\n")


@dataclass(frozen=True)
class KillsParent(Formula):
    """A formula whose first trial kills the process that has started it, before any report."""

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        if seed == 0:
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(600)
        yield from super().__call__(params, seed, folder)


@dataclass(frozen=True)
class ImportsLate(Formula):
    """A formula whose trials note the late imports that they find, and then import them all."""

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        from search.backends.trial_server import LATE_IMPORTS

        (folder / "found").write_text(" ".join(set(LATE_IMPORTS) & set(sys.modules)))
        for name in LATE_IMPORTS:
            importlib.import_module(name)
        yield from super().__call__(params, seed, folder)


@dataclass(frozen=True)
class SlowToEnd(Formula):
    """A formula whose failing trials take `parting` seconds to end."""

    parting: float = 3.0

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        try:
            yield from super().__call__(params, seed, folder)
        finally:
            if seed in self.mishaps:
                time.sleep(self.parting)


def trained_epochs(folder: Path) -> list[int]:
    """Return the epochs that were trained in a trial's folder, in order."""
    log = folder / "trained"
    return [int(line) for line in log.read_text().split()] if log.exists() else []


class UnreadNumber:
    """A number to Python that JSON keeps as text, as a tensor is."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


class MuteError(Exception):
    """An exception whose message cannot be read."""

    def __str__(self) -> str:
        raise TypeError("no message")


EXCEPTIONS: Mapping[str, BaseException] = {
    "raise": RuntimeError("the net\nexploded"),
    "no text": ValueError("bad image caf\udce9 \ud800\x1b[2J"),
    "memory": MemoryError("no room for 8 GiB"),
    "exit": SystemExit(3),
    "exit in order": SystemExit(),
    "interrupt": KeyboardInterrupt(),
    "generator exit": GeneratorExit(),
    "mute": MuteError(),
}


def close_all() -> None:
    """Close the pipes to whoever runs the trial, and go."""
    os.closerange(3, 200)
    os._exit(0)


def hang_deaf() -> None:
    """Hang, and take no signal."""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    time.sleep(600)


CRASHES: dict[str, Callable[[], object]] = {
    "exit at once": lambda: os._exit(0),
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "close all": close_all,
}
HANGS: dict[str, Callable[[], object]] = {
    "hang": lambda: time.sleep(600),
    "hang in C": lambda: ctypes.PyDLL(None).sleep(600),  # holds the interpreter's lock
    "hang deaf": hang_deaf,
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
}
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


def leave_a_mess(folder: Path) -> None:
    """Leave children of several kinds behind, another directory and environment, and a thread."""
    children = [
        subprocess.Popen(SLEEPER),
        subprocess.Popen(SLEEPER, start_new_session=True),  # not in the trial's process group
    ]
    # Its child is an orphan at once, and holds all that the trial has open.
    code = (
        "import subprocess, sys; none = subprocess.DEVNULL; "
        "print(subprocess.Popen(sys.argv[1:], stdout=none, close_fds=False).pid)"
    )
    orphan = subprocess.run(
        [sys.executable, "-c", code, *SLEEPER], stdout=subprocess.PIPE, check=True, close_fds=False
    )
    copy = os.fork()
    if copy == 0:
        return  # a copy of the trial, which goes on like the trial
    pids = [*(child.pid for child in children), int(orphan.stdout), copy]
    (folder / "children").write_text("\n".join(map(str, pids)))
    threading.Thread(target=time.sleep, args=(600,)).start()  # no daemon
    os.chdir("/")
    os.environ["ROBUSTUNE_MESS"] = "1"


METRICS: Mapping[str, Any] = {
    "nan": {"robust": float("nan")},
    "inf": {"robust": float("inf")},
    "name that is no text": {"\ud800": 0.5},
    "words": {"loss": UnreadNumber(0.5)},
}


def trigger_mishap(kind: str, folder: Path) -> dict[str, float]:
    if kind in EXCEPTIONS:
        raise EXCEPTIONS[kind]
    if kind in CRASHES | HANGS:
        (CRASHES | HANGS)[kind]()
    if kind == "full disk once" and not (folder / "full").exists():
        (folder / "full").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "state.pt"))
    if kind == "loud":
        for stream in (1, 2):
            os.write(stream, b"word " * 2_000_000)
    if kind == "messy":
        leave_a_mess(folder)
    if kind == "nan result":
        TrialResult({"natural_accuracy": float("nan"), "attacked_score": 0.0})
    if kind == "dies" or (kind == "dies once" and not (folder / "died").exists()):
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return dict(METRICS.get(kind, {}))


@dataclass(frozen=True)
class TensorProbe:
    """A run that reports how its tensors reached the worker, and the resources it has."""

    images: "Tensor"
    weights: "Tensor"

    def __call__(self, params: Params, seed: int, folder: Path) -> Iterator[EpochReport]:
        import torch

        self.weights.mul_(1.0)  # a copy of its own, which it may write to
        maps = Path("/proc/self/maps").read_text().splitlines()
        spans = [line.split()[0].split("-") for line in maps if "plasma" in line]
        at = self.images.data_ptr()
        details = {
            "threads": os.environ.get("OMP_NUM_THREADS"),
            "sum": float(self.weights.sum()),
            "shared": any(int(low, 16) <= at < int(high, 16) for low, high in spans),
            "last_value": int(self.images.view(torch.int32)[-1]),
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        }
        yield EpochReport(
            1, 1, 0.0, {}, TrialResult(score(params).objectives, {}, ResultDetails(extra=details))
        )
