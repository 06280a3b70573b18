"""Versions, commit and hardware: what a result depends on beside its recipe."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.record.study_header import StudyHeader

PROJECT = Path(__file__).resolve().parents[2]  # the folder with launch.py
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "wandb", "numpy")
_WITHOUT_INFLUENCE = {"wandb"}  # on the values of a trial
_SHARES = {"cpus": "cores per trial", "gpus": "GPUs per trial"}


def read_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide a result."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found}


def read_commit() -> str:
    """Return the git commit of this program.

    It ends in "+" if files were changed since, and is "" outside a git checkout.
    """

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(PROJECT), *words], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        changed = "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return ""


def read_hardware() -> dict[str, Any]:
    """Return the host name, the CPU, its cores and the GPUs of this machine."""
    import torch

    return {
        "host": platform.node(),
        "cpu": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def describe_origin(header: StudyHeader) -> dict[str, str]:
    """Return what a run began with, by name: versions, commit, CPU, GPUs, a trial's share of both.

    What was not recorded is left out, and so is what has no influence on values. A commit that ends
    in "+" does not say which changes were made to it.
    """
    found = {k: str(v) for k, v in header.versions.items() if k not in _WITHOUT_INFLUENCE}
    if header.commit:
        found["commit"] = header.commit[:9] + "+" * header.commit.endswith("+")
    machine = header.hardware if isinstance(header.hardware, Mapping) else {}
    if "cpu" in machine:
        found["CPU"] = str(machine["cpu"])
    if isinstance(machine.get("gpus"), list):
        found["GPU"] = ", ".join(sorted({*map(str, machine["gpus"])})) or "none"
    shares = {name: header.scale[key] for key, name in _SHARES.items() if key in header.scale}
    return found | {k: f"{v:g}" for k, v in shares.items() if isinstance(v, int | float)}


def find_changes(header: StudyHeader, scale: Mapping[str, Any]) -> dict[str, str]:
    """Return what differs now from what a run began with and may change its values, as it is now.

    Args:
      header: of the run.
      scale: the fields of today's `spaces.Scale`.
    """
    now = StudyHeader(
        versions=read_versions(), commit=read_commit(), hardware=read_hardware(), scale=scale
    )
    then, today = describe_origin(header), describe_origin(now)
    return {name: today[name] for name in then if today.get(name, then[name]) != then[name]}


def describe_changes(header: StudyHeader, changes: Mapping[str, str]) -> str:
    """Return changes since a run began in words: "torch 2.10.0, now 2.11.0"."""
    then = describe_origin(header)
    return "; ".join(f"{name} {then.get(name, '?')}, now {now}" for name, now in changes.items())
