"""Markdown tables with the command, the machine and the versions that produced them."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from peer_attacks import PEERS


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(device: str, peers: Sequence[str] = PEERS) -> str:
    """Return the machine, the versions and the date of a measurement, as a sentence."""
    if device == "cpu":
        busy = f", load {os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else ""
        where = f"{_processor()}, {torch.get_num_threads()} thread(s){busy}; processor time"
    else:
        where = torch.cuda.get_device_name(device)
    versions = ", ".join(f"{_short(name)} {version(name)}" for name in ("torch", *peers))
    return f"{where}; {versions}; {datetime.now(UTC):%Y-%m-%d}"


def command(words: Sequence[str]) -> str:
    """Return the command line that repeats a measurement, without --write.

    Folders are dropped from file names: they belong to this machine.
    """
    kept, words = [Path(sys.argv[0]).name], list(words)
    while words:
        word = words.pop(0)
        if word == "--write":
            words = words[1:]
        else:
            kept.append(Path(word).name if "/" in word else word)
    return "python benchmarks/" + " ".join(kept)


def write_section(path: Path, name: str, text: str) -> None:
    """Replace the section `name` of a Markdown file by `text`, or append it.

    A section stands between two comments that hold its name; other text stays as it is.
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


def _short(name: str) -> str:
    return "ART" if name.startswith("adv") else name


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.machine()
