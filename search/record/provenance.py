"""Versions, commit and hardware: what a result depends on beside its recipe."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]  # the folder with launch.py
_PACKAGES = ("torch", "torchvision", "ray", "optuna", "wandb", "numpy")


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
