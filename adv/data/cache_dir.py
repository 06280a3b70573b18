"""Where generated images are kept; without torch, so that a space may ask."""

from __future__ import annotations

import os
from pathlib import Path


def generated_folder() -> Path:
    """`synthetic` in the folder named by ROBUSTUNE_DATA, else in the user's cache folder."""
    from platformdirs import user_cache_path

    chosen = os.environ.get("ROBUSTUNE_DATA")
    root = Path(chosen).expanduser() if chosen else user_cache_path("robustune") / "data"
    return root / "synthetic"
