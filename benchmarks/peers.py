"""What the speed benchmarks share: peers' attacks as callables, clocks, and Markdown tables."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

Call = Callable[[], object]
Attacks = Callable[[Tensor, Tensor], Tensor]

PEERS = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")
MODULES = {"adversarial-robustness-toolbox": "art"}  # where it is not the distribution's name


def import_peer(name: str) -> ModuleType:
    """Import a library that is run beside ours, by the name of its distribution.

    Raises:
      SystemExit: it is not installed.
    """
    module = MODULES.get(name, name)
    try:
        return import_module(module)
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] != module:
            raise
        raise SystemExit(f"{name} is not installed: see benchmarks/README.md") from None


def clock(device: str) -> Callable[[], float]:
    """Seconds: of the processor where that is what computes, so that others do not disturb them."""

    def now() -> float:
        if device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    return now


def alternate(
    calls: dict[str, Call], repeats: int, device: str, *, warm: bool = True
) -> dict[str, list[float]]:
    """Seconds of each call, in turns; with `warm` after a first round that is not counted."""
    now, seconds = clock(device), {name: [] for name in calls}
    for turn in range(repeats + warm):
        for name, call in calls.items():
            begun = now()
            call()
            if turn >= warm:
                seconds[name].append(now() - begun)
    return seconds


def middle(seconds: Sequence[float]) -> float:
    """The median."""
    return statistics.median(seconds)


def spread(seconds: Sequence[float]) -> str:
    """Half the range over the median, in percent."""
    half = (max(seconds) - min(seconds)) / 2
    return f"±{100 * half / middle(seconds):.0f} %"


def pgd_of_peers(
    net: nn.Module, eps: float, size: float, steps: int, names: Iterable[str]
) -> dict[str, Attacks]:
    """PGD in Linf with a random start, as each peer is meant to be called."""
    made: dict[str, Attacks] = {}
    if "torchattacks" in names:
        torchattacks = import_peer("torchattacks")
        made["torchattacks"] = torchattacks.PGD(net, eps=eps, alpha=size, steps=steps)
    if "foolbox" in names:
        foolbox = import_peer("foolbox")
        fool = foolbox.PyTorchModel(net, bounds=(0, 1))
        attack = foolbox.attacks.LinfPGD(abs_stepsize=size, steps=steps)
        made["foolbox"] = lambda x, y: attack.run(fool, x, y, epsilon=eps)
    if "adversarial-robustness-toolbox" in names:
        made["adversarial-robustness-toolbox"] = _art(net, eps, size, steps)
    return made


def _art(net: nn.Module, eps: float, size: float, steps: int) -> Attacks:
    import_peer("adversarial-robustness-toolbox")
    from art.attacks.evasion import ProjectedGradientDescentPyTorch
    from art.estimators.classification import PyTorchClassifier

    device = "gpu" if next(net.parameters()).is_cuda else "cpu"
    classifier = PyTorchClassifier(
        net, nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0, 1), device_type=device
    )

    def attack(x: Tensor, y: Tensor) -> Tensor:
        made = ProjectedGradientDescentPyTorch(
            classifier, eps=eps, eps_step=size, max_iter=steps, num_random_init=1,
            batch_size=len(x), verbose=False,
        ).generate(x.cpu().numpy(), y.cpu().numpy())  # fmt: skip
        return torch.from_numpy(made).to(x.device)

    return attack


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(device: str, peers: Sequence[str] = PEERS) -> str:
    """Where, with what and when a figure was taken."""
    if device == "cpu":
        busy = f", load {os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else ""
        where = f"{_processor()}, {torch.get_num_threads()} thread(s){busy}; processor time"
    else:
        where = torch.cuda.get_device_name(device)
    versions = ", ".join(f"{_short(name)} {version(name)}" for name in ("torch", *peers))
    return f"{where}; {versions}; {datetime.now(UTC):%Y-%m-%d}"


def command(words: Sequence[str]) -> str:
    """The command line that makes a table again, but for --write."""
    kept, words = [Path(sys.argv[0]).name], list(words)
    while words:
        word = words.pop(0)
        if word == "--write":
            words = words[1:]
        else:  # a file by its name: where it lies is this machine's affair
            kept.append(Path(word).name if "/" in word else word)
    return "python benchmarks/" + " ".join(kept)


def _short(name: str) -> str:
    return "ART" if name.startswith("adv") else name


def section(path: Path, name: str, text: str) -> None:
    """Put `text` between the marks of that name in a Markdown file; add them if need be.

    Other sections stay as they are.
    """
    first, last = f"<!-- {name} -->", f"<!-- end of {name} -->"
    old = path.read_text() if path.exists() else ""
    body = f"{first}\n{text.strip()}\n{last}"
    if first in old and last in old:
        head, _, rest = old.partition(first)
        new = head + body + rest.partition(last)[2]
    else:
        new = f"{old.rstrip()}\n\n{body}\n".lstrip()
    path.write_text(new)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
