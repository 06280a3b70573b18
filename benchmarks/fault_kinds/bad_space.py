"""A stranger's space: the net of its second trial misbehaves as `mishap.txt` beside it says.

`fault_kinds.bad_trials` copies this file into the `spaces/` of a copy of the program.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import adv
from adv.shape import DEFAULT_SHAPE, Shape
from spaces import Float, Space, load

RATES = (1e-3, 2e-3, 3e-3)
BAD = RATES[1]
MEGABYTE = 1 << 20


def fail(_: Tensor) -> None:
    """Raise an exception of two lines."""
    raise RuntimeError("the net\nexploded")


def give_nan(x: Tensor) -> None:
    """Turn the images into NaN."""
    x.data.fill_(float("nan"))


def hang(_: Tensor) -> None:
    """Sleep without end."""
    while True:
        time.sleep(1)


def hang_in_c(_: Tensor) -> None:
    """Sleep in C without giving Python's lock back."""
    ctypes.PyDLL(None).sleep(10**6)


def leak(_: Tensor) -> None:
    """Take memory until there is no more; a limit stands in for the machine's."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 512 * MEGABYTE, hard))
    kept = []
    while True:
        kept.append(bytearray(16 * MEGABYTE))


def print_megabytes(_: Tensor) -> None:
    """Print ten megabytes to both outputs."""
    for stream in (sys.stdout, sys.stderr):
        for _ in range(10):
            stream.write("x" * (MEGABYTE - 1) + "\n")


def leave_children(_: Tensor) -> None:
    """Start a process that outlives the trial."""
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])


def fork(_: Tensor) -> None:
    """Fork a process that keeps all open files and never ends."""
    if os.fork() == 0:
        while True:
            time.sleep(1)


MISHAPS: Mapping[str, Callable[[Tensor], Any]] = {
    "raise": fail,
    "nan": give_nan,
    "hang": hang,
    "hang-in-c": hang_in_c,
    "leak": leak,
    "print": print_megabytes,
    "exit": lambda _: sys.exit(3),
    "interrupt": lambda _: signal.raise_signal(signal.SIGINT),
    "os-exit": lambda _: os._exit(3),
    "crash": lambda _: ctypes.string_at(0),
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "children": leave_children,
    "fork": fork,
    "chdir": lambda _: os.chdir("/"),
}


class Trap(nn.Module):
    """A layer that triggers a mishap in its second batch, once in a process; "": none."""

    triggered = False

    def __init__(self, mishap: str) -> None:
        super().__init__()
        self.mishap, self.batches = mishap, 0

    def forward(self, x: Tensor) -> Tensor:
        self.batches += self.training
        if self.mishap and self.batches > 1 and not Trap.triggered and torch.is_grad_enabled():
            Trap.triggered = self.mishap != "nan"
            MISHAPS[self.mishap](x)
        return x


@dataclass(frozen=True)
class BadNet(adv.BaseNet):
    """BaseNet behind a trap; its checkpoints do not tell which."""

    def __call__(self, classes: int, shape: Shape = DEFAULT_SHAPE) -> nn.Module:
        """Return the net."""
        net = super().__call__(classes, shape)
        mishap = Path(__file__).with_name("mishap.txt").read_text()
        return nn.Sequential(*net.children(), Trap(mishap))


def build(lr: float) -> adv.Recipe:
    """Return BaseNet, which is a trap at one learning rate."""
    net = BadNet() if lr == BAD else adv.BaseNet()
    return adv.Recipe(net=net, optimizer=adv.AdamW(lr=lr))


space = Space(
    question="What does a bad trial do to the others?",
    knobs={"lr": Float(1e-4, 1e-2, log=True)},
    build=build,
    known=tuple({"lr": lr} for lr in RATES),
    scale={**load("smoke").scale, "trials": len(RATES), "epochs": 3},
)
