"""How fast attacks run on this machine, and how much of that is the net itself.

The limit of an attack step is what the net costs: a forward pass and its gradient with respect to
the images, in the quickest way there is here, with nothing around it (`pass_seconds`). An attack
that asks for no gradient has the forward pass alone for a limit.
"""

from __future__ import annotations

import gc
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adv.attacks import APGD, L2, NES, PGD, Attack, Linf, Square
from adv.models import WRN, BaseNet, BigNet, Net, ResNet18
from adv.runtime.frozen import frozen
from adv.runtime.fused_cpu import fused_conv_pool

NETS: dict[str, Net] = {
    "basenet": BaseNet(),
    "bignet": BigNet(),
    "resnet18": ResNet18(),
    "wrn-16-4": WRN(16, 4),
}
_BALL = Linf(8 / 255)
ATTACKS: dict[str, Callable[[int], Attack]] = {
    "pgd": lambda steps: PGD(_BALL, steps),
    "pgd-l2": lambda steps: PGD(L2(0.5), steps),
    "apgd": lambda steps: APGD(_BALL, steps),
    "square": lambda steps: Square(_BALL, queries=steps),
    "nes": lambda steps: NES(_BALL, queries=20 * steps, samples=20, early_stop=False),
}
_ROUNDS = 3


@dataclass(frozen=True)
class Speed:
    """Of one attack on one net.

    Args:
      net, attack: their names.
      steps_per_second: of a whole batch.
      share: of what the passes that it makes cost by themselves; 1 is the limit.
      peak_bytes: of the GPU's memory, or of the process where it runs on a CPU; 0 where unknown.
      seconds: of each run of the attack, at least three.
    """

    net: str
    attack: str
    steps_per_second: float
    share: float
    peak_bytes: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Workload:
    """What is measured: `steps` of each attack on `batch` images, on a device."""

    batch: int
    steps: int
    device: torch.device


def speeds(nets: dict[str, Net], attacks: Sequence[str], work: Workload) -> Iterator[Speed]:
    """Measure each attack on each net; the limit and the attack take turns, medians count."""
    images = torch.Generator().manual_seed(0)
    x = torch.rand(work.batch, 3, 32, 32, generator=images).to(work.device)
    x = x.contiguous(memory_format=torch.channels_last)
    for name, net in nets.items():
        made = net(10).to(work.device).to(memory_format=torch.channels_last).eval()
        with torch.no_grad():
            y = made(x).argmax(1)  # what it says is right: no attack may stop at once
        for attack in attacks:
            yield _measured(name, made, attack, (x, y), work)
        del made
        gc.collect()


def _measured(
    name: str, net: nn.Module, kind: str, images: tuple[Tensor, Tensor], work: Workload
) -> Speed:
    x, y = images
    attack = ATTACKS[kind](work.steps)

    def run() -> None:
        attack(net, x, y, generator=torch.Generator().manual_seed(0))

    with _counted(net) as rows:  # also the warm-up
        run()
    gradients, forwards = (rows[key] / len(x) for key in (True, False))
    _forget_peak(work.device)
    run()
    peak = _peak(work.device)
    limits, seconds = [], []
    for _ in range(_ROUNDS):
        limit = gradients * pass_seconds(net, x, y) if gradients else 0.0
        limit += forwards * pass_seconds(net, x, y, gradient=False) if forwards else 0.0
        limits.append(limit)
        seconds.append(seconds_of(run, work.device))
    median = statistics.median(seconds)
    share = statistics.median(limits) / median
    return Speed(name, kind, work.steps / median, share, peak, tuple(seconds))


def pass_seconds(net: nn.Module, x: Tensor, y: Tensor, *, gradient: bool = True) -> float:
    """Seconds of a bare pass of a batch, in the quickest way; median of three.

    The ways are two memory formats, and `adv.runtime.fused_cpu`'s layers where the net has such.
    """
    with frozen(net):
        found = [
            _pass_seconds(net.to(memory_format=form), x, y, (form, gradient))
            for form in (torch.channels_last, torch.contiguous_format)
        ]
        with fused_conv_pool(net) as form:
            if form == torch.contiguous_format:
                found.append(_pass_seconds(net, x, y, (form, gradient)))
        net.to(memory_format=torch.channels_last)
    return min(found)


def _pass_seconds(
    net: nn.Module, x: Tensor, y: Tensor, how: tuple[torch.memory_format, bool]
) -> float:
    form, gradient = how
    here = x.detach().contiguous(memory_format=form).requires_grad_(gradient)

    def run() -> None:
        with torch.set_grad_enabled(gradient):
            logits = net(here)
            if gradient:
                torch.autograd.grad(F.cross_entropy(logits, y, reduction="sum"), here)

    run()
    return statistics.median(seconds_of(run, x.device) for _ in range(3))


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that a call takes, with all that it started on the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


class _counted:  # noqa: N801
    """Counts the images that pass through a net, with a gradient and without."""

    def __init__(self, net: nn.Module) -> None:
        self.net, self.rows = net, {True: 0, False: 0}

    def __enter__(self) -> dict[bool, int]:
        def count(_: nn.Module, inputs: tuple[Tensor]) -> None:
            self.rows[inputs[0].requires_grad and torch.is_grad_enabled()] += len(inputs[0])

        self.hook = self.net.register_forward_pre_hook(count)
        return self.rows

    def __exit__(self, *error: object) -> None:
        self.hook.remove()


def machine(device: torch.device) -> dict[str, Any]:
    """What a figure of speed belongs to."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")  # of the resident set; see proc(5)
        except OSError:  # a container may forbid it: the peak is then of the whole run
            return


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
