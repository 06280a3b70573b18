"""The folders for downloads and generated images; free of torch, so that a space may import it."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return the folder that ROBUSTUNE_DATA names, else `data` in the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("ROBUSTUNE_DATA")
    return Path(chosen).expanduser() if chosen else user_cache_path("robustune") / "data"


def generated_folder() -> Path:
    """Return the folder of generated images, `synthetic` in the data folder."""
    return data_folder() / "synthetic"
