"""Benchmark attacks on this machine, and compare them with the cost of the net alone.

The lower limit of an attack step is the cost of the net: a forward pass and its gradient with
respect to the images, computed in the fastest available way (`pass_seconds`). For an attack that
uses no gradient the limit is the forward pass alone.
"""

from __future__ import annotations

import gc
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from adv.shape import DEFAULT_SHAPE

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
    """The measured speed of one attack on one net.

    Args:
      net, attack: their names.
      steps_per_second: steps of a whole batch per second.
      share: the time that the net's passes take by themselves as a share of the attack's time; 1
        is the limit.
      peak_bytes: peak memory of the GPU, or of the process on a CPU; 0 if unknown.
      seconds: duration of each run of the attack, at least three.
    """

    net: str
    attack: str
    steps_per_second: float
    share: float
    peak_bytes: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Workload:
    """The measured workload: `steps` of each attack on `batch` images, on a device."""

    batch: int
    steps: int
    device: torch.device


def measure_speeds(nets: dict[str, Net], attacks: Sequence[str], work: Workload) -> Iterator[Speed]:
    """Measure each attack on each net, alternating with the limit; medians are reported."""
    images = torch.Generator().manual_seed(0)
    x = torch.rand(work.batch, *DEFAULT_SHAPE, generator=images).to(work.device)
    x = x.contiguous(memory_format=torch.channels_last)
    for name, net in nets.items():
        model = net(10).to(work.device).to(memory_format=torch.channels_last).eval()
        with torch.no_grad():
            y = model(x).argmax(1)  # its own predictions, so that no attack stops at once
        for attack in attacks:
            yield _measure(name, model, attack, (x, y), work)
        del model
        gc.collect()


def _measure(
    name: str, net: nn.Module, kind: str, images: tuple[Tensor, Tensor], work: Workload
) -> Speed:
    """Measure one attack on one net."""
    x, y = images
    attack = ATTACKS[kind](work.steps)

    def run() -> None:
        attack(net, x, y, generator=torch.Generator().manual_seed(0))

    with _count_images(net) as rows:  # also the warm-up
        run()
    gradients, forwards = (rows[key] / len(x) for key in (True, False))
    _reset_peak(work.device)
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
    """Return the seconds of a bare pass of a batch in the fastest way; median of three.

    The ways are two memory formats, and the fused layers of `adv.runtime.fused_cpu` if the net has
    any.
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
    """Return the seconds of a bare pass in one memory format, with or without its gradient."""
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
    """Return the seconds that a call takes, including all work that it starts on the GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


@contextmanager
def _count_images(net: nn.Module) -> Iterator[dict[bool, int]]:
    """Count the images that pass through a net: with a gradient (True) and without (False)."""
    rows = {True: 0, False: 0}

    def count(_: nn.Module, inputs: tuple[Tensor]) -> None:
        rows[inputs[0].requires_grad and torch.is_grad_enabled()] += len(inputs[0])

    hook = net.register_forward_pre_hook(count)
    try:
        yield rows
    finally:
        hook.remove()


def machine(device: torch.device) -> dict[str, Any]:
    """Return what a measured speed depends on: the device, threads and versions."""
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _reset_peak(device: torch.device) -> None:
    """Reset the record of the peak memory, if the system allows it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        try:
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM; see proc(5)
        except OSError:  # a container may forbid it: then the peak is that of the whole run
            return


def _peak(device: torch.device) -> int:
    """Return the peak memory in bytes since `_reset_peak`."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most
